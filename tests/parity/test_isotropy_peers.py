"""Measures of isotropy against their papers' steps, restated, and against scikit-dimension."""

import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lm_geometry.geometry.isotropy import iso_score
from lm_geometry.geometry.measures import measure_geometry

RANDOM = np.random.default_rng(20240508)
CLOUDS = {
    "isotropic": RANDOM.standard_normal((300, 8)),
    "decaying": RANDOM.standard_normal((300, 8)) * 0.5 ** np.arange(8) + 3,
    "correlated": RANDOM.standard_normal((300, 20)) @ RANDOM.standard_normal((20, 20)),
    "one massive coordinate": RANDOM.standard_normal((300, 8)) * np.r_[1e3, np.ones(7)],
    "low rank": RANDOM.standard_normal((300, 3)) @ RANDOM.standard_normal((3, 12)),
}


def iso_score_restated(points):
    """Algorithm 1 of Rudman et al. (2022), step by step; ``points`` has a row per vector."""
    n = points.shape[1]
    reoriented = PCA(n_components=n).fit_transform(points)  # step 2
    diagonal = np.diag(np.cov(reoriented.T))  # step 3
    normalised = np.sqrt(n) * diagonal / np.linalg.norm(diagonal)  # step 4
    defect = np.linalg.norm(normalised - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))  # step 5
    phi = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2  # step 6
    return (n * phi - 1) / (n - 1)  # step 7


def mean_cosine_restated(points):
    """The mean over all pairs of different rows, one by one."""
    cosines = [
        a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        for i, a in enumerate(points)
        for j, b in enumerate(points)
        if i != j
    ]
    return np.mean(cosines)


@pytest.mark.parametrize("kind", CLOUDS)
def test_iso_score(kind):
    assert measure_geometry(CLOUDS[kind])["iso_score"] == pytest.approx(iso_score_restated(CLOUDS[kind]), rel=1e-6)


def test_iso_score_of_drawn_spectra():
    for spectrum in RANDOM.dirichlet(np.ones(9), 20):
        n = len(spectrum)
        normalised = np.sqrt(n) * spectrum / np.linalg.norm(spectrum)
        defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (n - np.sqrt(n)))
        phi = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
        assert iso_score(np.sqrt(spectrum), n) == pytest.approx((n * phi - 1) / (n - 1), rel=1e-12)


@pytest.mark.parametrize("kind", CLOUDS)
def test_mean_cosine(kind):
    x = CLOUDS[kind][:60]
    assert measure_geometry(x)["mean_cosine"] == pytest.approx(mean_cosine_restated(x), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in CLOUDS if kind != "low rank"])  # where it divides by zero
def test_participation_ratio_against_scikit_dimension(kind):
    filters = list(warnings.filters)
    peer = pytest.importorskip("skdim.id")
    warnings.filters[:] = filters  # its import silences all later warnings of the process
    theirs = peer.lPCA(ver="participation_ratio").fit(CLOUDS[kind]).dimension_
    assert measure_geometry(CLOUDS[kind])["participation_ratio"] == pytest.approx(theirs, rel=1e-6)
