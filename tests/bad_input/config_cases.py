"""Configs that users get wrong: files, YAML, names, values, and what refers to what."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from entry_points import BadInput, Ran, checked, checked_file

GOOD = r"""
results_dir: out
cache_dir: cache
models:
  neox-16: {source: "embedded:neox-16", suite: Embedded}
  neox-64: {source: "embedded:neox-64", suite: Embedded}
  mine: {source: ./mine, suite: Mine}
  steps: {source: ./steps, suite: Steps, tokenizer: ./mine}
embedding_scaling:
  suites: [Embedded, Mine]
  collection: {path: ./beir}
  variants: [as_is, random, crop_8]
  random_seeds: [42]
  max_length: 2048
representation_dynamics:
  corpus: {path: ./corpus.txt}
  n_chunks: 512
  n_batches: 8
  batch_size: 4096
  duplicate_tolerance: 1.0e-5
  seed: 0
  profiles: [mine]
  training:
    neox-64: {revisions: [step0, step256]}
    steps: {revisions: [step1]}
  step_pattern: step(\d+)
  keep_hidden_states: false
"""
_FILES = (
    *("mine/config.json", "mine/tokenizer.json", "steps/step1/config.json", "steps/step01/config.json"),
    *("beir/corpus.jsonl", "beir/queries.jsonl", "beir/qrels/test.tsv", "bare/notes.txt", "wordless/config.json"),
)
# 512 chunks of 512 characters.
_CORPUS_BYTES = 512 * 512

_Spoil = Callable[[Path], object]


def good_config(folder: Path) -> list[Ran]:
    """Check ``GOOD`` in a folder that holds all that it names."""
    return [_good_but_for(folder, "seed: 0", "seed: 0", _leave)]


def _leave(_folder: Path) -> None:
    """Spoil nothing."""


def _good_but_for(folder: Path, old: str, new: str, spoil: _Spoil) -> Ran:
    assert GOOD.count(old) == 1, f"{old!r} stands in the config {GOOD.count(old)} times"
    for name in _FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    with (folder / "corpus.txt").open("wb") as file:
        file.truncate(_CORPUS_BYTES)
    spoil(folder)
    return checked(folder, GOOD.replace(old, new))


def _changed(name: str, old: str, new: str, *says: str, spoil: _Spoil = _leave) -> BadInput:
    """Return a case of ``GOOD`` with one place changed, in a folder that ``spoil`` changes too."""
    return BadInput(f"config, {name}", partial(_good_but_for, old=old, new=new, spoil=spoil), says)


def _spoilt(name: str, spoil: _Spoil, *says: str) -> BadInput:
    """Return a case of ``GOOD`` in a folder that ``spoil`` changes."""
    return _changed(name, "seed: 0", "seed: 0", *says, spoil=spoil)


def _added(name: str, key: str, *says: str) -> BadInput:
    """Return a case of ``GOOD`` with one more model of that name."""
    return _changed(name, "models:", f"models:\n  {key}: {{source: 'embedded:neox-32', suite: Embedded}}", *says)


def _text(name: str, text: str | bytes, *says: str) -> BadInput:
    """Return a case of a config of that text, in an empty folder."""
    return BadInput(f"config file, {name}", partial(checked, text=text), says)


def _file(name: str, make: _Spoil, *says: str) -> BadInput:
    """Return a case of what ``make`` makes, or not, where the config should be."""

    def run(folder: Path) -> Ran:
        make(folder / "my.yaml")
        return checked_file(folder / "my.yaml")

    return BadInput(f"config file, {name}", run, says)


def _truncated_to(n_bytes: int) -> _Spoil:
    def spoil(folder: Path) -> None:
        with (folder / "corpus.txt").open("rb+") as file:
            file.truncate(n_bytes)

    return spoil


_SCALING, _DYNAMICS = "embedding_scaling", "representation_dynamics"
_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)

_FILES_AND_YAML = [
    _file("absent", _leave, r"^my\.yaml: No such file", "name a config file that can be read"),
    _file("a folder", Path.mkdir, r"^my\.yaml: Is a directory", "name a config file that can be read"),
    _file("endless", lambda path: path.symlink_to("/dev/zero"), r"^my\.yaml: over 16,777,216 bytes", "name the config"),
    _text("empty", "", r"^my\.yaml: empty", "give models and at least one study"),
    _text("binary", bytes(range(256)), r"^my\.yaml:2: byte 0x80: is not UTF-8", "save the file as UTF-8"),
    _text("NUL bytes", b"models:\0\0", r"^my\.yaml:1:8: '\\x00': YAML allows no such character", "remove it"),
    _text("Latin-1", b"models:\n  caf\xe9: 1\n", r"^my\.yaml:2: byte 0xe9: is not UTF-8", "save the file as UTF-8"),
    _text("a list", "- models\n- results\n", r"^my\.yaml: \['models', 'results'\]", "must be keys with values"),
    _text("one word", '"models"', r"^my\.yaml: 'models'", "must be keys with values, such as 'models:'"),
    _text(
        "an open bracket",
        GOOD.replace("[42]", "[42"),
        r"^my\.yaml:14:13: 'max_length: 2048': is not YAML",
        r"expected ',' or '\]'",
        "begins in line 13",
    ),
    _text(
        "a tab",
        GOOD.replace("  seed: 0", "\tseed: 0"),
        r"^my\.yaml:21:1: 'seed: 0': is not YAML",
        "indent with spaces, not tabs",
    ),
    _text("a colon in a text", "results_dir: out: put\n", r"^my\.yaml:1:17: 'results_dir: out: put': is not YAML"),
    _text(
        "braces without quotes",
        GOOD.replace("step0, step256", "step{0,256}"),
        r"^my\.yaml:24:31: 'neox-64: .*step\{0,256\}.*is not YAML",
        r"into quotes, as in \['step\{0,8\}'\]",
    ),
    _text("an alias without its anchor", GOOD.replace("[42]", "*seeds"), r"^my\.yaml:13:17", "undefined alias 'seeds'"),
    _text(
        "a day that is none",
        GOOD.replace("seed: 0", "seed: 2024-13-45"),
        r"^my\.yaml:21:9",
        "is no timestamp",
        "write text in quotes",
    ),
    _text("a key that is a list", "[a]: 1\n", r"^my\.yaml:1:1: '\[a\]: 1': is not YAML", "unhashable key"),
    _text(
        "a key given twice",
        GOOD.replace("seed: 0", "seed: 0\n  seed: 1"),
        rf"^{_DYNAMICS}\.seed: given twice",
        r"in lines 21 and 22 of my\.yaml: remove one",
    ),
    _text("two documents", GOOD + "---\n" + GOOD, r"^my\.yaml:28:1: '---'", "found another document"),
    _text("aliases that stand for billions", _ALIASES, r"^my\.yaml: 1\d,\d{3},\d{3},\d{3} values", "write out what is"),
    _text("nested without end", "a: " + "[" * 500, r"^my\.yaml: brackets within brackets", "close them"),
    _text("a number of 5,000 digits", f"seed: 0x{'f' * 5000}\n", r"^my\.yaml:1:7", "is no int", "text in quotes"),
]

_KEYS_AND_VALUES = [
    _changed("an unknown key", "results_dir:", "result_dir:", "^result_dir: 'out': unknown key", "mean 'results_dir'"),
    _changed("a key in capitals", "models:", "Models:", "^Models: .*unknown key", "did you mean 'models'"),
    _changed(
        "a key in another's place",
        "results_dir: out",
        "n_chunks: 64",
        "^n_chunks: 64: unknown key",
        f"it belongs to {_DYNAMICS}",
    ),
    _text("no models", GOOD[GOOD.index(_SCALING) :], "^models: not given: add it"),
    _text("no study", GOOD[: GOOD.index(_SCALING)], f"^{_SCALING}: not given, nor {_DYNAMICS}: add at least one"),
    _changed(
        "a key without a value",
        "max_length: 2048",
        "max_length:",
        rf"^{_SCALING}\.max_length: null: has no value",
        "give one, or remove the key",
    ),
    _changed("a text for a number", "max_length: 2048", "max_length: '2048'", r"\.max_length: '2048'", "write 2048"),
    _changed(
        "a text for a list", "profiles: [mine]", "profiles: mine", r"\.profiles: 'mine': must be a list; write \["
    ),
    _changed(
        "a list for keys", "{path: ./beir}", "[./beir]", r"\.collection: \['\./beir'\]: must be", "{path: folder}"
    ),
    _changed("a truth value for a number", "seed: 0", "seed: yes", r"\.seed: true: must be a whole number"),
    _changed("a fraction", "n_chunks: 512", "n_chunks: 512.5", r"\.n_chunks: 512\.5: must be a whole number"),
    _changed("a number for a truth value", "states: false", "states: 1", r"\.keep_hidden_states: 1: must be true or"),
    _changed("YAML's 1e-5, which is text", "1.0e-5", "1e-5", r"duplicate_tolerance: '1e-5'", r"write 1\.0e-5"),
    _changed("NaN", "1.0e-5", ".nan", r"\.duplicate_tolerance: nan: must be a number"),
    _changed("infinity", "1.0e-5", "-.inf", r"\.duplicate_tolerance: -inf: must be a number"),
    _changed("a tolerance that merges all", "1.0e-5", "0.5", r"tolerance: 0\.5: too large; give at most 0\.1"),
    _changed("a negative seed", "seed: 0", "seed: -1", r"\.seed: -1: too small; give at least 0"),
    _changed("a seed of 33 bits", "[42]", "[4294967296]", r"random_seeds\[0\]: 4294967296: too large; give at most"),
    _changed(
        "a huge number", "n_chunks: 512", f"n_chunks: {10**30}", rf"\.n_chunks: {10**30}: too large; give at most"
    ),
    _changed("no seeds", "[42]", "[]", r"\.random_seeds: \[\]: is empty; give at least one"),
    _changed("a seed given twice", "[42]", "[42, 42]", r"\.random_seeds\[1\]: 42: given twice", "remove one"),
    _changed("an unknown variant", "crop_8", "crop8", r"\.variants\[2\]: 'crop8': unknown variant; use as_is"),
    _changed("a variant of no column", "crop_8", "crop_0", r"\.variants\[2\]: 'crop_0': .*needs at least 1 column"),
    _changed(
        "a variant of a billion columns",
        "crop_8",
        "pad_999999999",
        r"variants\[2\]: 'pad_999999999': too many",
        "give at most 1000000",
    ),
    _changed("no regular expression", r"step(\d+)", "step(", r"\.step_pattern: 'step\(': is no regular expression"),
    _changed(
        "batches that the chunks cannot fill",
        "batch_size: 4096",
        "batch_size: 40960",
        r"\.batch_size: 40960: .*64 chunks of 512 characters",
        "lower it to 8192 or less, or raise n_chunks",
    ),
]

_NAMES = [
    _added("a name beyond ASCII", "modèle", r"^models\.modèle: 'modèle': cannot be a folder's name", "use letters"),
    _added("a name with a slash", "a/b", r"^models\.a/b: 'a/b': cannot be a folder's name", "use letters, digits"),
    _added("a name with a space", "a b", r"^models\.a b: 'a b': cannot be a folder's name", "use letters, digits"),
    _added(
        "a name that leads upwards", "..", r"^models\.\.\.: '\.\.': cannot be a folder's name", "begin with a letter"
    ),
    _added("a name with a control character", r'"a\a"', r"^models\.a\\x07: 'a\\x07': cannot be a folder's name"),
    _added("a name that is a truth value to YAML", "no", "^models: false: a key must be text; write it in quotes"),
    _added("a name of 300 characters", "a" * 300, r"^models\.a{300}: .*has 300 characters", "give at most 128"),
    _added("a name that disks keep for a device", "aux", r"^models\.aux: 'aux': is a device's name", "rename it"),
    _added("a name that ends with a point", "a.", r"^models\.a\.: 'a\.': .*the point at a name's end; rename it"),
    _added("names that differ in case only", "Mine", r"^models\.mine: 'mine': differs from models\.Mine", "rename one"),
    _changed(
        "suites that differ in case only",
        "suite: Steps",
        "suite: MINE",
        r"^models\.steps\.suite: 'MINE': differs",
        "in case only; rename one",
    ),
    _changed(
        "a model of no study",
        "    steps: {revisions: [step1]}\n",
        "",
        "^models.steps: suite 'Steps': no study uses",
        "or remove it",
    ),
    _changed(
        "a suite without models",
        "[Embedded, Mine]",
        "[Embeded, Mine]",
        r"\.suites\[0\]: 'Embeded': no model",
        "did you mean 'Embedded'",
    ),
    _changed(
        "a profile of no model",
        "profiles: [mine]",
        "profiles: [nine]",
        r"\.profiles\[0\]: 'nine': is not among",
        "did you mean 'mine'",
    ),
    _changed(
        "a model that is not embedded",
        "embedded:neox-64",
        "embedded:neox-65",
        r"^models\.neox-64\.source: 'embedded:neox-65': no such",
        "did you mean 'embedded:neox-64'",
    ),
    _changed(
        "a revision with a slash",
        "./mine, suite: Mine",
        "./mine, suite: Mine, revision: refs/pr/1",
        r"^models\.mine\.revision: 'refs/pr/1': cannot be a folder's name",
        "or the commit",
    ),
    _changed(
        "two revisions of one step",
        "[step1]",
        "[step1, step01]",
        r"\.steps\.revisions\[1\]: 'step01': is step 1",
        r"as is .*revisions\[0\] \('step1'\); remove one",
    ),
    _changed(
        "a revision without a step", "step256]", "main]", r"\.neox-64\.revisions\[1\]: 'main': .*no training step"
    ),
    _changed(
        "braces that count downwards",
        "[step0, step256]",
        "['step{8..0}']",
        r"\.revisions\[0\]: 'step\{8\.\.0\}'",
        "count upwards",
    ),
    _changed(
        "a counting tokenizer of no model",
        "seed: 0",
        "chunk_tokens: {length: 128, tokenizer: minee}",
        r"\.chunk_tokens\.tokenizer: 'minee': is not among",
        "did you mean 'mine'",
    ),
    _text(
        "a counting tokenizer of a model that is left out",
        GOOD.replace("./mine, suite: Mine", "./gone, suite: Mine, optional: true").replace(
            "seed: 0", "chunk_tokens: {length: 128, tokenizer: mine}"
        ),
        r"\.chunk_tokens\.tokenizer: 'mine': \./gone does not exist",
        "name one that is there",
    ),
]


_PATHS = [
    _changed(
        "a source that is not there", "./mine, suite", "./nowhere, suite", r"^models\.mine\.source: '\./nowhere': no"
    ),
    _changed(
        "a source without its dot",
        "./mine, suite",
        "mine, suite",
        r"^models\.mine\.source: 'mine': is read as a hub",
        r"write \./mine",
    ),
    _changed(
        "a source that is no source",
        "./mine, suite",
        "my model, suite",
        r"^models\.mine\.source: 'my model': is no",
        r"write a hub id \(owner/name\)",
    ),
    _changed(
        "a source that is a page's address",
        "./mine, suite",
        "https://huggingface.co/EleutherAI/pythia-70m/tree/main, suite",
        r"^models\.mine\.source: 'https://.*: is an address; write the hub id alone: EleutherAI/pythia-70m$",
    ),
    _changed(
        "a tokenizer that is a page's address",
        "tokenizer: ./mine",
        "tokenizer: https://huggingface.co/facebook/opt-125m",
        r"^models\.steps\.tokenizer: 'https://.*: is an address; write the hub id alone: facebook/opt-125m$",
    ),
    _changed(
        "a source of one file, profiled",
        "./mine, suite",
        "./corpus.txt, suite",
        r"^models\.mine\.source: '\./corpus\.txt': is one file, without config\.json",
        "name a folder",
    ),
    _changed(
        "a source that is an empty folder",
        "./mine, suite",
        "./empty, suite",
        r"^models\.mine\.source: '\./empty'",
        r"holds no config\.json",
        "name the folder that a model was saved to",
        spoil=lambda at: (at / "empty").mkdir(),
    ),
    _changed(
        "a source without config.json",
        "./mine, suite",
        "./bare, suite",
        r"^models\.mine\.source: '\./bare': holds no",
        "name the folder that a model was saved to",
    ),
    _changed(
        "a source without a tokenizer",
        "./mine, suite",
        "./wordless, suite",
        r"^models\.mine\.source: '\./wordless'",
        r"add tokenizer\.json, or set models\.mine\.tokenizer",
    ),
    _changed(
        "a revision that the folder lacks",
        "[step1]",
        "[step1, step3]",
        r"revisions\[1\]: 'step3': \./steps has no",
        "nearest of 2: ",
    ),
    _changed(
        "a tokenizer that is not there",
        "tokenizer: ./mine",
        "tokenizer: ./no",
        r"^models\.steps\.tokenizer: '\./no'",
        "no such folder",
    ),
    _changed(
        "results_dir that is a file",
        "results_dir: out",
        "results_dir: corpus.txt",
        r"^results_dir: 'corpus\.txt': is a file; name a folder",
    ),
    _changed(
        "results_dir below a file",
        "results_dir: out",
        "results_dir: corpus.txt/out",
        r"^results_dir: 'corpus\.txt/out': lies below .*corpus\.txt, which is a file; name a folder",
    ),
    _changed(
        "cache_dir that is a file",
        "cache_dir: cache",
        "cache_dir: ./corpus.txt",
        r"^cache_dir: '\./corpus\.txt': is a file; name a folder",
    ),
    _changed(
        "cache_dir among the results",
        "cache_dir: cache",
        "cache_dir: out/../out/cache",
        r"^cache_dir: 'out/\.\./out/cache': lies in results_dir \(out\), .*; name a folder beside it",
    ),
    _changed(
        "results_dir that holds code",
        "results_dir: out",
        "results_dir: mine",
        r"^results_dir: 'mine': holds code \(train\.py\); name a folder for results alone",
        spoil=lambda at: (at / "mine/train.py").write_text("", encoding="utf-8"),
    ),
    _changed(
        "results_dir with braces",
        "results_dir: out",
        "results_dir: out/{model}",
        r"^results_dir: 'out/\{model\}'",
        "without braces",
    ),
    _changed(
        "results_dir with a NUL character",
        "results_dir: out",
        r'results_dir: "o\0ut"',
        r"^results_dir: 'o\\x00ut'",
        "without braces or control characters",
    ),
    _changed(
        "results_dir of 300 characters",
        "results_dir: out",
        f"results_dir: {'o' * 300}",
        "^results_dir: 'ooo",
        r"cannot be looked at \(File name too long\); shorten it",
    ),
    _changed(
        "a collection that is a file",
        "./beir",
        "./corpus.txt",
        r"\.collection\.path: '\./corpus\.txt': is a file",
        "name the folder",
    ),
    _spoilt(
        "a collection without queries",
        lambda at: (at / "beir/queries.jsonl").unlink(),
        r"\.collection\.path: '\./beir': holds no queries\.jsonl; a collection has corpus\.jsonl, queries\.jsonl",
    ),
    _spoilt(
        "a collection that is packed",
        lambda at: (at / "beir/corpus.jsonl").rename(at / "beir/corpus.jsonl.gz"),
        r"\.collection\.path: '\./beir': holds no corpus\.jsonl; unpack corpus\.jsonl\.gz",
    ),
    _changed(
        "a corpus that is a folder", "./corpus.txt", "./beir", r"\.corpus\.path: '\./beir': is a folder; name one"
    ),
    _spoilt(
        "a corpus that is not there",
        lambda at: (at / "corpus.txt").unlink(),
        r"\.corpus\.path: '\./corpus\.txt': no such file",
    ),
    _spoilt(
        "a corpus that is one byte too short",
        _truncated_to(_CORPUS_BYTES - 1),
        r"\.corpus\.path: '\./corpus\.txt': holds 262,143 bytes",
        "512 x 512 = 262,144 characters",
        "give more text",
    ),
    _changed(
        "a corpus that is empty, with chunks of tokens",
        "seed: 0",
        "chunk_tokens: {length: 99, tokenizer: mine}",
        r"\.corpus\.path: '\./corpus\.txt': is empty; give a text",
        spoil=_truncated_to(0),
    ),
    _changed(
        "more chunks than enwik8 has",
        "{path: ./corpus.txt}\n  n_chunks: 512",
        "enwik8\n  n_chunks: 195313",
        r"\.corpus: 'enwik8': holds 100,000,000 bytes",
        "195313 x 512 = 100,000,256 characters",
        "or lower either",
    ),
]

CONFIGS = [*_FILES_AND_YAML, *_KEYS_AND_VALUES, *_NAMES, *_PATHS]
