"""Does Snakemake remember what made a results folder? Its records lie in ``.snakemake`` of the working directory.

It takes files without a record for up to date, and finds a record by the file's path as it is spelled. In another
working directory, under another path, or after ``.snakemake`` was removed, every edit of config and code would go
unnoticed. So a results folder and the records of its runs bear the same mark.
"""

import uuid
from pathlib import Path

from lm_geometry.tables.files import write_text

MARK_NAME = ".records"
_RECORDS = Path(".snakemake", "lm_geometry")


class LostRecordsError(RuntimeError):
    """Results whose records are elsewhere, or gone."""


def check_records(results: Path) -> None:
    """Refuse a results folder that runs filled whose records are not in the working directory.

    Parameters
    ----------
    results : Path
        As the config has it: relative to the working directory, or absolute.

    Raises
    ------
    LostRecordsError
        With where those runs were and how they called the folder, and what to do.
    """
    mark, origin, name = _read(results)
    if mark and _name_in_records(mark) != str(results):
        raise LostRecordsError(
            f"results_dir: {results}: made by runs in {origin} with results_dir {name}; Snakemake's records of them "
            f"(.snakemake) are not in {Path.cwd()} or not under this path, so that no change since would be noticed; "
            "run there and by that name, or set another results_dir; to take all files as they are for up to date, "
            f"remove {results / MARK_NAME}"
        )


def mark_records(results: Path) -> None:
    """Give a results folder and the working directory's records the same mark, a new one for each run.

    So a copy of the working directory whose results folder is the same one, by an absolute path, knows it for as long
    as no run in the other has changed it.
    """
    former = _read(results)[0]
    mark = uuid.uuid4().hex
    write_text(_RECORDS / mark, f"{results}\n")
    write_text(results / MARK_NAME, f"{mark}\n{Path.cwd()}\n{results}\n")
    if former:
        (_RECORDS / Path(former).name).unlink(missing_ok=True)


def _read(results: Path) -> tuple[str, str, str]:
    """Return a folder's mark, and where and under which name it was filled; empty where it has none."""
    path = results / MARK_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return (lines[0], lines[1], lines[2]) if len(lines) == 3 else ("", "", "")


def _name_in_records(mark: str) -> str | None:
    path = _RECORDS / mark
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
