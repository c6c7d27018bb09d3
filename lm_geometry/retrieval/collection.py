"""Judged retrieval collections: folders in BEIR shape (Thakur et al. 2021) and MTEB tasks (Muennighoff et al. 2023)."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lm_geometry.metric_names import METRICS

SPLIT = "test"

_JUDGEMENT_HEADER = ["query-id", "corpus-id", "score"]
# As many digits as an int32 always holds.
_RELEVANCE = re.compile(r"[+-]?[0-9]{1,9}")
# A text of so many bytes is none that anybody judged; a file without line ends shall not fill the memory.
_LONGEST_LINE = 32 << 20
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Collection:
    """Documents, queries and relevance judgements.

    Parameters
    ----------
    documents, queries : dict of str to str
        Text by id, in the order of the source. A document's text is ``(title + " " + text).strip()``.
    judgements : dict of str to dict of str to int
        Relevance by query id and document id; 0 = judged and not relevant. May name queries and documents that the
        collection lacks.
    ignore_identical_ids : bool
        Whether a document with the query's own id is to be left out, where the user does not say: an MTEB task's
        attribute; False for a folder.
    origin : mapping of str to str
        Where an MTEB task's texts come from: 'mteb_task', 'mteb_revision', 'mteb_split' and 'mteb_subset'; empty for a
        folder.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]
    ignore_identical_ids: bool = False
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)

    def lowercase(self) -> "Collection":
        """Return the collection with all texts in lower case."""
        return replace(
            self,
            documents={key: text.lower() for key, text in self.documents.items()},
            queries={key: text.lower() for key, text in self.queries.items()},
        )

    def sha256(self) -> str:
        """Return a digest of the ids, texts and judgements, in their order."""
        digest = hashlib.sha256()
        for part in (self.documents, self.queries, self.judgements):
            for item in part.items():
                digest.update(json.dumps(item, ensure_ascii=False).encode() + b"\n")
            digest.update(b"\n")
        return digest.hexdigest()

    def unknown_ids(self) -> tuple[list[str], list[str]]:
        """Return the query ids and the document ids that judgements name and the collection lacks, sorted."""
        judged = {document for relevances in self.judgements.values() for document in relevances}
        return sorted(self.judgements.keys() - self.queries.keys()), sorted(judged - self.documents.keys())

    def check(self, source: str) -> None:
        """Check that the collection can be scored.

        Raises
        ------
        ValueError
            If there are no documents, no queries, no judgements, or none with a text; or no judgement names a known
            query and a known document, or none of those says that it is relevant. Single unknown ids and empty texts
            are no error: public collections have them, and an unknown relevant document counts as not found.
        """
        for name, part in (("documents", self.documents), ("queries", self.queries), ("judgements", self.judgements)):
            if not part:
                raise ValueError(f"{source}: the collection has no {name}; add them")
        for name, texts in (("documents", self.documents), ("queries", self.queries)):
            if not any(map(str.strip, texts.values())):
                raise ValueError(f"{source}: all {len(texts)} {name} are empty; their words belong into the key 'text'")
        known = [
            relevance
            for query in self.queries.keys() & self.judgements.keys()
            for document, relevance in self.judgements[query].items()
            if document in self.documents
        ]
        if not known:
            query, relevances = next(iter(self.judgements.items()))
            raise ValueError(
                f"{source}: no judgement names a query and a document of the collection; the first judgement names "
                f"query {_quoted(query)} and document {_quoted(next(iter(relevances)))}, the first of "
                f"{len(self.queries)} queries is {_quoted(next(iter(self.queries)))}, the first of "
                f"{len(self.documents)} documents {_quoted(next(iter(self.documents)))}; give both the same ids"
            )
        if max(known) < 1:
            raise ValueError(
                f"{source}: none of {len(known)} judgements finds a document relevant, the highest is {max(known)}; "
                "a relevant one has 1 or more"
            )


