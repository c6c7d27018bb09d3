"""What an embedding table is like in itself: measures of batches of its rows, and of all rows as they go by."""

import hashlib
from functools import cache

import numpy as np

from lm_geometry.geometry.cloud import Cloud, View
from lm_geometry.geometry.intrinsic_dimension import fitted_dimension
from lm_geometry.geometry.isotropy import effective_rank_of, participation_ratio_of
from lm_geometry.geometry.measures import share_or_error, statistic_of
from lm_geometry.geometry.rows import DegenerateError, checked_rows, row_norms
from lm_geometry.geometry.statistic import Statistic, attempt

BATCH_STATISTICS = (
    "anisotropy",
    "anisotropy_uncentered",
    "participation_ratio",
    "effective_rank",
    "twonn_090",
    "twonn_020",
    "mean_cosine",
)
"""What is measured of a batch of rows."""

_DIGEST_BYTES = 16


def batch_statistics(x: np.ndarray) -> dict[str, Statistic]:
    """Return ``BATCH_STATISTICS`` of some rows of a table by name.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).

    Raises
    ------
    DegenerateError
        If values are not finite. Other degenerate input gives statistics without a value.
    """
    cloud = Cloud(x)
    neighbors, singular_values = cache(cloud.nearest_two), cache(cloud.singular_values)
    shares = cache(lambda: cloud.leading_shares({"centred": View(), "uncentred": View(center=False)}))
    measures = {
        "anisotropy": lambda: share_or_error(shares()["centred"]),
        "anisotropy_uncentered": lambda: share_or_error(shares()["uncentred"]),
        "participation_ratio": lambda: participation_ratio_of(singular_values()),
        "effective_rank": lambda: effective_rank_of(singular_values()),
        "twonn_090": lambda: fitted_dimension(neighbors(), 0.9),
        "twonn_020": lambda: fitted_dimension(neighbors(), 0.2),
    }
    found = {name: statistic_of(cloud, measure) for name, measure in measures.items()}
    # A cosine needs no distinct rows.
    found["mean_cosine"] = attempt(lambda: mean_cosine(x), n_vectors=cloud.n_rows, n_distinct=len(cloud.distinct))
    return {name: found[name] for name in BATCH_STATISTICS}


def mean_cosine(x: np.ndarray) -> float:
    """Return the mean cosine of two different rows, over all pairs.

    By sums: (|sum u|^2 - sum |u|^2) / (n (n - 1)), where u are the rows at unit length; a zero row has cosine 0.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).

    Raises
    ------
    DegenerateError
        If there are fewer than two rows, all are zero, or values are not finite.

    References
    ----------
    Ethayarajh, "How Contextual are Contextualized Word Representations?" (2019), where it is called anisotropy.
    """
    rows = checked_rows(x).astype(np.float64)
    n = len(rows)
    if n < 2:
        raise DegenerateError(f"a cosine needs two rows, got {n}")
    norms = row_norms(rows)
    present = norms > 0
    if not present.any():
        raise DegenerateError(f"all {n} rows are zero: they have no direction")
    total = (1 / norms[present]) @ rows[present]
    return float((total @ total - present.sum()) / (n * (n - 1)))


class TableTotals:
    """What is measured of a whole table, exactly, while its blocks go by.

    Parameters
    ----------
    columns : int
        Columns of the table.
    """

    def __init__(self, columns: int) -> None:
        self._sum = np.zeros(columns)
        self._squares = 0.0
        self._rows = self._zero = 0
        self._digests: set[bytes] = set()

    def add(self, block: np.ndarray) -> None:
        """Add the next rows, float32 of shape (n, columns)."""
        block = np.ascontiguousarray(block, dtype=np.float32)
        wide = block.astype(np.float64)
        self._sum += wide.sum(axis=0)
        self._squares += float(np.vdot(wide, wide))
        self._rows += len(block)
        self._zero += int((~block.any(axis=1)).sum())
        self._digests.update(hashlib.blake2b(row, digest_size=_DIGEST_BYTES).digest() for row in block)

    def statistics(self, n_without_token: int) -> dict[str, Statistic]:
        """Return the statistics of all rows that were added.

        root_mean_square of the entries; mean_norm_share, the squared norm of the mean row over the rows' mean squared
        norm; rows_without_token and their share; zero_rows; repeated_rows, which equal an earlier row bit for bit (by
        a 128-bit digest).

        Parameters
        ----------
        n_without_token : int
            Rows that no token of the tokenizer stands for.
        """
        measures = {
            "root_mean_square": lambda: float(np.sqrt(self._squares / (self._rows * len(self._sum)))),
            "mean_norm_share": self._mean_norm_share,
            "share_without_token": lambda: n_without_token / self._rows,
            "rows_without_token": lambda: float(n_without_token),
            "zero_rows": lambda: float(self._zero),
            "repeated_rows": lambda: float(self._rows - len(self._digests)),
        }
        n_distinct = len(self._digests)
        return {name: attempt(found, n_vectors=self._rows, n_distinct=n_distinct) for name, found in measures.items()}

    def _mean_norm_share(self) -> float:
        if self._squares == 0:
            raise DegenerateError(f"all {self._rows} rows are zero: they have no norm to share")
        mean = self._sum / self._rows
        return float(mean @ mean / (self._squares / self._rows))
