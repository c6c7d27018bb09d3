"""Made-up tables that figures are drawn from, and how to read a figure back."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa

from lm_geometry.tables import (
    duplicate_checkpoints,
    embedding_geometry,
    embedding_training,
    geometry,
    geometry_layer_means,
)
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    DECIMATED,
    FREQUENCY_NULL,
    LINEAR_090,
    MARCHENKO_PASTUR,
    MATCHED,
    ONE_DIMENSION,
    TWONN_020,
    TWONN_090,
    WITHOUT_FIRST,
)

WIDTHS = {"pythia-70m": 512, "pythia-1.4b": 2048, "pythia-1b": 2048, "pythia-14m": 128}
IN_ORDER = ["pythia-14m", "pythia-70m", "pythia-1b", "pythia-1.4b"]
SEEDS = (42, 43, 6573)
GAP = "crop_256 needs at least 256 columns, the table has 128"
METRICS = ("ndcg_at_10", "map_at_100", "recall_at_10")
NEOX = "EleutherAI/gpt-neox-20b"


def score_row(model, width, variant, seed, metric, value, *, suite="Pythia", tokenizer=NEOX, status="ok"):
    """Return a row of ``retrieval_scores``; its interval over queries reaches from 0.4 points below to 0.5 above."""
    missing = value is None
    return {
        "model": model, "suite": suite if model else None, "revision": "main" if model else None,
        "tokenizer": tokenizer, "vocab_rows": 300, "embedding_dim": width, "variant": variant,
        "width": width, "seed": seed, "table_precision": "bfloat16", "collection": "SCIDOCS", "metric": metric,
        "value": value, "ci_low": None if missing else value - 0.004, "ci_high": None if missing else value + 0.005,
        "tie_span": None if missing else 0.0,
        "pad_energy_share": (14336 - width) / 14336 if variant.startswith("pad") and not missing else None,
        "n_queries": 1000, "status": status,
    }  # fmt: skip


def score_rows():
    """Return rows of ``retrieval_scores``: four models of a suite in four variants, one of another, random tables."""
    rng = np.random.default_rng(0)
    rows = []
    for metric in METRICS:
        for model, width in WIDTHS.items():
            trained = 0.001 if model == "pythia-14m" else 0.05 + rng.random() / 100
            rows.append(score_row(model, width, "as_is", None, metric, trained))
            bad = width < 256
            crop = None if bad else rng.random() / 10
            rows.append(score_row(model, width, "crop_256", None, metric, crop, status=GAP if bad else "ok"))
            for variant in ("random", "pad_14336"):
                rows += [score_row(model, width, variant, seed, metric, 0.02 + rng.random() / 100) for seed in SEEDS]
        for width in (128, 512, 2048):
            rows += [
                score_row(None, width, "random_tokenizer", seed, metric, width / 1e5 + rng.random() / 1e3)
                for seed in SEEDS
            ]
        rows.append(score_row("opt-125m", 768, "as_is", None, metric, 0.03, suite="OPT"))
    return rows


def duplicates_table(copies, model="pythia"):
    """Return the table of duplicates: ``copies`` are revisions with the names of those whose weights they have."""
    rows = [
        {
            "model": model, "source": "there", "revision": revision, "step": int(revision[4:]), "group": 1,
            "scope": "all weights", "is_genuine": False, "is_copy": True, "copy_of": copy_of, "status": "ok",
        }
        for revision, copy_of in copies.items()
    ]  # fmt: skip
    rows.append({**rows[0], "revision": "main", "step": None, "is_copy": False, "copy_of": None})
    return pa.Table.from_pylist(rows, schema=duplicate_checkpoints.SCHEMA)


FINAL_SCORES = {"ndcg_at_10": 0.06, "map_at_100": 0.04}


def embedding_training_table(steps, copies=(), *, drop=False, model="pythia"):
    """Return rows of ``embedding_training`` whose scores rise to ``FINAL_SCORES``; what copies show is far off."""
    rows = []
    for step in steps:
        if step in copies and drop:
            continue
        share = math.log1p(step) / math.log1p(max(steps)) if max(steps) else 1.0
        known = {
            "model": model, "suite": "Pythia", "revision": f"step{step}", "step": step, "final_revision": "main",
            "collection": "SCIDOCS", "ci_low": None, "ci_high": None, "status": "ok",
            "duplicate_of": "main" if step in copies else None,
        }  # fmt: skip
        for statistic, n in (("cosine", 50277), ("neighbor_overlap", 2000)):
            rows.append({**known, "statistic": statistic, "value": 7.0 if step in copies else share, "n": n})
        for metric, final in FINAL_SCORES.items():
            less = 0.9 if step in copies else -0.03 * (1 - share)
            score = {"value": final + less, "ci_low": final + less - 0.004, "ci_high": final + less + 0.005}
            difference = {"value": less, "ci_low": less - 0.002, "ci_high": less + 0.002}
            rows.append({**known, "statistic": metric, **score, "n": 1000})
            rows.append({**known, "statistic": f"{metric}_difference", **difference, "n": 1000})
    return pa.Table.from_pylist(rows, schema=embedding_training.SCHEMA)


BATCHED = ("anisotropy", "effective_rank", "twonn_090", "twonn_020", "mean_cosine", "participation_ratio")


def embedding_geometry_rows():
    """Return rows of ``embedding_geometry``: the models of ``WIDTHS``, and two of another suite."""
    tables = [*((model, "Pythia", width) for model, width in WIDTHS.items()), ("a", "OPT", 64), ("b", "OPT", 256)]
    rows = []
    for model, suite, width in tables:
        known = {
            "model": model, "suite": suite, "revision": "main", "vocab_rows": 50304, "embedding_dim": width,
            "table_precision": "bfloat16", "status": "ok",
        }  # fmt: skip
        for place, statistic in enumerate(BATCHED, start=1):
            value = place * width / 4000
            ends = {"ci_low": 0.9 * value, "ci_high": 1.1 * value}
            rows.append({**known, "statistic": statistic, "value": value, **ends, "n_batches": 8, "n_vectors": 512})
        whole = {"ci_low": None, "ci_high": None, "n_batches": 1, "n_vectors": 50304}
        rows.append({**known, "statistic": "share_without_token", "value": 27 / 50304, **whole})
    return rows


def embedding_geometry_table():
    """Return ``embedding_geometry_rows`` as a table."""
    return pa.Table.from_pylist(embedding_geometry_rows(), schema=embedding_geometry.SCHEMA)


MODELS = {
    "neox-64": ("decoder", 3, 64, True),
    "neox-16": ("decoder", 2, 16, True),
    "bert-64": ("encoder", 3, 64, False),
}
"""Stack, layers, width, and whether layer 0 is a bare look-up, of the models of ``geometry_rows``."""

DIMENSIONS = (TWONN_090, TWONN_020, LINEAR_090, *DECIMATED.values())
MEASURED = (ANISOTROPY, WITHOUT_FIRST, FREQUENCY_NULL, MARCHENKO_PASTUR, "participation_ratio", *DIMENSIONS)


def geometry_row(model, statistic, value, *, layer, revision="main", step=None, after_final_norm=False, **facts):
    """Return a row of ``geometry`` of a model of ``MODELS``; its interval reaches 0.2 to either side."""
    stack, _, width, lookup = MODELS[model]
    matched, missing = statistic.endswith(MATCHED), value is None
    n_vectors = (611 if matched else 2048) - (8 if statistic.startswith(WITHOUT_FIRST) else 0)
    judged = statistic.removesuffix(MATCHED) in (TWONN_090, TWONN_020) and not missing
    return {
        "model": model, "suite": "Embedded", "kind": stack, "stack": stack, "revision": revision, "step": step,
        "layer": layer, "after_final_norm": after_final_norm, "context_free": lookup and layer == 0, "width": width,
        "statistic": statistic, "value": value, "std": None if missing else 0.1,
        "ci_low": None if missing else value - 0.2, "ci_high": None if missing else value + 0.2, "n_batches": 8,
        "batch_size": 2048, "n_vectors": n_vectors,
        "n_distinct": n_vectors - (1500 if lookup and layer == 0 and not matched else 5), "n_used": None,
        "status": "ok", "value_all_tokens": None, "n_all_tokens": None, "dtype": "float32", "duplicate_of": None,
        "label": ONE_DIMENSION if judged else None, **facts,
    }  # fmt: skip


def geometry_rows():
    """Return rows of ``geometry``: three models at main, one of them over training with a layer that has a gap."""
    rng = np.random.default_rng(1)
    runs = [(model, "main", None) for model in MODELS] + [("neox-64", f"step{step}", step) for step in (0, 1, 16, 256)]
    rows = []
    for model, revision, step in runs:
        _, n_layers, _, lookup = MODELS[model]
        layers = [(layer, False) for layer in range(n_layers + 1)] + ([(n_layers, True)] if lookup else [])
        for layer, after in layers:
            place = {"layer": layer, "after_final_norm": after, "revision": revision, "step": step}
            for name in (name + kind for name in MEASURED for kind in ("", MATCHED)):
                value = float(rng.random() + (8 if name.startswith("twonn") else 0))
                bad = revision == "step16" and layer == 2 and name == TWONN_090
                gap = {"status": "too few distinct rows"} if bad else {}
                rows.append(geometry_row(model, name, None if bad else value, **place, **gap))
    return rows


def geometry_table():
    """Return ``geometry_rows`` as a table."""
    return pa.Table.from_pylist(geometry_rows(), schema=geometry.SUMMARY)


def layer_means_table(table):
    """Return the rows of ``geometry_layer_means`` of a table ``geometry``, with intervals of 0.3 to each side."""
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    rows = []
    layers = frame[~frame["after_final_norm"] & ~frame["context_free"]]
    for (model, revision, stack, statistic), group in layers.groupby(["model", "revision", "stack", "statistic"]):
        gaps = group[group["value"].isna()]
        mean = math.nan if len(gaps) else group["value"].mean()
        rows.append(
            {
                **group.iloc[0].to_dict(), "model": model, "revision": revision, "stack": stack, "statistic": statistic,
                "value": mean, "ci_low": mean - 0.3, "ci_high": mean + 0.3, "n_layers": len(group),
                "n_distinct": group["n_distinct"].min(),
                "status": f"no value in layers {gaps['layer'].iloc[0]}" if len(gaps) else "ok",
            }
        )  # fmt: skip
    means = pd.DataFrame(rows, columns=geometry_layer_means.SCHEMA.names).astype({"step": "Int64"})
    return pa.Table.from_pandas(means, schema=geometry_layer_means.SCHEMA, preserve_index=False)


def line_of(axes, color, *, marker=None):
    """Return x and y of the one solid line in this colour."""
    found = [
        line
        for line in axes.get_lines()
        if line.get_color() == color and line.get_linestyle() == "-" and marker in (None, line.get_marker())
    ]
    assert len(found) == 1
    return np.asarray(found[0].get_xdata(), float), np.asarray(found[0].get_ydata(), float)


def whiskers(axes):
    """Return colour, x, low and high of every whisker, in the order in which they were drawn."""
    return [
        (tuple(collection.get_color()[0][:3]), *(float(number) for number in (low[0], low[1], high[1])))
        for collection in axes.collections
        if type(collection).__name__ == "LineCollection"
        for low, high in collection.get_segments()
    ]


def legend_of(drawing, number=0):
    """Return the labels of a figure's legend."""
    return [text.get_text() for text in drawing.figure.legends[number].get_texts()]
