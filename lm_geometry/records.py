"""Does Snakemake remember what made a results folder? Its records lie in ``.snakemake`` of the working directory.

It takes files without a record for up to date. In another working directory, or after ``.snakemake`` was removed, every
edit of config and code would go unnoticed. So a results folder and the records of its runs bear the same mark.
"""

import uuid
from pathlib import Path

MARK_NAME = ".records"
_RECORDS = Path(".snakemake", "lm_geometry")


class LostRecordsError(RuntimeError):
    """Results whose records are elsewhere, or gone."""


def check_records(results: Path) -> None:
    """Refuse a results folder that runs filled whose records are not in the working directory.

    Raises
    ------
    LostRecordsError
        With the folder that those runs worked in, and what to do.
    """
    try:
        mark, origin = (results / MARK_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    if not (_RECORDS / mark).exists():
        raise LostRecordsError(
            f"results_dir: {results}: made by runs in {origin}, whose records (.snakemake) are not in {Path.cwd()}, so "
            "that no change since would be noticed; run there, or set another results_dir; "
            f"to take all files as they are for up to date, remove {results / MARK_NAME}"
        )


def mark_records(results: Path) -> None:
    """Give a results folder and the working directory's records the same mark, unless they have one."""
    path = results / MARK_NAME
    if path.exists():
        return
    mark = uuid.uuid4().hex
    _RECORDS.mkdir(parents=True, exist_ok=True)
    (_RECORDS / mark).touch()
    path.write_text(f"{mark}\n{Path.cwd()}\n", encoding="utf-8")
