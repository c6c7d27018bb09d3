"""Variants scored by the pipeline's scripts, against ``mteb.evaluate`` of each variant as a table of its own.

The pipeline makes no such table: it pools the model's table and a random one once each, and adds or projects what it
pooled.
"""

import numpy as np
import pyarrow.parquet as pq
import pytest
from mteb_peer import PlainEncoder, differences, folder_task, mteb_scores
from transformers import AutoTokenizer
from variant_tables import variant_table

from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.random_table import random_entry_rms
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.retrieval.collection_tables import texts_table
from lm_geometry.tables.collection import TEXTS
from lm_geometry.tables.files import write_table
from scripts.fetch_collection import fetch_collection
from scripts.find_principal_components import find_principal_components
from scripts.pool_collection import pool_collection
from scripts.score_random_columns import score_random_columns
from scripts.score_variants import score_variants
from scripts.tokenize_collection import tokenize_collection

WIDTH, SEED = 120, 43
OWN = ["as_is", "crop_48", "centered", "all_but_the_top"]
RANDOM = ["random", "pad_160", "pad_160_matched"]


@pytest.fixture(scope="module")
def tokenizer(shared_data, tmp_path_factory):
    loaded = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "opt")
    folder = tmp_path_factory.mktemp("tokenizer")
    loaded.save_pretrained(folder)
    return loaded, folder / "tokenizer.json"


@pytest.fixture(scope="module")
def table(tokenizer):
    """A table with a common mean, strong directions, and 40 rows that no token has and that stand far off."""
    n_tokens, generator = len(tokenizer[0]), np.random.default_rng(5)
    found = generator.normal(size=(n_tokens + 40, WIDTH))
    found += generator.normal(size=(n_tokens + 40, 3)) @ generator.normal(size=(3, WIDTH)) + generator.normal(
        size=WIDTH
    )
    found[n_tokens:] += 100 * generator.normal(size=WIDTH)
    return round_to_bfloat16(0.02 * found)


@pytest.fixture(scope="module")
def scores(shared_data, tokenizer, table, tmp_path_factory):
    """The scores' rows as the scripts write them, from a folder in BEIR shape to the scores."""
    folder = tmp_path_factory.mktemp("scores")
    paths = {name: folder / f"{name}.parquet" for name in ("corpus", "queries", "judgements", "counts", "pooled")}
    texts = {name: paths[name] for name in ("corpus", "queries")}
    judged = {**texts, "judgements": paths["judgements"]}
    source = shared_data / "collections" / "cranfield"
    fetch_collection(files=[], **judged, collection="cranfield", path=str(source), lowercase=False)
    listing = folder / "listing.parquet"
    write_table(listing, texts_table({}), TEXTS)
    options = {"tokenizer": tokenizer[1], "tokenizer_listing": listing, "max_length": 2048}
    tokenize_collection(**texts, counts=paths["counts"], **options)
    tokens = [*tokenizer[0].convert_ids_to_tokens(range(len(tokenizer[0]))), *[None] * 40]
    write_embedding_table(folder / "table.parquet", [table], table.shape, tokens)
    components = folder / "components.parquet"
    find_principal_components(table=folder / "table.parquet", components=components, table_precision="bfloat16")
    pooling = {"counts": paths["counts"], "table": folder / "table.parquet", "pooled": paths["pooled"]}
    pool_collection(**texts, **pooling, table_precision="bfloat16", threads=1)
    settings = {
        "tokenizer_name": "opt",
        "collection": "cranfield",
        "table_precision": "bfloat16",
        "ignore_identical_ids": None,
        "threads": 1,
    }
    shared = {**judged, **settings, "counts": paths["counts"]}
    facts = {"model": "mine", "suite": "Mine", "revision": "main"}
    outputs = {name: (folder / f"{name}.parquet", folder / f"{name}_queries.parquet") for name in ("own", "random")}
    own, random = (dict(zip(("scores", "query_scores"), files, strict=True)) for files in outputs.values())
    score_variants(**shared, **own, **facts, pooled=paths["pooled"], components=[components], variants=OWN)
    draws = {"variants": RANDOM, "random_seeds": [42, SEED], "random_generator": "legacy_bf16"}
    score_random_columns(**shared, **random, **draws, pooled=[paths["pooled"]], runs=[facts])
    return [row for file, _ in outputs.values() for row in pq.read_table(file).to_pylist()]


def as_a_table(table, n_tokens, variant):
    if variant == "pad_160_matched":
        padded = variant_table(table, "pad_160", seed=SEED)
        table_rms = np.sqrt(np.mean(np.square(table, dtype=np.float64)))
        padded[:, WIDTH:] *= np.float32(table_rms / random_entry_rms(len(table), 160, "legacy_bf16"))
        return padded
    if variant not in ("centered", "all_but_the_top"):
        return variant_table(table, variant, seed=SEED)
    rows = table[:n_tokens].astype(np.float64)
    centered = table - rows.mean(axis=0)
    if variant == "centered":
        return centered
    _, _, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    # Mu & Viswanath (2018): the leading d / 100 directions, here 1 of 120.
    return centered - centered @ directions[:1].T @ directions[:1]


@pytest.mark.parametrize("variant", [*OWN, *RANDOM])
def test_a_variants_scores_are_those_of_its_table(shared_data, tokenizer, table, scores, variant):
    loaded = tokenizer[0]
    encoder = PlainEncoder(loaded, as_a_table(table, len(loaded), variant))
    theirs = mteb_scores(folder_task(shared_data / "collections" / "cranfield"), encoder)
    rows = [row for row in scores if row["variant"] == variant and row["seed"] in (None, SEED)]
    ours, spans = ({row["metric"]: row[name] for row in rows} for name in ("value", "tie_span"))
    assert differences(theirs, (ours, spans)) == {}
