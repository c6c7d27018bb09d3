"""TwoNN against scikit-dimension, on rows without duplicates, where the two mean the same."""

import warnings

import numpy as np
import pytest

from lm_geometry.geometry.intrinsic_dimension import two_nn


@pytest.fixture(scope="module")
def peer():
    """scikit-dimension, whose import silences all later warnings of the process: what it changed is put back."""
    filters = list(warnings.filters)
    identify = pytest.importorskip("skdim.id")
    warnings.filters[:] = filters
    return identify


@pytest.mark.parametrize("fraction", [0.9, 0.2])
@pytest.mark.parametrize(("n", "width", "rank"), [(500, 3, 3), (600, 20, 5), (400, 100, 10), (400, 200, 200)])
def test_equals_scikit_dimension(peer, n, width, rank, fraction):
    random = np.random.default_rng(n + width)
    x = random.standard_normal((n, rank)) @ random.standard_normal((rank, width))
    # Without the 1e-9 it keeps int(500 * 0.19999999999999996) = 99 ratios.
    theirs = peer.TwoNN(discard_fraction=1 - fraction - 1e-9).fit(x).dimension_
    assert two_nn(x, fit_fraction=fraction).dimension == pytest.approx(theirs, rel=1e-6)
