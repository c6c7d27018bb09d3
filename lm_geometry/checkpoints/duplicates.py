"""Revisions of one model that carry the same weights, told from the digests that the ledger lists.

A revision carries another one's weights where they share a weight file of the format that would be read. Groups are
made per shared file, not per chain of sharers: a revision that shares its first shard with A and its second with B
does not make A and B alike. Revisions that share several files are one group for all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lm_geometry.checkpoints.known_defects import KnownDefect
from lm_geometry.checkpoints.listed_file import ListedFile

MAIN = "main"
ALL_WEIGHTS = "all weights"
EMBEDDING_FILE = "the file with the embedding"
OTHER_FILES = "other files"

CONFIRMED = "confirmed"
NOT_CONFIRMED = "not confirmed"
NOT_IN_THIS_RUN = "not in this run"
NOT_COMPARED = "cannot be compared"
NOT_PUBLISHED = "not published"


@dataclass(frozen=True)
class Checkpoint:
    """One revision of a model and the weight files that would be read of it; ``step`` is None for an alias."""

    revision: str
    step: int | None
    weights: tuple[ListedFile, ...]

    @property
    def digests(self) -> frozenset[str]:
        """The sha256 of the weight files, where they are known."""
        return frozenset(file.sha256 for file in self.weights if file.sha256)

    @property
    def unknown(self) -> list[str]:
        """The weight files without a digest, which cannot be compared."""
        return [file.path for file in self.weights if not file.sha256]


@dataclass(frozen=True)
class Group:
    """Revisions that share weight files and cannot all be what they are called.

    ``members`` go by step, aliases last. ``shared`` holds the digests that all of them have. ``genuine_step`` is the
    step that the shared weights belong to; None where it cannot be told, so that every step may be a copy.
    """

    members: tuple[Checkpoint, ...]
    shared: frozenset[str]
    genuine_step: int | None

    @property
    def names(self) -> list[str]:
        """The members' revisions."""
        return [member.revision for member in self.members]

    @property
    def scope(self) -> str:
        """What the members share: all weights, the file with the embedding (at least), or other files."""
        if all(member.digests == self.shared and not member.unknown for member in self.members):
            return ALL_WEIGHTS
        shared = [file for member in self.members for file in member.weights if file.sha256 in self.shared]
        return EMBEDDING_FILE if any(file.holds_embedding for file in shared) else OTHER_FILES

    @property
    def copies(self) -> list[str]:
        """The revisions with a training step that the shared weights do not belong to, or may not."""
        return [member.revision for member in self.members if self.is_copy(member)]

    def is_copy(self, member: Checkpoint) -> bool:
        """Say whether a member's weights are, or may be, another step's. An alias is no copy: it claims no step."""
        return member.step is not None and member.step != self.genuine_step

    def is_genuine(self, member: Checkpoint) -> bool:
        """Say whether the shared weights are the member's own."""
        return member.step is not None and member.step == self.genuine_step

    def others(self, member: Checkpoint) -> list[str]:
        """Return the other members' names."""
        return [other.revision for other in self.members if other != member]

    def origins(self, member: Checkpoint) -> list[str]:
        """Return whose weights a copy carries: the genuine member's, else main's, else those of any other member."""
        genuine = [other.revision for other in self.members if self.is_genuine(other)]
        return genuine or [name for name in self.others(member) if name == MAIN] or self.others(member)

    def shared_files(self, member: Checkpoint) -> list[str]:
        """Return the paths of a member's shared files."""
        return [file.path for file in member.weights if file.sha256 in self.shared]


def find_groups(checkpoints: Sequence[Checkpoint], known: Sequence[KnownDefect] = ()) -> list[Group]:
    """Return the groups of one model's revisions that share weight files, those with the earliest step first.

    A group is a defect only if a step in it carries, or may carry, what is not its own: an alias that serves one step's
    weights is none, nor is main where it serves the last step's.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        All listed revisions of the model; the greatest step among them is taken for the run's last.
    known : sequence of KnownDefect
        What was published about the model. It tells which step is genuine before anything is inferred.
    """
    ordered = sorted(checkpoints, key=_by_step)
    last = max((found.step for found in ordered if found.step is not None), default=None)
    groups = []
    for members, shared in _sharing(ordered):
        group = Group(members, shared, _genuine_step(members, last, _about(known, members, ordered)))
        if group.copies and (len({found.step for found in members} - {None}) > 1 or _has_main(members)):
            groups.append(group)
    return groups


