"""Pages of the docs with a part that is generated, between two marks: comments that no reader sees."""


def split_at_marks(page: str, begin: str, end: str) -> tuple[str, str, str]:
    """Return what stands before the part, with its first mark; the part; and its last mark, with what stands behind.

    Raises
    ------
    ValueError
        If the page lacks a mark.
    """
    before, found_begin, rest = page.partition(begin)
    inside, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page has no place for what is generated; put {begin.strip()} and {end.strip()} into it")
    return before + found_begin, inside, found_end + after
