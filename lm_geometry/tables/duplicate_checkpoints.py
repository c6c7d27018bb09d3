"""Revisions of one model that carry the same weights, and the published defects that were looked for.

Empty where no revision shares a weight file with another and nothing was published about the models.
"""

import pyarrow as pa

from lm_geometry.tables.schema import column

OK = "ok"

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("source", pa.string(), "where the model comes from, as the config names it"),
        column("revision", pa.string(), "revision of the model; it has a row for every group that it is in"),
        column("step", pa.int64(), "training step read from the revision's name", unit="steps", nullable=True),
        column(
            "group",
            pa.int32(),
            "number of the group of revisions that share weight files, from 1 in each model; null for a revision that "
            "is in none",
            nullable=True,
        ),
        column(
            "scope",
            pa.string(),
            "what the group shares: all weights, the file with the embedding (at least), or other files",
            nullable=True,
        ),
        column(
            "shared_files", pa.string(), "the shared files' paths in this revision, separated by ', '", nullable=True
        ),
        column("is_genuine", pa.bool_(), "true where the shared weights are known to be this step's own"),
        column("is_copy", pa.bool_(), "true where the shared weights are, or may be, another step's than this one's"),
        column(
            "copy_of",
            pa.string(),
            "of a copy, whose weights it carries: the genuine revision, else main, else the group's other revisions, "
            "separated by ', '",
            nullable=True,
        ),
        column("duplicates", pa.string(), "the group's other revisions, separated by ', '", nullable=True),
        column(
            "published",
            pa.string(),
            "of a copy, and of a revision that was published to be one: confirmed (by the digests), not confirmed, not "
            "in this run (it or what it equals), cannot be compared, or not published",
            nullable=True,
        ),
        column("published_url", pa.string(), "where the defect was published", nullable=True),
        column("status", pa.string(), "'ok', or why nothing can be told"),
    ]
)
