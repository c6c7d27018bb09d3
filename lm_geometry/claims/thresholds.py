"""From where on the claims hold, for those who draw or write it beside the verdicts."""

EQUIVALENT_RATIO = 0.2
"""Share of a score within which another is as good."""

EQUIVALENT_DIFFERENCE = 0.003
"""Difference of scores, as a fraction, that counts as none."""

SETTLED_COSINE = 0.9
"""Mean cosine to the final table from which on a table has settled."""

SETTLED_BY = 0.1
"""Share of training by which tables are claimed to have settled."""