def published_status(
    revision: str, checkpoints: Sequence[Checkpoint], groups: Sequence[Group], known: Sequence[KnownDefect]
) -> str | None:
    """Return whether the ledger confirms a published defect; None for a revision that was not published to be a copy.

    It does where the revision shares a weight file with one that it was published to be equal to, directly or through
    others, or, where none of these is in this run, with any other.

    Parameters
    ----------
    revision : str
        The revision.
    checkpoints, groups, known : sequences
        All listed revisions of the model, what ``find_groups`` found in them, and what was published about the model.
    """
    if revision not in {defect.revision for defect in known if defect.is_copy}:
        return None
    listed = {found.revision: found for found in checkpoints}
    partners = _published_partners(revision, known) & listed.keys()
    sharers = {name for group in groups if revision in group.names for name in group.names} - {revision}
    if sharers & partners or (sharers and not partners):
        return CONFIRMED
    if revision not in listed or not partners:
        return NOT_IN_THIS_RUN
    if listed[revision].unknown or all(listed[name].unknown for name in partners):
        return NOT_COMPARED
    return NOT_CONFIRMED


def origins_of_copies(rows: Iterable[Mapping]) -> dict[tuple[str, str], str]:
    """Return whose weights each copy carries, by (model, revision), from rows of ``tables.duplicate_checkpoints``.

    A revision in several groups names the origins of all, separated by commas.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["is_copy"]:
            found[row["model"], row["revision"]] += row["copy_of"].split(", ")
    return {key: ", ".join(dict.fromkeys(names)) for key, names in found.items()}


def groups_of_tables(rows: Iterable[Mapping]) -> list[Mapping]:
    """Return the rows of ``tables.duplicate_checkpoints`` that say something of embedding tables.

    Revisions that share other files only have embedding tables of their own.
    """
    return [row for row in rows if row["scope"] != OTHER_FILES]


def published_defects(rows: Iterable[Mapping]) -> dict[tuple[str, str], str]:
    """Return what the ledger says of each published defect, by (model, revision); rows as ``origins_of_copies``."""
    return {(row["model"], row["revision"]): row["published"] for row in rows if row["published_url"] is not None}


def _sharing(checkpoints: Sequence[Checkpoint]) -> list[tuple[tuple[Checkpoint, ...], frozenset[str]]]:
    """Return the sets of revisions that share files, each with all that its members have in common.

    One set for every file that several revisions have, and one for every several revisions with the same weights
    throughout, whether or not others share a part of these.
    """
    holders: dict[object, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        for key in {checkpoint.digests, *checkpoint.digests} - {frozenset()}:
            holders[key].append(checkpoint)
    sets = dict.fromkeys(tuple(members) for members in holders.values() if len(members) > 1)
    found = [(members, frozenset.intersection(*(member.digests for member in members))) for members in sets]
    return sorted(found, key=lambda entry: ([_by_step(member) for member in entry[0]], sorted(entry[1])))


def _by_step(checkpoint: Checkpoint) -> tuple[bool, int, str]:
    """Return the place of a revision: by step, aliases last."""
    return checkpoint.step is None, checkpoint.step or 0, checkpoint.revision


def _has_main(members: Sequence[Checkpoint]) -> bool:
    return any(member.revision == MAIN for member in members)


def _about(
    known: Sequence[KnownDefect], members: Sequence[Checkpoint], listed: Sequence[Checkpoint]
) -> list[KnownDefect]:
    """Return what was published about the members' sharing with each other, or with a revision that is not listed."""
    inside = {member.revision for member in members}
    outside = {found.revision for found in listed} - inside
    return [defect for defect in known if defect.revision in inside and defect.shares_with not in outside]


def _genuine_step(members: Sequence[Checkpoint], last: int | None, known: Sequence[KnownDefect]) -> int | None:
    """Return the step that the shared weights belong to, as published; else the last step; else None.

    The last one that is listed need not be the training's: where it was published as a copy itself, nothing is
    inferred. That the weights are main's names no step.
    """
    steps = {member.revision: member.step for member in members}
    named = {defect.genuine for defect in known} - {"", MAIN}
    if named:
        return next((steps[name] for name in sorted(named) if name in steps), None)
    copies = {steps[defect.revision] for defect in known}
    return last if last in steps.values() and last not in copies else None


def _published_partners(revision: str, known: Sequence[KnownDefect]) -> set[str]:
    """Return the revisions that were published to carry the same weights, directly or through others."""
    pairs = [{defect.revision, defect.shares_with} for defect in known]
    found, before = {revision}, 0
    while len(found) > before:
        before = len(found)
        found.update(*(pair for pair in pairs if pair & found))
    return found - {revision}
