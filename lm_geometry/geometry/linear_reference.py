"""The linear reference: what TwoNN reads on a Gaussian of the same covariance."""

from typing import Any

import numpy as np

from lm_geometry.geometry.arrays import Array, like_type, placed, real_matrix, wide


def gaussian_like(x: Any, n_rows: int, *, seed: int | list[int]) -> Array:
    """Draw rows from the Gaussian whose covariance is that of the rows of ``x``.

    It answers what a measure of dimension would read if the cloud had its covariance and nothing else: no clusters, no
    curvature, no repeated tokens. A dimension below this reference is owed to how rows lie, not to their spectrum.
    Given ``x``, the rows of Z Xc / sqrt(n), with Z standard normal of shape (n_rows, n) and Xc the centred rows, have
    exactly the covariance Xc' Xc / n, so that one product draws them and no factor of the covariance is needed.

    Parameters
    ----------
    x : np.ndarray or torch.Tensor
        Vectors, shape (n, d), float32 or float64, on any device.
    n_rows : int
        Rows to draw.
    seed : int or list of int
        Seed of Z, which depends on nothing else: layers of equal size share it, so that their difference is not noise.

    Returns
    -------
    Array
        Shape (n_rows, d), in float32 if ``x`` is, on the device of ``x``; a numpy array on the CPU.
    """
    import torch

    rows = real_matrix(x)
    exact = wide(rows)
    centred = like_type(exact - exact.mean(0), rows)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
    # Z is drawn on the CPU, as devices draw different streams, and by torch, which takes half of numpy's time.
    weights = torch.randn(n_rows, len(rows), generator=generator).numpy()
    return like_type(placed(weights, centred), centred) @ centred / len(rows) ** 0.5
