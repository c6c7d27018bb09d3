"""Work on rows shared among threads, each of which multiplies matrices alone.

A BLAS that shares every product among its own threads makes them meet at the end of each. Products of a few vectors are
so short that they then mostly wait, and on a busy machine for whole time slices: tens of times longer than alone. Here
threads meet once for many products.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from lm_geometry.geometry.arrays import Array, is_on_host

# Runs of work per thread, so that one that is held up leaves the rest of its share to others.
_RUNS_PER_THREAD = 4


class _SingleThreadedBlas:
    """Holds BLAS to one thread as long as anybody needs that; the setting belongs to the whole process."""

    def __init__(self) -> None:
        self._lock, self._users, self._limit = Lock(), 0, None
        self._controller: ThreadpoolController | None = None
        self.n_threads = 1
        """Threads that BLAS has when nobody holds it."""

    def hold(self) -> None:
        with self._lock:
            if self._users == 0:
                # Numpy's is loaded when the first one holds it, and a search for others takes a millisecond.
                self._controller = self._controller or ThreadpoolController().select(user_api="blas")
                self.n_threads = max((library["num_threads"] for library in self._controller.info()), default=1)
                self._limit = self._controller.limit(limits=1)
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()


_BLAS = _SingleThreadedBlas()


class Workers:
    """Some threads that take pieces of work in runs.

    Parameters
    ----------
    pool : ThreadPoolExecutor, optional
        The threads; without it the caller does the work.
    n_threads : int
        How many there are.
    """

    def __init__(self, pool: ThreadPoolExecutor | None, n_threads: int) -> None:
        self._map = map if pool is None else pool.map
        self._n_runs = 1 if pool is None else _RUNS_PER_THREAD * n_threads

    def each(self, function: Callable[[Any], Any], pieces: Sequence[Any]) -> list[Any]:
        """Return what a function makes of each piece, in their order."""
        runs = self._map(lambda run: [function(piece) for piece in run], self._runs(pieces))
        return [result for run in runs for result in run]

    def total(self, function: Callable[[Any], np.ndarray], pieces: Sequence[Any]) -> np.ndarray:
        """Return the sum of what a function makes of each piece."""

        def add_up(run: Sequence[Any]) -> np.ndarray:
            total = function(run[0])
            for piece in run[1:]:
                total += function(piece)
            return total

        return sum(self._map(add_up, self._runs(pieces)))

    def _runs(self, pieces: Sequence[Any]) -> list[Sequence[Any]]:
        length = -(-len(pieces) // self._n_runs)
        return [pieces[start : start + length] for start in range(0, len(pieces), length)] if pieces else []


@contextmanager
def row_workers(like: Array) -> Iterator[Workers]:
    """Give as many threads as BLAS has, and BLAS one; for arrays on another device give none."""
    if not is_on_host(like):
        yield Workers(None, 1)
        return
    _BLAS.hold()
    try:
        n_threads = _BLAS.n_threads
        with nullcontext() if n_threads == 1 else ThreadPoolExecutor(n_threads) as pool:
            yield Workers(pool, n_threads)
    finally:
        _BLAS.release()
