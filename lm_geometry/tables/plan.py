"""The plan: what a run will fetch, store and compute, told before anything is fetched. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model; null in the last row, the total", nullable=True),
        column("revision", pa.string(), "revision of the model; null in the total", nullable=True),
        column("source", pa.string(), "where the model comes from, as the config names it", nullable=True),
        column("architecture", pa.string(), "model_type of config.json; '' where it has none", nullable=True),
        column(
            "from_config",
            pa.bool_(),
            "true where the parameters follow from config.json; false where they are guessed from the files' size",
            nullable=True,
        ),
        column("parameters", pa.int64(), "parameters of the model; null in the total", nullable=True),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows", nullable=True),
        column("width", pa.int32(), "columns of the embedding table", unit="columns", nullable=True),
        column("weight_format", pa.string(), "safetensors, or bin for torch's own formats", nullable=True),
        column("checkpoint_bytes", pa.int64(), "size of the weight files of one format", unit="bytes"),
        column("table_fetch_bytes", pa.int64(), "to be fetched for the embedding study", unit="bytes"),
        column("checkpoint_fetch_bytes", pa.int64(), "to be fetched for forward passes", unit="bytes"),
        column("cache_bytes", pa.int64(), "most that the run takes in cache_dir at a time", unit="bytes"),
        column("results_bytes", pa.int64(), "most that the run takes in results_dir at a time", unit="bytes"),
        column("dump_bytes", pa.int64(), "hidden states, which are part of results_bytes", unit="bytes"),
        column(
            "offload_bytes",
            pa.int64(),
            "weights that a model reads from disk while it runs, which are part of cache_bytes",
            unit="bytes",
        ),
        column("memory_bytes", pa.int64(), "most memory of one job; of the total, of the largest", unit="bytes"),
        column("memory_rule", pa.string(), "rule of the job that takes it"),
        column(
            "gpus",
            pa.int32(),
            "GPUs of a forward pass; of the total, of the job that needs most; null where none is asked for",
            unit="GPUs",
            nullable=True,
        ),
        column(
            "gpu_memory_bytes",
            pa.int64(),
            "memory of a forward pass on all its GPUs; null where none is asked for",
            unit="bytes",
            nullable=True,
        ),
        column("tokens", pa.int64(), "tokens that the model reads in forward passes; null without", nullable=True),
        column(
            "forward_seconds",
            pa.float64(),
            "time of the forward passes at the rate that the plan states, measured meanwhile if streamed; null without",
            unit="seconds",
            nullable=True,
        ),
        column("other_seconds", pa.float64(), "time of all other jobs of the row, fetching left aside", unit="seconds"),
        column("jobs", pa.int32(), "jobs that belong to the row alone; of the total, all of the run", unit="jobs"),
    ]
)
