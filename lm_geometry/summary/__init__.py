"""The page that shows a whole run: what was run, every figure, the gaps, the headline numbers, what made them.

Static HTML with its style inside; figures are linked by relative paths. Tables in, a text out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import pyarrow as pa

from lm_geometry.provenance.carriers import html_element
from lm_geometry.summary.checkpoints import about_checkpoints
from lm_geometry.summary.dynamics import about_dynamics, geometry_gaps
from lm_geometry.summary.embedding_tables import about_embedding_tables, gaps_of_tables
from lm_geometry.summary.judgement import about_claims, about_published
from lm_geometry.summary.markup import CSS, paragraph, table, url
from lm_geometry.summary.scores import about_scores, score_gaps
from lm_geometry.wording import listing

PRINTING = (
    "Every file of this run says which code, settings and data made it: python -m lm_geometry.provenance FILE, in the "
    "project's folder, prints it."
)


@dataclass(frozen=True)
class Picture:
    """A figure on the page: its caption (title line, empty line, text), the image, and links by label, as paths."""

    caption: str
    image: str
    links: Mapping[str, str]


def render(
    *,
    title: str,
    pictures: Sequence[Picture],
    scores: pa.Table | None = None,
    comparisons: pa.Table | None = None,
    peaks: pa.Table | None = None,
    embedding_geometry: pa.Table | None = None,
    training: pa.Table | None = None,
    geometry: pa.Table | None = None,
    layer_means: pa.Table | None = None,
    geometry_comparisons: pa.Table | None = None,
    corpus: pa.Table | None = None,
    ledger: pa.Table | None = None,
    claims: pa.Table | None = None,
    published: pa.Table | None = None,
    provenance: Mapping[str, Any] | None = None,
    made_by: Mapping[str, Any] | None = None,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    title : str
        Headline of the page.
    pictures : sequence of Picture
        The figures, in the order in which they are shown; paths are relative to the page.
    scores, geometry : pa.Table, optional
        The tables ``retrieval_scores`` and ``geometry``; a study that was not run has none.
    comparisons, peaks : pa.Table, optional
        The tables ``comparisons`` and ``suite_peaks``: what is sure of the scores' order. Shown beside ``scores`` only.
    embedding_geometry, training : pa.Table, optional
        The tables ``embedding_geometry`` and ``embedding_training``.
    layer_means, geometry_comparisons, corpus : pa.Table, optional
        The tables ``geometry_layer_means``, ``geometry_comparisons`` and ``corpus_statistics``. Shown beside
        ``geometry`` only.
    ledger : pa.Table, optional
        The table ``ledger``: what the checkpoints weigh, what was read of them, which of them are copies.
    claims, published : pa.Table, optional
        The tables ``claims`` and ``published_comparison``: what the studies said, tested and beside ours.
    provenance : mapping, optional
        What made each table, by the table's name.
    made_by : mapping, optional
        What made the page itself; stands in its head, where a browser does not show it.
    """
    scores_frame, geometry_frame = _frame(scores), _frame(geometry)
    tables_frame, training_frame = _frame(embedding_geometry), _frame(training)
    gaps = {
        "Retrieval scores that could not be had.": _made(score_gaps, scores_frame),
        "Geometry of embedding tables that could not be measured.": _made(gaps_of_tables, tables_frame),
        "Tables over training that could not be compared.": _made(gaps_of_tables, training_frame),
        "Geometry of hidden states that could not be measured.": _made(geometry_gaps, geometry_frame),
    }
    body = [
        f"<h1>{escape(title)}</h1>",
        "<h2>What was run</h2>",
        *about_scores(scores_frame, _frame(peaks), _frame(comparisons)),
        *about_embedding_tables(tables_frame, training_frame),
        *about_dynamics(geometry_frame, _frame(layer_means), _frame(geometry_comparisons), _frame(corpus)),
        *about_checkpoints(_frame(ledger)),
        *about_claims(_frame(claims)),
        *about_published(_frame(published)),
        "<h2>Figures</h2>",
        *(_figure(picture) for picture in pictures),
        "<h2>Gaps</h2>",
        *_gaps(gaps),
        "<h2>What made this</h2>",
        paragraph(PRINTING),
        *_provenance(provenance or {}),
    ]
    facts = f"{html_element(made_by)}\n" if made_by else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n{facts}</head>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body>\n</html>\n"
    )


def _frame(rows: pa.Table | None) -> pd.DataFrame | None:
    return None if rows is None else rows.to_pandas()


def _made(make: Callable[[pd.DataFrame], pd.DataFrame], rows: pd.DataFrame | None) -> pd.DataFrame:
    return pd.DataFrame() if rows is None else make(rows)


def _figure(picture: Picture) -> str:
    title, _, text = picture.caption.partition("\n\n")
    links = " · ".join(f'<a href="{url(path)}">{escape(label)}</a>' for label, path in picture.links.items())
    paragraphs = "".join(paragraph(part) for part in text.split("\n\n"))
    return (
        f"<figure>\n<h3>{escape(title)}</h3>\n"
        f'<a href="{url(picture.image)}"><img src="{url(picture.image)}" alt="{escape(title)}"></a>\n'
        f"<figcaption>{paragraphs}<p>{links}</p></figcaption>\n</figure>"
    )


def _gaps(found: Mapping[str, pd.DataFrame]) -> list[str]:
    tables = [table(gaps, note) for note, gaps in found.items() if len(gaps)]
    return tables or [paragraph("None: everything that was asked for has a value.")]


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    """Return what made the tables; those made by the same from the same stand under one heading."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, facts in provenance.items():
        alike.setdefault((_versions(facts), _origin(facts)), []).append(name)
    said = []
    for (versions, origin), names in alike.items():
        said += [f"<h3>{escape(listing(names))}</h3>", paragraph(versions), origin]
    return said or [paragraph("No table was made.")]


def _versions(facts: Mapping[str, Any]) -> str:
    made = {"lm-geometry": facts.get("lm_geometry", "unknown"), **facts.get("versions", {})}
    return ", ".join(f"{library} {version}" for library, version in made.items())


def _origin(facts: Mapping[str, Any]) -> str:
    rows = [(key, ", ".join([value] if isinstance(value, str) else value)) for key, value in facts["origin"].items()]
    found = pd.DataFrame(rows, columns=["source", "value"])
    return table(found, "Where it comes from: names, commits and digests.") if rows else ""
