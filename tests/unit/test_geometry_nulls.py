"""What measures read where there is no geometry: against plain simulation."""

import numpy as np
import pytest

from lm_geometry.geometry import nulls
from lm_geometry.geometry.nulls import NULL_DRAWS, FrequencyNulls, frequency_null, marchenko_pastur_edge


def zipf_tokens(n, n_types, seed):
    random = np.random.default_rng(seed)
    return random.choice(n_types, n, p=(weights := 1 / np.arange(1, n_types + 1)) / weights.sum())


def by_svd(x):
    energy = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    return energy[0] / energy.sum()


def test_the_frequency_null_against_looking_up_random_tables():
    token_id = zipf_tokens(800, 300, seed=0)
    random = np.random.default_rng(1)
    simulated = [by_svd(random.standard_normal((300, 60))[token_id]) for _ in range(60)]
    found = frequency_null(token_id, 60, seed=2, n_draws=60)
    error = np.sqrt((np.var(simulated, ddof=1) + np.var(found, ddof=1)) / 60)
    assert abs(found.mean() - np.mean(simulated)) < 4 * error
    # The commonest token alone makes it many times the edge of rows that are all different.
    assert found.mean() > 2 * marchenko_pastur_edge(800, 60)


def test_the_edge_against_simulation():
    random = np.random.default_rng(3)
    simulated = np.mean([by_svd(random.standard_normal((1200, 240))) for _ in range(5)])
    assert marchenko_pastur_edge(1200, 240) == pytest.approx(simulated, rel=0.03)
    assert marchenko_pastur_edge(4096, 768) == pytest.approx(0.0027, abs=5e-5)


def test_a_null_is_found_once_for_all_layers(monkeypatch):
    asked = []

    def counted(*arguments, **settings):
        asked.append(settings)
        return frequency_null(*arguments, **settings)

    monkeypatch.setattr(nulls, "frequency_null", counted)
    known = FrequencyNulls(seed=5)
    token_id = zipf_tokens(200, 50, seed=0)
    first = known(token_id, 20)
    assert known(token_id.copy(), 20) is first
    assert first.value == frequency_null(token_id, 20, seed=5, n_draws=NULL_DRAWS).mean()
    assert first[1:] == (200, len(np.unique(token_id)), None, None)
    assert len(asked) == 1
    assert known(token_id, 21).value != first.value
    assert known(token_id[:-1], 20).n_vectors == 199
    assert len(asked) == 3


def test_one_token_type_has_no_null():
    found = FrequencyNulls(seed=5)(np.full(30, 7), 20)
    assert found.value is None
    assert found.n_distinct == 1
    assert "are equal" in found.problem
