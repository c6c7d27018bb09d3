"""Geometry of hidden states per layer and batch, in long form: what the measuring rules write."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from lm_geometry.tables.schema import column

OK = "ok"

LAYER = [
    column("stack", pa.string(), "'encoder' or 'decoder'"),
    column("layer", pa.int32(), "0 = embeddings, L = output of the last block"),
    column("after_final_norm", pa.bool_(), "true for the copy of layer L behind the model's final norm"),
    column(
        "context_free",
        pa.bool_(),
        "true where vectors depend on their token only: no position in them",
    ),
    column("width", pa.int32(), "components per vector", unit="components"),
]
COUNTS = [
    column("n_vectors", pa.int32(), "rows that entered the statistic; least of the batches", unit="vectors"),
    column("n_distinct", pa.int32(), "rows left after equal ones are merged; least of the batches", unit="vectors"),
    column("n_used", pa.int32(), "ratios or rows that the value rests on; least of the batches", nullable=True),
    column("status", pa.string(), "'ok', or why there is no value"),
]

BATCHES = pa.schema(
    [
        *LAYER,
        column("batch", pa.int32(), "disjoint group of chunks that the vectors were drawn from"),
        column("statistic", pa.string(), "name of the statistic"),
        column("value", pa.float64(), "the statistic of this batch; null where status says why", nullable=True),
        *COUNTS,
    ]
)


RUN = [
    column("model", pa.string(), "the user's name of the model"),
    column("suite", pa.string(), "suite of the model"),
    column("kind", pa.string(), "encoder, decoder or encoder-decoder, from config.json"),
    column("revision", pa.string(), "revision of the model"),
    column("step", pa.int64(), "training step read from the revision's name", unit="steps", nullable=True),
]

ALL_BATCHES = pa.schema([*RUN, *BATCHES])
"""The batches of all runs together. A contract with users."""

ALL_TOKENS = pa.schema(
    [
        *LAYER,
        column("statistic", pa.string(), "name of the statistic"),
        column(
            "value", pa.float64(), "the statistic of all tokens of the layer; null where status says why", nullable=True
        ),
        column("n_vectors", pa.int64(), "tokens that entered the statistic", unit="vectors"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
"""Statistics of all tokens of a layer at once, from exact moments."""


def batches_table(records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the records of a measurement as a ``BATCHES`` table; a record's ``problem`` becomes its status."""
    rows = [{**record, "status": record["problem"] or OK} for record in records]
    return pa.Table.from_pylist(rows, schema=BATCHES)
