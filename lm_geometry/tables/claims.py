"""What the studies claim, each as a test with a verdict. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

HOLDS, REFUTED, UNDECIDED, NOT_RUN = "holds", "refuted", "undecided", "not run"

SCHEMA = pa.schema(
    [
        column("study", pa.string(), "embedding_scaling or representation_dynamics"),
        column("claim", pa.string(), "short name of the claim; one claim may have a row for each suite or model"),
        column("statement", pa.string(), "what is claimed, in a sentence"),
        column("about", pa.string(), "the suite, models or tokenizer of this row"),
        column("collection", pa.string(), "collection or corpus that it was tested on"),
        column("metric", pa.string(), "metric or statistic of the test", nullable=True),
        column("verdict", pa.string(), "holds, refuted, undecided or not run"),
        column("estimate", pa.float64(), "what was estimated, as detail says", nullable=True),
        column("ci_low", pa.float64(), "lower end of its 95 % interval", nullable=True),
        column("ci_high", pa.float64(), "upper end of its 95 % interval", nullable=True),
        column("p_holm", pa.float64(), "p after Holm's correction over the rows of the same claim", nullable=True),
        column("n", pa.int32(), "independent units of the test: queries, seeds, batches", nullable=True),
        column("detail", pa.string(), "what was compared with what, and why the verdict is what it is"),
    ]
)
