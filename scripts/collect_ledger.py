"""Collect the ledger of all models and revisions into one table: what they weigh, and what was read of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import origins_of_copies, published_defects
from lm_geometry.checkpoints.ledger import read_ledger, weights_read
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.embeddings.table import embedding_shape
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.ledger import SCHEMA


def collect_ledger(
    *,
    listings: list[Path],
    tables: list[Path],
    duplicates: Path,
    ledger: Path,
    csv: Path,
    models: list[Mapping[str, Any]],
) -> None:
    """Write one row per model and revision, as Parquet and CSV.

    Parameters
    ----------
    listings : list of Path
        One listing per entry of ``models``, in its order.
    tables : list of Path
        Embedding tables of some of the revisions, in any order.
    duplicates : Path
        The revisions that carry the same weights.
    ledger, csv : Path
        Outputs.
    models : list of mappings
        One entry per model and revision: model, suite, source, revision, step (None where the revision names none).

    Raises
    ------
    ValueError
        If the listings do not fit the entries, or an embedding table does not say of which model and revision it is.
    """
    extracted = dict(map(_extracted, tables))
    found = read_table(duplicates).to_pylist()
    copies, published = origins_of_copies(found), published_defects(found)
    rows = []
    for files, listing, entry in zip(read_ledger(listings, models), listings, models, strict=True):
        key = entry["model"], entry["revision"]
        rows.append(
            {
                **{name: entry[name] for name in ("model", "suite", "source", "revision", "step")},
                "commit": provenance.read(listing)["origin"]["commit"],
                **checkpoint_facts(weights_read(files)),
                **extracted.get(key, {}),
                "duplicate_of": copies.get(key),
                "published_defect": published.get(key),
            }
        )
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_table(ledger, table, SCHEMA, inputs=[*listings, *tables])
    write_csv(csv, table)


def checkpoint_facts(weights: Sequence[ListedFile]) -> dict[str, Any]:
    """Return format, number and size of the weight files that would be read."""
    return {
        "weight_format": "safetensors" if all(file.path.endswith(".safetensors") for file in weights) else "bin",
        "n_weight_files": len(weights),
        "checkpoint_bytes": sum(file.size for file in weights),
    }


def _extracted(path: Path) -> tuple[tuple[str, str], dict[str, Any]]:
    """Return model and revision of an embedding table, and the ledger's columns that it fills."""
    settings = provenance.read(path)["settings"]
    rows, width = embedding_shape(path)
    try:
        return (settings["model"], settings["revision"]), {
            "embedding_bytes_read": settings["bytes_read"],
            "embedding_file": settings["file"],
            "embedding_tensor": settings["tensor"],
            "vocab_rows": rows,
            "width": width,
            "rows_beyond_tokenizer": settings["rows_beyond_tokenizer"],
            "verified": settings["verified"],
        }
    except KeyError as error:
        raise ValueError(f"{path}: does not say its {error}; remove it and run again") from error


if __name__ == "__main__":
    run_job(snakemake, collect_ledger)
