"""Many revisions in one line: braces, as a shell expands them."""

import itertools
import re

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")
MOST_REVISIONS = 10_000


def expand_revisions(pattern: str) -> list[str]:
    """Return the names that a pattern stands for, in its order; a name without braces stands for itself.

    ``step{0,1,512}`` lists, ``step{1000..143000..1000}`` counts (both ends included, by 1 without a third number), and
    several braces combine. Nothing is asked of a hub: a name that it does not have is an error when it is listed.

    Raises
    ------
    ValueError
        If braces hold neither a list nor a range, or the names are more than ``MOST_REVISIONS``.
    """
    choices = [_choices(part) if inside else [part] for inside, part in _parts(pattern)]
    n_names = 1
    for found in choices:
        n_names *= len(found)
    if n_names > MOST_REVISIONS:
        raise ValueError(f"stands for {n_names:,} revisions, more than {MOST_REVISIONS:,}; take larger steps")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _parts(pattern: str) -> list[tuple[bool, str]]:
    """Return the texts outside and inside of braces, in order."""
    # re.split with one group gives what is between matches and the groups in turn.
    return [(place % 2 == 1, text) for place, text in enumerate(_BRACES.split(pattern))]


def _choices(inside: str) -> list[str]:
    if counted := _RANGE.fullmatch(inside):
        first, last, step = int(counted[1]), int(counted[2]), int(counted[3] or 1)
        if last < first or step < 1:
            raise ValueError(f"{{{inside}}} counts from {first} to {last} by {step}; count upwards, by 1 or more")
        if (last - first) // step >= MOST_REVISIONS:
            raise ValueError(f"{{{inside}}} is more than {MOST_REVISIONS:,} revisions; take larger steps")
        return [str(number) for number in range(first, last + 1, step)]
    if "," in inside and all(inside.split(",")):
        return inside.split(",")
    raise ValueError(f"{{{inside}}} is neither a list as {{0,1,512}} nor a range as {{1000..9000..1000}}")
