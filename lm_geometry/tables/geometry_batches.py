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


def batches_table(records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the records of a measurement as a ``BATCHES`` table; a record's ``problem`` becomes its status."""
    rows = [{**record, "status": record["problem"] or OK} for record in records]
    return pa.Table.from_pylist(rows, schema=BATCHES)
