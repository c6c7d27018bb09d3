"""Paired differences of geometry between layers, steps and models, over the same chunks. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

LAYERS, STEPS, MODELS = "layers", "steps", "models"

SCHEMA = pa.schema(
    [
        column("comparison", pa.string(), "'layers' of one revision, 'steps' of one model, or 'models' of one kind"),
        column("stack", pa.string(), "'encoder' or 'decoder'"),
        column("statistic", pa.string(), "name of the statistic"),
        column("model_a", pa.string(), "model that is subtracted from"),
        column("revision_a", pa.string(), "its revision"),
        column("layer_a", pa.int32(), "its layer; null for the mean over layers", nullable=True),
        column("model_b", pa.string(), "model that is subtracted"),
        column("revision_b", pa.string(), "its revision"),
        column("layer_b", pa.int32(), "its layer; null for the mean over layers", nullable=True),
        column("difference", pa.float64(), "mean over batches of a - b; null where status says why", nullable=True),
        column("ci_low", pa.float64(), "lower end of its 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of its 95 % t interval over batches", nullable=True),
        column("p", pa.float64(), "paired t over batches, two-sided", nullable=True),
        column(
            "p_holm", pa.float64(), "p after Holm's correction over one comparison, statistic and model", nullable=True
        ),
        column("n_batches", pa.int32(), "pairs of batches", unit="batches"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
