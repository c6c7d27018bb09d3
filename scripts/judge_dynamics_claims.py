"""Test what the study of hidden states claims, on the layers, models and checkpoints of this run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from lm_geometry.claims.representation_dynamics import NEEDED, dynamics_claims
from lm_geometry.job import run_job
from lm_geometry.measured_stacks import read_measured_stacks
from lm_geometry.provenance import read as read_provenance
from lm_geometry.tables.claims import SCHEMA
from lm_geometry.tables.files import write_table


def judge_dynamics_claims(
    *,
    batches: Path,
    duplicates: Path,
    claims: Path,
    profiles: Sequence[tuple[str, str]],
    training: Mapping[str, Sequence[str]],
    corpus: str,
) -> None:
    """Write a verdict on each claim of the dynamics study.

    Parameters
    ----------
    batches : Path
        The table ``geometry_batches``.
    duplicates : Path
        The revisions that carry the same weights; copies are left out of every test.
    claims : Path
        Output.
    profiles : sequence of (str, str)
        Model and revision of each profiled run.
    training : mapping
        The revisions over which each model is followed.
    corpus : str
        The corpus' name.

    Raises
    ------
    ValueError
        If a run is neither in the table nor a copy.
    """
    stacks = read_measured_stacks(batches, duplicates, NEEDED)
    rows = dynamics_claims(stacks=stacks, profiles=profiles, training=training, corpus=corpus)
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)
    write_table(claims, table, SCHEMA, inputs=[batches], settings=read_provenance(batches)["settings"])


if __name__ == "__main__":
    run_job(snakemake, judge_dynamics_claims)
