"""All measures of one batch of vectors beside the bare product of its rows, and beside the peers.

The batch is 4,096 vectors in float32; measured are anisotropy centred, uncentred and without first positions,
participation ratio, and the three TwoNN estimates after equal rows are merged. The bare product is
``torch.mm(X, X.T)``. The peers are ``torch.linalg.svdvals`` of the centred batch and ``skdim.id.TwoNN``: one anisotropy
and one estimate.

The limit is half a bare product, as X X' is symmetric. What is spent beyond it, and on what, are the lines "share of":

- origin: two passes over the batch in float64, for its mean, norms and projections, and the copy in float32.
- leading directions: on isotropic vectors as much as the product. The largest eigenvalues of such a cloud are a few
  thousandths of themselves apart, so that 35 to 50 steps are taken for the first view, each of which reads the batch
  for two vectors, and some 15 more for the other views, which go on in its space. A batch with a leading direction, as
  trained layers have, takes 10 in all. The last step, of all views, is in float64.
- product: the upper triangle in panels of 256 rows, 17 of 32 parts of the square; while a panel is in cache its sum of
  squares, and the bounds of distances in place of the products.
- distinct: a sort and a few distances, where no rows are equal.
- neighbours: one look at the bounds for the two least of each row, one for all that may be nearer, and 2 to 3 exact
  distances a row.

Ratios are medians of rounds that take turns, so that a busy machine slows all alike. Isotropic vectors are the worst
case for the directions; "massive" ones have a power-law spectrum, an offset and 31 rows with one coordinate of 1e4.

``python -m benchmarks.geometry --widths 768`` tries it with less.
"""

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.figure import Figure
from lm_geometry.geometry.cloud import Cloud, View
from lm_geometry.geometry.intrinsic_dimension import fitted_dimension, likeliest_dimension

ROWS = 4096
CHUNK = 136  # tokens of a chunk, the first of which may be massive
WIDTHS = (768, 2560, 5120)
ROUNDS, PEER_ROUNDS = 7, 2

# The most that our time may be, by width: of the bare product's, and of the peers'.
_TIMES_BARE = {768: 2.0, 2560: 1.5}
_SHARE_OF_PEERS = {768: 1 / 2.5, 2560: 1 / 5}
_BATCHES = {2560: 3.0}


def figures(widths: Sequence[int] = WIDTHS) -> Iterator[Figure]:
    """Time the measures, the bare product and the peers in turns, and yield ratios of what they took."""
    for width in widths:
        for kind, x in _batches(width):
            yield from _compare(f"geometry {width} {kind}", width, x)


def _batches(width: int) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(width)
    x = random.standard_normal((ROWS, width), dtype=np.float32)
    yield "isotropic", x
    x = x * np.arange(1, width + 1, dtype=np.float32) ** -0.5 + 0.3
    x[::CHUNK, width // 3] += 1e4
    yield "massive", x


def _compare(name: str, width: int, x: np.ndarray) -> Iterator[Figure]:
    stages: dict[str, list[float]] = {}
    bare, ours = [], []
    for measured in range(-1, ROUNDS):  # the first round warms up
        product, parts = _seconds(lambda: torch.mm(torch.from_numpy(x), torch.from_numpy(x).T)), _measure(x)
        if measured >= 0:
            bare.append(product)
            ours.append(sum(parts.values()))
            for stage, seconds in parts.items():
                stages.setdefault(stage, []).append(seconds / product)
    peers = min(_seconds(lambda: _peers(x)) for _ in range(PEER_ROUNDS))
    yield Figure(f"{name}, bare product", median(bare), "s", None)
    ratio = median(mine / product for mine, product in zip(ours, bare, strict=True))
    yield Figure(f"{name}, times bare", ratio, "x", _TIMES_BARE.get(width))
    for stage, shares in stages.items():
        yield Figure(f"{name}, share of {stage}", median(shares), "x", None)
    yield Figure(f"{name}, peers", peers, "s", None)
    yield Figure(f"{name}, share of peers", min(ours) / peers, "x", _SHARE_OF_PEERS.get(width))
    yield Figure(f"{name}, peak memory", _peak_bytes(x) / x.nbytes, "batches", _BATCHES.get(width))


def _measure(x: np.ndarray) -> dict[str, float]:
    """Return the seconds of every stage of the measures."""
    views = {
        "centred": View(),
        "uncentred": View(center=False),
        "without first": View(rows=np.arange(ROWS) % CHUNK > 0),
    }
    stages: dict[str, float] = {}
    cloud = _timed(stages, "origin", lambda: Cloud(x))
    _timed(stages, "leading directions", lambda: cloud.leading_shares(views))
    _timed(stages, "product", cloud.participation_ratio)
    _timed(stages, "distinct", lambda: cloud.distinct)
    _timed(stages, "neighbours", lambda: _dimensions(cloud))
    return stages


def _dimensions(cloud: Cloud) -> list[float]:
    neighbors = cloud.nearest_two()
    return [*(fitted_dimension(neighbors, share) for share in (0.9, 0.2)), likeliest_dimension(*neighbors[1:3])]


def _peers(x: np.ndarray) -> tuple[torch.Tensor, float]:
    with warnings.catch_warnings():  # the import silences all later warnings
        from skdim.id import TwoNN

        rows = torch.from_numpy(x)
        return torch.linalg.svdvals(rows - rows.mean(dim=0)), TwoNN().fit(x).dimension_


def _peak_bytes(x: np.ndarray) -> int:
    """Return the most bytes that the measures hold at once beside the batch, as numpy reports them."""
    tracemalloc.start()
    try:
        _measure(x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _timed(stages: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    found = work()
    stages[name] = time.perf_counter() - started
    return found


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the figures of the widths that the command line gives."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.geometry", description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="columns of the batch")
    for figure in figures(parser.parse_args().widths):
        print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
