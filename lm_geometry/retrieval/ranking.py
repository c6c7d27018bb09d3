"""Ranks of a query's relevant documents, and what they would be if documents of equal similarity stood otherwise."""

from dataclasses import dataclass

import numpy as np

# Up to so many relevant documents, counting what lies above each of them takes less than sorting all documents.
_COUNTED = 60


@dataclass(frozen=True)
class RelevantRanks:
    """Where the relevant documents of a query stand among all documents; ranks count from 0.

    Parameters
    ----------
    ranks : np.ndarray
        The ranks, equal similarities ordered by the documents' tie-break.
    above : np.ndarray
        How many documents are more similar: the first rank that the document could have.
    tied : np.ndarray
        How many documents are as similar, itself included. All arrays have shape (relevant documents,).
    """

    ranks: np.ndarray
    above: np.ndarray
    tied: np.ndarray

    def extremes(self, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranks in the best and in the worst order of equal similarities, shape (relevant documents,).

        Parameters
        ----------
        gains : np.ndarray
            Relevance of each document, greater than 0; that of all others is 0. The best order has larger gains first.
        """
        largest_first, places, _ = self._within_ties(-gains)
        best = np.empty_like(self.ranks)
        best[largest_first] = self.above[largest_first] + places
        smallest_first, places, sizes = self._within_ties(gains)
        worst = np.empty_like(self.ranks)
        worst[smallest_first] = (self.above + self.tied)[smallest_first] - sizes + places
        return best, worst

    def _within_ties(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the documents by tie and key, the place of each among its tie's, and how many those are."""
        order = np.lexsort((key, self.above))
        ties = self.above[order]
        first, last = np.searchsorted(ties, ties, "left"), np.searchsorted(ties, ties, "right")
        return order, np.arange(len(ties)) - first, last - first


def relevant_ranks(similarities: np.ndarray, relevant: np.ndarray, tie_break: np.ndarray) -> RelevantRanks:
    """Return where the ``relevant`` documents of one query stand, the most similar document first.

    Parameters
    ----------
    similarities : np.ndarray
        Similarity of every document, no NaN, shape (documents,).
    relevant : np.ndarray
        Indices of the relevant documents.
    tie_break : np.ndarray
        Distinct numbers of the documents, shape (documents,): of two documents of equal similarity the one with the
        larger number comes first.
    """
    values = similarities[relevant]
    if len(relevant) > _COUNTED:
        ascending = np.sort(similarities)
        above = len(ascending) - np.searchsorted(ascending, values, "right")
        tied = len(ascending) - np.searchsorted(ascending, values, "left") - above
    else:
        above = np.array([np.count_nonzero(similarities > value) for value in values], dtype=np.intp)
        tied = np.array([np.count_nonzero(similarities >= value) for value in values], dtype=np.intp) - above
    ranks = above.copy()
    for place in np.flatnonzero(tied > 1):
        others = tie_break[similarities == values[place]]
        ranks[place] += np.count_nonzero(others > tie_break[relevant[place]])
    return RelevantRanks(ranks, above, tied)
