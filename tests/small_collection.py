"""A judged collection of 60 documents and 12 queries whose token counts are given, as files; and tables pooled over it.

Pooled vectors are written here in row groups of a few texts, so that those of documents and queries share one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lm_geometry.retrieval.collection import Collection
from lm_geometry.retrieval.collection_tables import judgements_table, texts_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.tables import collection as collection_schemas
from lm_geometry.tables import pooled as pooled_schema
from lm_geometry.tables import token_counts
from lm_geometry.tables.files import open_table_writer, write_table
from lm_geometry.tables.schema import vector_array

N_DOCUMENTS, N_QUERIES, N_TOKENS = 60, 12, 64


@dataclass(frozen=True)
class SmallCollection:
    """Its texts' counts, shape (72, 64), and files. Texts 5 and 71 are empty; 10 queries are judged."""

    counts: np.ndarray
    collection: Collection
    paths: dict[str, Path]

    def pool(self, table):
        """Return the pooled vectors of all texts by their definition, float32."""
        lengths = np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return (self.counts @ table[:N_TOKENS].astype(np.float64) / lengths).astype(np.float32)

    def scorer(self, **settings):
        return RetrievalScorer(
            list(self.collection.queries), list(self.collection.documents), self.collection.judgements, **settings
        )

    def plain_scores(self, table, **settings):
        """Return the scores of a table that is pooled as a whole and scored as a whole."""
        pooled = self.pool(table)
        return self.scorer(**settings).score_queries([(pooled[N_DOCUMENTS:], pooled[:N_DOCUMENTS])])

    def write_pooled(self, path, table, *, row_group=7):
        """Write what ``pool_collection`` makes of a table whose entries are as they are to be used."""
        schema = pooled_schema.schema(table.shape[1])
        root = np.sqrt(np.mean(np.square(table, dtype=np.float64)))
        settings = {"vocab_rows": len(table), "embedding_dim": table.shape[1], "root_mean_square": float(root)}
        ids = [*self.collection.documents, *self.collection.queries]
        sides = ["corpus"] * N_DOCUMENTS + ["queries"] * N_QUERIES
        vectors = self.pool(table)
        with open_table_writer(path, schema, settings=settings, origin={"model_id": path.stem}) as writer:
            for start in range(0, len(ids), row_group):
                part = slice(start, start + row_group)
                columns = [pa.array(sides[part]), pa.array(ids[part]), vector_array(vectors[part])]
                writer.write_table(pa.table(columns, schema=writer.schema))
        return path


def write_small_collection(folder):
    """Write the tables of the collection into ``folder``."""
    generator = np.random.default_rng(3)
    counts = generator.poisson(0.1, size=(N_DOCUMENTS + N_QUERIES, N_TOKENS)).astype(np.int32)
    counts[[5, -1]] = 0
    # The sum over all texts knows the largest id.
    counts[0, -1] = 1
    judged = [*range(9), 11]
    collection = Collection(
        documents={f"d{i}": "" for i in range(N_DOCUMENTS)},
        queries={f"q{i}": "" for i in range(N_QUERIES)},
        judgements={f"q{i}": {f"d{j}": 1 for j in generator.choice(N_DOCUMENTS, 4)} for i in judged},
    )
    paths = {name: folder / f"{name}.parquet" for name in ("corpus", "queries", "judgements", "counts")}
    origin = {"collection_sha256": collection.sha256()}
    write_table(paths["corpus"], texts_table(collection.documents), collection_schemas.TEXTS, origin=origin)
    write_table(paths["queries"], texts_table(collection.queries), collection_schemas.TEXTS, origin=origin)
    write_table(paths["judgements"], judgements_table(collection), collection_schemas.JUDGEMENTS, origin=origin)
    rows, columns = np.nonzero(counts)
    table = pa.table(
        {
            "side": np.where(rows < N_DOCUMENTS, "corpus", "queries"),
            "row": np.where(rows < N_DOCUMENTS, rows, rows - N_DOCUMENTS),
            "token_id": columns,
            "count": counts[rows, columns],
        }
    )
    settings = {"max_length": 2048}
    write_table(paths["counts"], table, token_counts.SCHEMA, settings=settings, origin={"tokenizer_sha256": "t"})
    return SmallCollection(counts, collection, paths)
