"""Products with a cloud's rows, read once for the vectors of many views."""

from collections.abc import Sequence

import numpy as np

from lm_geometry.geometry.arrays import host, placed, stacked
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.threads import Workers
from lm_geometry.geometry.views import SeenRows

# Rows at a time, tried: two products with the same rows are to find them in a cache.
_SINGLE_ROWS, _DOUBLE_ROWS = 512, 128


def base_products(
    rows: CentredRows, weights: Sequence[np.ndarray], blocks: Sequence[np.ndarray], workers: Workers
) -> list[np.ndarray]:
    """Return sum_i w_i y_i (y_i.v) from the rows y in float32, in float64 over blocks of rows.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    weights : sequence of np.ndarray
        Weights w of several operators, shape (n,).
    blocks : sequence of np.ndarray
        Vectors v for each of them, shape (b, d).
    workers : Workers
        Who does it.
    """
    vectors = placed(np.concatenate(blocks).astype(np.float32), rows.x)
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    placed_weights = [placed(one.astype(np.float32), rows.x) for one in weights]

    def product(part: slice) -> np.ndarray:
        y, found = rows.single[part], np.empty((len(vectors), rows.width))
        # One vector at a time: a product of matrices would first copy the rows in an order of its own.
        for number, (vector, view) in enumerate(zip(vectors, owner, strict=True)):
            found[number] = host((y @ vector * placed_weights[view][part]) @ y)
        return found

    return _split(workers.total(product, rows.slices(_SINGLE_ROWS)), blocks)


def images(
    rows: CentredRows, seen: Sequence[SeenRows], blocks: Sequence[np.ndarray], workers: Workers
) -> list[np.ndarray]:
    """Return Z'Z v for vectors of each view, shape (b, d), where Z are the view's rows in float64.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    seen : sequence of SeenRows
        The views.
    blocks : sequence of np.ndarray
        Vectors of each view, shape (b, d).
    workers : Workers
        Who does it.
    """
    owner = np.repeat(np.arange(len(seen)), [len(block) for block in blocks])
    origin, common = (np.stack([getattr(one, name) for one in seen])[owner] for name in ("origin", "common"))
    weights, kept, members = (
        stacked([getattr(one, name) for one in seen])[placed(owner, rows.x)] for name in ("weights", "kept", "members")
    )
    together = np.concatenate(blocks)
    vectors = placed(together, rows.x)
    along_origin, along_common = (
        placed(np.einsum("kd,kd->k", shift, together)[:, None], rows.x) for shift in (origin, common)
    )
    along = kept * along_origin - members * along_common

    def image(part: slice) -> np.ndarray:
        y = rows.double(part)
        along[:, part] += weights[:, part] * (vectors @ y.T)
        return host((weights[:, part] * along[:, part]) @ y)

    found = workers.total(image, rows.slices(_DOUBLE_ROWS))
    found += host((kept * along).sum(1))[:, None] * origin
    found -= host((members * along).sum(1))[:, None] * common
    return _split(found, blocks)


def _split(stack: np.ndarray, blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(stack, np.cumsum([len(block) for block in blocks])[:-1])
