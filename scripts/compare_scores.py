"""Compare variants and models over the same queries, and say how surely each model is the best of its suite."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.score_comparisons import (
    COLUMNS,
    N_FLIPS,
    N_RESAMPLES,
    average_seeds,
    compare_tables,
    find_peaks,
    join_files,
)
from lm_geometry.tables import comparisons as comparison_schema
from lm_geometry.tables import suite_peaks
from lm_geometry.tables.files import read_table, write_csv, write_table


def compare_scores(
    *, query_scores: list[Path], comparisons: Path, comparisons_csv: Path, peaks: Path, peaks_csv: Path
) -> None:
    """Write the paired comparisons of all variants and models, and each suite's peak, as Parquet and CSV.

    Parameters
    ----------
    query_scores : list of Path
        Scores of single queries of models' tables, all of one collection: those of their own variants and those with
        random columns, one revision a model.
    comparisons, comparisons_csv, peaks, peaks_csv : Path
        Outputs.

    Raises
    ------
    ValueError
        If the files do not fit each other (``join_files``) or hold scores that cannot be averaged (``average_seeds``);
        the message names the file.
    """
    collection, tables = join_files({str(path): _read_means(path) for path in query_scores})
    settings = {**provenance.shared_settings(query_scores), "n_flips": N_FLIPS, "n_resamples": N_RESAMPLES}
    for rows, schema, path, csv in (
        (compare_tables(collection, tables), comparison_schema.SCHEMA, comparisons, comparisons_csv),
        (find_peaks(collection, tables), suite_peaks.SCHEMA, peaks, peaks_csv),
    ):
        table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
        write_table(path, table, schema, inputs=query_scores, settings=settings)
        write_csv(csv, table)


def _read_means(path: Path) -> pd.DataFrame:
    rows = read_table(path, COLUMNS).to_pandas(strings_to_categorical=True)
    try:
        return average_seeds(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


if __name__ == "__main__":
    run_job(snakemake, compare_scores)