def read_beir_folder(folder: Path) -> Collection:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and the judgements, ``qrels/test.tsv`` or the only file in ``qrels``.

    Lines end at line feeds only: real texts hold other line separators.

    Raises
    ------
    ValueError
        If a line cannot be read: bytes that are not UTF-8, broken JSON, a missing or repeated id, no text, a judgement
        that is not three columns with an integer; the message names file and line. Or if the collection cannot be
        scored (see ``Collection.check``).
    FileNotFoundError
        If one of the three files is absent.
    """
    folder = Path(folder)
    collection = Collection(
        documents=_read_texts(folder / "corpus.jsonl", _document_text),
        queries=_read_texts(folder / "queries.jsonl", _query_text),
        judgements=_read_judgements(_judgements_file(folder)),
    )
    collection.check(str(folder))
    return collection


def load_mteb_task(name: str) -> Collection:
    """Load an MTEB retrieval task of one subset: its test split, or the only one that it is evaluated on.

    Raises
    ------
    ValueError
        If there is no such task, or it is not plain text retrieval of one split and subset (reranking, instructions,
        conversations, images, several languages), or MTEB judges it by a score that is none of this project's metrics.
    OSError
        If its data cannot be fetched.
    """
    import mteb

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise ValueError(f"collection '{name}' is no MTEB task ({error.args[0]}); {_ADVICE}") from error
    _check_task(name, task)
    split, (subset,) = _split(name, task), task.hf_subsets
    data = _task_data(name, task, split, subset)
    collection = Collection(
        documents=_by_id(name, data["corpus"], _document_text),
        queries=_by_id(name, data["queries"], _query_text),
        judgements={query: dict(relevances) for query, relevances in data["relevant_docs"].items() if relevances},
        ignore_identical_ids=task.ignore_identical_ids,
        origin={
            "mteb_task": task.metadata.name,
            "mteb_revision": task.metadata.revision,
            "mteb_split": split,
            "mteb_subset": subset,
        },
    )
    collection.check(f"collection '{name}'")
    return collection


_ADVICE = "name an MTEB text retrieval task, or give a folder in BEIR shape as {path: FOLDER}"


def _check_task(name: str, task: Any) -> None:
    from mteb.abstasks import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval) or list(task.metadata.modalities) != ["text"]:
        raise ValueError(f"collection '{name}' is an MTEB task of type {task.metadata.type}; {_ADVICE}")
    if len(task.hf_subsets) != 1:
        raise ValueError(f"collection '{name}' has {len(task.hf_subsets)} subsets and one is needed; {_ADVICE}")
    if task.skip_first_result:
        raise ValueError(f"collection '{name}' does not count the first document found; {_ADVICE}")
    if task.metadata.main_score not in METRICS:
        raise ValueError(f"collection '{name}' is judged by {task.metadata.main_score}, no metric here; {_ADVICE}")


def _split(name: str, task: Any) -> str:
    splits = list(task.eval_splits)
    if SPLIT in splits:
        return SPLIT
    if len(splits) > 1:
        raise ValueError(f"collection '{name}' has no {SPLIT} split, but {', '.join(splits)}; {_ADVICE}")
    return splits[0]


def _task_data(name: str, task: Any, split: str, subset: str) -> Any:
    try:
        task.load_data()
    except OSError as error:
        where = "{path}, revision {revision}".format(**task.metadata.dataset)
        raise OSError(f"collection '{name}': its data ({where}) cannot be fetched: {error}; {_ADVICE}") from error
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    data = task.dataset[subset][split]
    if data["top_ranked"] is not None:
        raise ValueError(f"collection '{name}' re-ranks given documents; {_ADVICE}")
    if "instruction" in data["queries"].column_names:
        raise ValueError(f"collection '{name}' gives an instruction with each query; {_ADVICE}")
    return data


def _by_id(name: str, rows: Any, text_of: Callable[[dict[str, Any]], str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for row in rows:
        identifier = str(row["id"])
        if identifier in texts:
            raise ValueError(f"collection '{name}': id '{identifier}' occurs twice")
        try:
            texts[identifier] = text_of(row)
        except ValueError as error:
            raise ValueError(f"collection '{name}', id '{identifier}': {error}; {_ADVICE}") from error
    return texts


def _document_text(fields: dict[str, Any]) -> str:
    return (_text_field(fields, "title", default="") + " " + _text_field(fields, "text")).strip()


def _query_text(fields: dict[str, Any]) -> str:
    return _text_field(fields, "text")


def _text_field(fields: dict[str, Any], key: str, *, default: str | None = None) -> str:
    value = fields.get(key)
    value = default if value is None else value
    if not isinstance(value, str):
        raise ValueError(f"key '{key}' is {_shown(value)} and must be a string; write it in double quotes")
    return value


def _quoted(text: str) -> str:
    """Return a text from a file as an error shows it: on one line, and its beginning only."""
    return repr(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}...")


def _shown(value: Any) -> str:
    # The one control character that JSON leaves as it is.
    text = json.dumps(value).replace("\x7f", "\\u007f")
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _read_texts(path: Path, text_of: Callable[[dict[str, Any]], str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        try:
            fields = json.loads(line)
            identifier = _identifier(fields)
            text = text_of(fields)
            f"{identifier}{text}".encode()
        except UnicodeEncodeError as error:
            said = f"the text holds half of a surrogate pair, or the id ({error}); write the whole character"
            raise ValueError(f"{path}, line {number}: {said}") from error
        except json.JSONDecodeError as error:
            said = f"not valid JSON ({error}), beginning {_shown(line[:_LONGEST_VALUE])}; one object a line is needed"
            raise ValueError(f"{path}, line {number}: {said}") from error
        except RecursionError as error:
            raise ValueError(f"{path}, line {number}: JSON nested too deep; one plain object is needed") from error
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if identifier in texts:
            said = f"id {_quoted(identifier)} stands in line {lines[identifier]} already; give each its own"
            raise ValueError(f"{path}, line {number}: {said}")
        texts[identifier], lines[identifier] = text, number
    return texts


def _identifier(fields: Any) -> str:
    if not isinstance(fields, dict):
        said = f"a JSON object is needed and this is a {type(fields).__name__}"
        raise ValueError(f'{said}; write each text as {{"_id": ..., "text": ...}} on a line of its own')
    if "_id" not in fields:
        raise ValueError(f"key '_id' is missing; the keys are {_quoted(', '.join(fields))[1:-1] or 'none'}; add it")
    identifier = fields["_id"]
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise ValueError(f"key '_id' is {_shown(identifier)} and must be a string that is not empty; name each text")
    return str(identifier)


def _judgements_file(folder: Path) -> Path:
    preferred = folder / "qrels" / f"{SPLIT}.tsv"
    if preferred.is_file():
        return preferred
    found = sorted((folder / "qrels").glob("*.tsv"))
    if not found:
        raise FileNotFoundError(f"{preferred}: no judgements; a folder in BEIR shape has them in qrels/{SPLIT}.tsv")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{preferred.parent}: holds {names} and no {SPLIT}.tsv; rename the one to use to {SPLIT}.tsv")
    return found[0]


def _read_judgements(path: Path) -> dict[str, dict[str, int]]:
    judgements: dict[str, dict[str, int]] = {}
    for number, line in _numbered_lines(path):
        columns = line.rstrip("\r").split("\t")
        if number == 1 and columns == _JUDGEMENT_HEADER:
            continue
        if len(columns) != 3:
            said = f"3 columns divided by tabs are needed, found {len(columns)}: {_shown(line[:_LONGEST_VALUE])}"
            raise ValueError(f"{path}, line {number}: {said}; write {', '.join(_JUDGEMENT_HEADER)}")
        query, document, relevance = columns
        if not _RELEVANCE.fullmatch(relevance.strip()):
            fix = f"a header must be {', '.join(_JUDGEMENT_HEADER)}" if number == 1 else "write 0, 1 or another grade"
            said = f"relevance {_quoted(relevance)} is no integer of up to 9 digits; {fix}"
            raise ValueError(f"{path}, line {number}: {said}")
        value = int(relevance)
        earlier = judgements.setdefault(query, {}).setdefault(document, value)
        if earlier != value:
            raise ValueError(
                f"{path}, line {number}: query {_quoted(query)} and document {_quoted(document)} are judged {value} "
                f"here and {earlier} before; remove one"
            )
    return judgements


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a folder in BEIR shape has it")
    with path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), start=1):
            text = _decoded(f"{path}, line {number}", line)
            # Some editors begin a file with a byte order mark.
            text = text.removeprefix("\ufeff") if number == 1 else text
            if text.strip():
                yield number, text


def _decoded(place: str, line: bytes) -> str:
    if line.startswith(b"\x1f\x8b"):
        raise ValueError(f"{place}: a gzip archive; unpack it")
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"{place}: longer than {_LONGEST_LINE:,} bytes; end each line with a line feed")
    if b"\0" in line:
        raise ValueError(f"{place}: a NUL byte at {line.index(0)}: binary data or UTF-16; convert the file to UTF-8")
    try:
        return line.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8 ({error}); convert the file to UTF-8") from error
