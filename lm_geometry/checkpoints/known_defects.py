"""The published list of checkpoints that serve other checkpoints' weights."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "reference" / "known_checkpoint_defects.csv"


@dataclass(frozen=True)
class KnownDefect:
    """Two revisions that were published to carry the same weights.

    ``genuine`` is the revision that the weights belong to, empty where nobody has said; where it is ``revision``
    itself, that one is named for its copies' sake. ``scope`` is what the two share.
    """

    hub_id: str
    revision: str
    shares_with: str
    scope: str
    genuine: str
    source_url: str
    note: str

    @property
    def is_copy(self) -> bool:
        """Whether ``revision`` was published to carry weights that are not its own, or may not be."""
        return self.revision != self.genuine


def read_known_defects(path: Path = FILE) -> list[KnownDefect]:
    """Return the published defects of a CSV file, in its order.

    Raises
    ------
    ValueError
        If a column is missing, or a row lacks its model, its revision or what that shares its weights with.
    """
    columns = [field.name for field in fields(KnownDefect)]
    with Path(path).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, restval="")
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: has no column {', '.join(missing)}; add it")
        defects = [KnownDefect(**{name: row[name].strip() for name in columns}) for row in reader]
    for line, defect in enumerate(defects, start=2):
        if not (defect.hub_id and defect.revision and defect.shares_with):
            raise ValueError(f"{path}, row {line}: a defect needs hub_id, revision and shares_with; got {defect}")
    return defects


def of_source(defects: list[KnownDefect], source: str) -> list[KnownDefect]:
    """Return the defects of the model with this hub id; its case does not matter."""
    return [defect for defect in defects if defect.hub_id.casefold() == source.casefold()]
