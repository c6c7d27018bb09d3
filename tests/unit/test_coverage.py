"""What the intervals and tests promise, held to simulation on values like the scores of queries.

A population of queries is drawn from 4,000 times; an interval promises that 95 % of its samples' intervals hold the
population's mean: 94 to 96 % are asked for at 1,000 queries, 93 % or more below. 4,000 runs know a share of 95 % with a
standard error of 0.34 points, and two of them are allowed for.
"""

import numpy as np
import pytest
from scipy import stats
from transformers import AutoTokenizer

from lm_geometry.retrieval.collection import read_beir_folder
from lm_geometry.retrieval.random_pooling import pool_random_table
from lm_geometry.retrieval.scoring import RetrievalScorer
from lm_geometry.retrieval.tokenization import count_tokens, load_tokenizer
from lm_geometry.statistics.intervals import bootstrap_t_interval
from lm_geometry.statistics.paired import holm, paired_t, pairwise_sign_flip_p, sign_flip_p

RUNS = 4000
QUERIES = [52, 225, 1000]
PROMISED = {52: (0.93, 1.0), 225: (0.93, 1.0), 1000: (0.94, 0.96)}
ERROR = 2 * np.sqrt(0.95 * 0.05 / RUNS)
LEVEL = 0.05

# nDCG@10 of random tables 2 to 512 wide on Cranfield and CACM: share of queries above zero, and mean and deviation of
# those. The best are between Cranfield's at 512 columns (0.21) and what trained tables reach.
NDCG = {"ndcg_0.02": (0.13, 0.15, 0.08), "ndcg_0.15": (0.50, 0.30, 0.19), "ndcg_0.35": (0.75, 0.467, 0.23)}
# MAP@100 on Cranfield at 16 and 64 columns: more queries above zero, and a longer tail.
MAP = {"map_0.02": (0.60, 0.033, 0.06), "map_0.06": (0.78, 0.08, 0.125)}

PAIRS = [("ndcg_0.02", "ndcg_0.02"), ("ndcg_0.15", "ndcg_0.15"), ("ndcg_0.02", "ndcg_0.15"), ("ndcg_0.15", "ndcg_0.35")]


def zero_inflated(uniform, share, mean, deviation):
    """Return the quantiles of zeros and, for ``share``, a beta distribution."""
    n = mean * (1 - mean) / deviation**2 - 1
    return stats.beta.ppf(np.clip((uniform - 1 + share) / share, 0, 1), mean * n, (1 - mean) * n)


def population(*shapes, n=20_000, correlation=0.7):
    """Return scores of ``n`` queries, one column a shape: those of one query go together (a Gaussian copula)."""
    generator = np.random.default_rng(len(shapes))
    hardness = generator.normal(size=(n, 1))
    noise = generator.normal(size=(n, len(shapes)))
    uniform = stats.norm.cdf(np.sqrt(correlation) * hardness + np.sqrt(1 - correlation) * noise)
    return np.column_stack([zero_inflated(u, *shape) for u, shape in zip(uniform.T, shapes, strict=True)])


def samples(values, n, runs=RUNS):
    """Return ``runs`` samples of ``n`` values each, one a column."""
    return values[np.random.default_rng(n).integers(0, len(values), size=(n, runs))]


def check_coverage(low, high, mean, n):
    covered = np.mean((low <= mean) & (mean <= high))
    least, most = PROMISED[n]
    assert least - ERROR <= covered <= most + ERROR, f"{covered:.1%} of {RUNS} intervals hold the mean at {n} queries"


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", QUERIES)
@pytest.mark.parametrize("shape", [*NDCG, *MAP])
def test_bootstrap_t_covers_the_mean(shape, n):
    values = population({**NDCG, **MAP}[shape])[:, 0]
    check_coverage(*bootstrap_t_interval(samples(values, n), limits=(0, 1)), values.mean(), n)


@pytest.mark.parametrize("n", QUERIES)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_paired_t_covers_the_mean_difference(pair, n):
    a, b = population(*(NDCG[name] for name in pair)).T
    found = paired_t(samples(a - b, n))
    check_coverage(found.low, found.high, np.mean(a - b), n)


REAL = {"cacm": 52, "cranfield": 225}
WIDTHS = (256, 512)


@pytest.fixture(scope="module", params=REAL)
def real_scores(request, shared_data, tmp_path_factory):
    """nDCG@10 and MAP@100 of a random table's first columns for each query, shape (queries, widths), by metric."""
    folder = tmp_path_factory.mktemp(request.param)
    AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "bert-base-uncased").save_pretrained(folder)
    found = read_beir_folder(shared_data / "collections" / request.param)
    texts = [*found.documents.values(), *found.queries.values()]
    counts = count_tokens(texts, load_tokenizer(folder / "tokenizer.json"))
    vectors = pool_random_table(counts, counts.shape[1], max(WIDTHS), 7, generator="torch")
    queries, documents = vectors[len(found.documents) :], vectors[: len(found.documents)]
    scorer = RetrievalScorer(list(found.queries), list(found.documents), found.judgements)
    scores = [scorer.score_queries([(queries[:, :width], documents[:, :width])]).values for width in WIDTHS]
    return {metric: np.column_stack([one[metric] for one in scores]) for metric in ("ndcg_at_10", "map_at_100")}


@pytest.mark.parametrize("metric", ["ndcg_at_10", "map_at_100"])
def test_intervals_cover_what_real_queries_have(real_scores, metric):
    """The queries of a collection are the population, and samples are as large."""
    values = real_scores[metric]
    n = len(values)
    assert n in REAL.values()
    wider = values[:, 1]
    check_coverage(*bootstrap_t_interval(samples(wider, n), limits=(0, 1)), wider.mean(), n)
    difference = wider - values[:, 0]
    found = paired_t(samples(difference, n))
    check_coverage(found.low, found.high, difference.mean(), n)


# -- tests where nothing differs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", QUERIES)
@pytest.mark.parametrize("shape", NDCG)
def test_sign_flips_reject_equals_as_often_as_they_say(shape, n):
    """Two models alike in all but chance: of the population of their differences each sign is as likely."""
    a, b = population(NDCG[shape], NDCG[shape]).T
    either = np.concatenate([a - b, b - a])
    rejected = np.mean(sign_flip_p(samples(either, n), n_flips=2000) <= LEVEL)
    assert rejected == pytest.approx(LEVEL, abs=ERROR)


def test_holm_rejects_a_true_one_of_many_as_often_as_it_says():
    """Independent p values: the share of families with any rejection is 1 - (1 - 0.05 / 20)^20, about 0.049."""
    families = np.random.default_rng(1).random((RUNS, 20))
    rejected = np.mean([holm(family).min() <= LEVEL for family in families])
    assert rejected == pytest.approx(1 - (1 - LEVEL / 20) ** 20, abs=ERROR)


def test_holm_over_all_pairs_of_equal_models():
    """The 15 pairs of six models alike: their tests depend on one another, and Holm's correction may be cautious."""
    n, models, runs = 52, 6, 1000
    values = population(*[NDCG["ndcg_0.15"]] * models)
    values = np.random.default_rng(2).permuted(
        values, axis=1
    )  # any of them might be any other: alike in the sample too
    drawn = samples(np.arange(len(values)), n, runs)
    first, second = np.triu_indices(models, 1)
    p = [pairwise_sign_flip_p(values[rows], first, second, n_flips=2000) for rows in drawn.T]
    rejected = np.mean([holm(family).min() <= LEVEL for family in p])
    assert 0.01 <= rejected <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / runs)
