"""The table of the studies' models on docs/models.md, made from reference/models.csv.

``python -m lm_geometry.models_page`` writes it anew; the rest of the page is written by hand.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from lm_geometry.marked_pages import split_at_marks

PROJECT = Path(__file__).resolve().parents[1]
MODELS = PROJECT / "reference" / "models.csv"
PAGE = PROJECT / "docs" / "models.md"
COMMAND = "python -m lm_geometry.models_page"

_BEGIN = f"<!-- Made from reference/models.csv by `{COMMAND}`; edit that file, not this table. -->\n"
_END = "<!-- End of the table. -->\n"
_HEAD = ("model", "study", "parameters", "layers", "width", "rows", "columns", "values", "weights of `main`")
_STUDIES = {"in_blog": "blog", "in_paper": "paper"}


def render_table(models: Iterable[Mapping[str, str]]) -> str:
    """Return the rows of models.csv as a Markdown table, suite by suite, in the order of the file."""
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    for suite, members in groupby(models, key=lambda row: row["suite"]):
        lines.append(f"| **{suite}** |" + " |" * (len(_HEAD) - 1))
        lines += [f"| {' | '.join(_cells(row))} |" for row in members]
    return "\n".join(lines) + "\n"


def fill_page(page: str, models: Iterable[Mapping[str, str]]) -> str:
    """Return the page with the table between its two comments made anew.

    Raises
    ------
    ValueError
        If the page lacks the comment that the table stands behind, or the one before which it ends.
    """
    before, _, after = split_at_marks(page, _BEGIN, _END)
    return f"{before}\n{render_table(models)}\n{after}"


def read_models(path: Path = MODELS) -> list[dict[str, str]]:
    """Return the rows of models.csv."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _cells(row: Mapping[str, str]) -> Iterator[str]:
    yield f"[{row['model']}](https://huggingface.co/{row['hub_id']})" if row["hub_id"] else row["model"]
    yield ", ".join(_study(row, column, name) for column, name in _STUDIES.items() if row[column] == "true")
    yield _count(int(row["n_params"]))
    yield f"{row['n_layers']} + {row['n_decoder_layers']}" if row["n_decoder_layers"] else row["n_layers"]
    yield row["d_model"]
    yield row["vocab_rows"]
    yield row["emb_dim"]
    yield row["stored_dtype"]
    yield ("gated; " if row["gated"] == "true" else "") + row["weights_format"].removeprefix("main: ").split("; ")[0]


def _study(row: Mapping[str, str], column: str, name: str) -> str:
    """Return the study's name, with a question mark where it does not say that it was this size."""
    return f"{name}?" if "does not say" in row[f"{column}_note"] else name


def _count(parameters: int) -> str:
    """Return a number with three digits and its unit."""
    unit, divisor = ("B", 1e9) if parameters >= 1e9 else ("M", 1e6)
    return f"{parameters / divisor:#.3g}".removesuffix(".") + f" {unit}"


if __name__ == "__main__":
    PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8"), read_models()), encoding="utf-8")
