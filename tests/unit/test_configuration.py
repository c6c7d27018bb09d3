"""The config as a contract: what is refused, in which words, and that schema, defaults, configs and page agree."""

import copy
import datetime
import lzma
import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from lm_geometry.configuration import (
    ConfigError,
    check_config,
    find_errors,
    load_config,
    read_config,
    with_defaults,
)
from lm_geometry.configuration.documentation import COMMAND, render
from lm_geometry.configuration.schema import load_schema
from lm_geometry.demo.recipes import RECIPES

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = [PROJECT / "config.yaml", *sorted((PROJECT / "configs").glob("*.yaml"))]

GOOD = """
results_dir: out
models:
  pythia-14m: {source: EleutherAI/pythia-14m, suite: Pythia, tokenizer: EleutherAI/gpt-neox-20b}
  mine: {source: ./mine, suite: Mine}
  steps: {source: ./steps, suite: Steps, tokenizer: ./mine}
  neox-64: {source: "embedded:neox-64", suite: Embedded}
embedding_scaling:
  suites: [Pythia, Mine]
  collection: {path: ./beir, lowercase: true}
  variants: [as_is, random, crop_128, pad_14336]
  random_seeds: [42]
  table_precision: bfloat16
  random_generator: legacy_bf16
  max_length: 2048
  ignore_identical_ids: false
  random_tokenizer: {widths: [128, 256], seeds: [42, 43], vocab_rows: {EleutherAI/gpt-neox-20b: 50304}}
  table_geometry: {batch_size: 4096, n_batches: 8, seed: 0}
  training: {pythia-14m: {revisions: [step0, step1000]}}
  step_pattern: step(\\d+)
representation_dynamics:
  corpus: {path: ./corpus.txt}
  chunk_characters: 512
  n_chunks: 512
  batch_size: 4096
  n_batches: 8
  duplicate_tolerance: 1.0e-5
  seed: 0
  profiles: [pythia-14m, mine]
  training:
    steps: {revisions: [step1, step2]}
    neox-64: {revisions: [step0, step256]}
  step_pattern: step(\\d+)
  keep_hidden_states: false
  device: auto
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A working directory in which everything that GOOD names exists."""
    folder = tmp_path_factory.mktemp("work")
    names = "mine/config.json mine/tokenizer.json steps/step1/config.json steps/step2/config.json corpus.txt bare/x.txt"
    beir = "beir/corpus.jsonl beir/queries.jsonl beir/qrels/test.tsv half/corpus.jsonl wordless/config.json"
    for name in [*names.split(), *beir.split()]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")
    os.truncate(folder / "corpus.txt", 512 * 512)  # as many bytes as GOOD wants characters
    return folder


def good():
    return yaml.safe_load(GOOD)


ABSENT = object()


def change(config, key, value):
    """Set the value at a key such as ``a/b/0``; a place behind a list's end appends, ABSENT removes the key."""
    *above, last = [int(part) if part.isdigit() else part for part in key.split("/")]
    for part in above:
        config = config[part]
    if value is ABSENT:
        del config[last]
    elif isinstance(config, list) and last == len(config):
        config.append(value)
    else:
        config[last] = value


def changed(key, value):
    config = good()
    change(config, key, value)
    return config


FOLDER_NAME = "cannot be a folder's name; "
USE = f"{FOLDER_NAME}begin with a letter or digit, then use letters, digits and . _ + -"
REVISION = f"{FOLDER_NAME}give a branch or tag of letters, digits and . _ + -, or the commit"
NO_SOURCE = "is no source; write a hub id (owner/name), a path that begins with ./ ../ / or ~, or embedded:NAME"
UNUSED = (
    "no study uses this model; add its suite to embedding_scaling.suites or its name to "
    "representation_dynamics.profiles or training, or remove it"
)
SOURCE = "must be a hub id (owner/name), a folder (./folder) or embedded:NAME"
SCALING, DYNAMICS = "embedding_scaling", "representation_dynamics"

# Key to change in GOOD, its value, and the one line that must come of it; BASE stands for the working directory.
BAD = [
    # unknown and absent keys
    ("result_dir", "x", "result_dir: 'x': unknown key; did you mean 'results_dir'?"),
    ("results_dir:out", None, "results_dir:out: null: unknown key; write a space after the colon: results_dir: out"),
    (f"{DYNAMICS}/gpus", {"memory": 40}, f"{DYNAMICS}.gpus.memory: 40: must be a size such as 80GB"),
    ("models/mine/revison", "main", "models.mine.revison: 'main': unknown key; did you mean 'revision'?"),
    ("n_chunks", 64, "n_chunks: 64: unknown key; it belongs to representation_dynamics"),
    ("batch_size", 64, "batch_size: 64: unknown key; it belongs to embedding_scaling.table_geometry or "
     "representation_dynamics"),
    ("models/mine/zzz", 1, "models.mine.zzz: 1: unknown key; use source, suite, tokenizer, revision, "
     "embedding_tensor, weight_files, reference, optional or trust_remote_code"),
    (f"{DYNAMICS}/training/steps/steps", [1], f"{DYNAMICS}.training.steps.steps: [1]: unknown key; use revisions"),
    (f"{SCALING}/collection", ABSENT, f"{SCALING}.collection: not given: add it, such as SCIDOCS"),
    (f"{DYNAMICS}/corpus", ABSENT, f"{DYNAMICS}.corpus: not given: add it, such as enwik8"),
    ("models/mine/source", ABSENT, "models.mine.source: not given: add it, such as EleutherAI/pythia-14m"),
    # types, and how YAML misreads what was meant
    (f"{SCALING}/suites", "Pythia", f"{SCALING}.suites: 'Pythia': must be a list; write [Pythia]"),
    (f"{SCALING}/max_length", "2048", f"{SCALING}.max_length: '2048': must be a whole number; write 2048"),
    (f"{SCALING}/max_length", 2048.0, f"{SCALING}.max_length: 2048.0: must be a whole number; write 2048"),
    (f"{SCALING}/max_length", True, f"{SCALING}.max_length: true: must be a whole number"),
    (f"{SCALING}/max_length", None, f"{SCALING}.max_length: null: has no value; give one, or remove the key"),
    (
        f"{DYNAMICS}/duplicate_tolerance",
        "1e-5",
        f"{DYNAMICS}.duplicate_tolerance: '1e-5': must be a number; write 1.0e-5",
    ),
    (f"{DYNAMICS}/duplicate_tolerance", float("nan"), f"{DYNAMICS}.duplicate_tolerance: nan: must be a number"),
    (
        f"{DYNAMICS}/keep_hidden_states",
        "yes",
        f"{DYNAMICS}.keep_hidden_states: 'yes': must be true or false, without quotes",
    ),
    ("models/mine/revision", 7, "models.mine.revision: 7: must be text; write it in quotes"),
    (
        "models/mine/revision",
        datetime.date(2024, 1, 31),
        "models.mine.revision: datetime.date(2024, 1, 31): must be text; write it in quotes",
    ),
    (
        f"{SCALING}/collection",
        7,
        f"{SCALING}.collection: 7: must be the name of an MTEB retrieval task, embedded, or {{path: folder}}",
    ),
    (f"{DYNAMICS}/corpus", "enwik9", f"{DYNAMICS}.corpus: 'enwik9': must be enwik8, embedded, or {{path: file}}"),
    # values out of bounds
    (f"{DYNAMICS}/n_batches", 1, f"{DYNAMICS}.n_batches: 1: too small; give at least 4"),
    (f"{DYNAMICS}/batch_size", 0, f"{DYNAMICS}.batch_size: 0: too small; give at least 16"),
    (f"{DYNAMICS}/seed", 2**32, f"{DYNAMICS}.seed: 4294967296: too large; give at most 4294967295"),
    (f"{SCALING}/random_seeds", [], f"{SCALING}.random_seeds: []: is empty; give at least one"),
    (f"{SCALING}/random_seeds", [42, 43, 42], f"{SCALING}.random_seeds[2]: 42: given twice, first as [0]; remove one"),
    (f"{SCALING}/random_tokenizer/widths/0", 0, f"{SCALING}.random_tokenizer.widths[0]: 0: too small; give at least 1"),
    (
        f"{SCALING}/table_precision",
        "bfloat",
        f"{SCALING}.table_precision: 'bfloat': unknown; use bfloat16 or float32",
    ),
    (
        f"{SCALING}/random_generator",
        "numpy",
        f"{SCALING}.random_generator: 'numpy': unknown; use legacy_bf16 or torch",
    ),
    (f"{DYNAMICS}/device", "gpu", f"{DYNAMICS}.device: 'gpu': unknown; use auto, cpu or cuda"),
    # variants
    (
        f"{SCALING}/variants/2",
        "cropp_128",
        f"{SCALING}.variants[2]: 'cropp_128': unknown variant; use as_is, random, crop_<k>, pad_<n>, "
        "pad_<n>_matched, centered or all_but_the_top",
    ),
    (f"{SCALING}/variants/2", "crop_0", f"{SCALING}.variants[2]: 'crop_0': crop_<k> needs at least 1 column"),
    (f"{SCALING}/variants/3", "pad_064", f"{SCALING}.variants[3]: 'pad_064': write pad_64"),
    (f"{SCALING}/variants/3", "pad_064_matched", f"{SCALING}.variants[3]: 'pad_064_matched': write pad_64_matched"),
    (f"{SCALING}/variants/3", "pad_0_matched", f"{SCALING}.variants[3]: 'pad_0_matched': pad_<n>_matched needs at "
     "least 1 column"),
    (f"{SCALING}/variants/4", "as_is", f"{SCALING}.variants[4]: 'as_is': given twice, first as [0]; remove one"),
    # names
    ("models/a b", {"source": "x/y", "suite": "Pythia"}, f"models.a b: 'a b': {USE}"),
    ("models/steps/suite", "Ste/ps", "models.steps.suite: 'Ste/ps': cannot be a file's name; use letters, digits, "
     "spaces and . _ + -"),
    ("models/pythia-14m/revision", "refs/pr/1", f"models.pythia-14m.revision: 'refs/pr/1': {REVISION}"),
    ("models/neox-64/revision", "main\n", f"models.neox-64.revision: 'main\\n': {REVISION}"),
    ("models/MINE", {"source": "x/y", "suite": "Pythia"}, "models.MINE: 'MINE': differs from models.mine ('mine') in"
     " case only; rename one"),
    ("models/neox-64/suite", "pythia", "models.neox-64.suite: 'pythia': differs from models.pythia-14m.suite ('Pythia')"
     " in case only; rename one"),
    # what refers to what
    (f"{SCALING}/suites/2", "Pithia", f"{SCALING}.suites[2]: 'Pithia': no model belongs to this suite; did you mean "
     "'Pythia'?"),
    (f"{DYNAMICS}/profiles/2", "neox64", f"{DYNAMICS}.profiles[2]: 'neox64': is not among the models; did you mean "
     "'neox-64'?"),
    (f"{DYNAMICS}/training/qqq", {"revisions": ["step1"]}, f"{DYNAMICS}.training.qqq: 'qqq': is not among the models; "
     "use mine, neox-64, pythia-14m or steps"),
    ("models/other", {"source": "x/y", "suite": "Other"}, f"models.other: suite 'Other': {UNUSED}"),
    (f"{DYNAMICS}/training/steps/revisions", ["step1", "step2", "step1"],
     f"{DYNAMICS}.training.steps.revisions[2]: 'step1': given twice, first as [0]; remove one"),
    (f"{SCALING}/random_tokenizer/vocab_rows", {"EleutherAI/gpt-neox-20B": 9},
     f"{SCALING}.random_tokenizer.vocab_rows.EleutherAI/gpt-neox-20B: 9: no scored model has this tokenizer; did you "
     "mean 'EleutherAI/gpt-neox-20b'?"),
    (f"{SCALING}/collection", "Embedded", f"{SCALING}.collection: 'Embedded': no MTEB task; write embedded, in lower "
     "case"),
    (f"{SCALING}/random_tokenizer/tokenizers", ["./beir"], f"{SCALING}.random_tokenizer.tokenizers[0]: './beir': holds "
     "no tokenizer files, such as tokenizer.json"),
    (f"{SCALING}/random_tokenizer/tokenizers", ["embedded:gpt"], f"{SCALING}.random_tokenizer.tokenizers[0]: "
     "'embedded:gpt': no such embedded tokenizer; use embedded:bert or embedded:gpt_neox"),
    # tables over training
    (f"{SCALING}/training/qqq", {"revisions": ["step1"]}, f"{SCALING}.training.qqq: 'qqq': is not among the models; "
     "use mine, neox-64, pythia-14m or steps"),
    (f"{SCALING}/training/steps", {"revisions": ["step1"]}, f"{SCALING}.training.steps: 'steps': its suite is not "
     f"scored; add it to {SCALING}.suites"),
    (f"{SCALING}/variants", ["random"], f"{SCALING}.training.pythia-14m: 'pythia-14m': its checkpoints are scored as "
     f"they are; add as_is to {SCALING}.variants"),
    (f"{SCALING}/training/pythia-14m/revisions/1", "late", f"{SCALING}.training.pythia-14m.revisions[1]: 'late': "
     rf"{SCALING}.step_pattern 'step(\d+)' finds no training step in it; name a revision that holds its step, or set "
     "step_pattern"),
    (f"{SCALING}/table_geometry/batch_size", 8, f"{SCALING}.table_geometry.batch_size: 8: too small; give at least 16"),
    # training steps
    (f"{DYNAMICS}/step_pattern", "step(", f"{DYNAMICS}.step_pattern: 'step(': is no regular expression (missing ), "
     "unterminated subpattern at position 4)"),
    (f"{DYNAMICS}/step_pattern", "step", f"{DYNAMICS}.step_pattern: 'step': has no group; put the digits into "
     r"parentheses, as in step(\d+)"),
    (f"{DYNAMICS}/training/neox-64/revisions/1", "main", f"{DYNAMICS}.training.neox-64.revisions[1]: 'main': "
     rf"{DYNAMICS}.step_pattern 'step(\d+)' finds no training step in it; name a revision that holds its step, or set "
     "step_pattern"),
    (f"{DYNAMICS}/training/pythia-14m", {"revisions": ["step1-old"]}, f"{DYNAMICS}.training.pythia-14m.revisions[0]: "
     rf"'step1-old': {DYNAMICS}.step_pattern 'step(\d+)' finds no training step in it; name a revision that holds its "
     "step, or set step_pattern"),
    # sources
    ("models/mine/source", "my model", f"models.mine.source: 'my model': {NO_SOURCE}"),
    ("models/mine/source", "", f"models.mine.source: '': {SOURCE}"),
    ("models/mine/source", "./nowhere", "models.mine.source: './nowhere': no such file or folder (BASE/nowhere); "
     "relative paths start at the working directory"),
    ("models/steps/source", "./corpus.txt", "models.steps.source: './corpus.txt': is one file, without config.json; "
     "for representation_dynamics name a folder that holds both"),
    ("models/pythia-14m/optional", True, "models.pythia-14m.optional: true: is for paths, and EleutherAI/pythia-14m is "
     "none; remove the key"),
    ("models/mine/source", "./bare", "models.mine.source: './bare': holds no config.json, nor does a folder in it; "
     "name the folder that a model was saved to"),
    ("models/mine/source", "./wordless", "models.mine.source: './wordless': holds no tokenizer; add tokenizer.json, or "
     "set models.mine.tokenizer"),
    ("models/mine/revision", "step1", "models.mine.revision: 'step1': ./mine has no revision 'step1'; the folder "
     "itself is the one revision, 'main'"),
    (f"{DYNAMICS}/profiles/2", "steps", "models.steps.revision: 'main': ./steps has no revision 'main'; nearest of 2: "
     "step2, step1"),
    (f"{DYNAMICS}/training/steps/revisions/1", "step3", f"{DYNAMICS}.training.steps.revisions[1]: 'step3': ./steps has "
     "no revision 'step3'; nearest of 2: step2, step1"),
    ("models/neox-64/source", "embedded:neox-65", "models.neox-64.source: 'embedded:neox-65': no such embedded "
     "model; did you mean 'embedded:neox-64'?"),
    ("models/mine/tokenizer", "embedded:gpt2", "models.mine.tokenizer: 'embedded:gpt2': no such embedded "
     "tokenizer; use embedded:bert or embedded:gpt_neox"),
    ("models/mine/tokenizer", "./nowhere", "models.mine.tokenizer: './nowhere': no such folder (BASE/nowhere)"),
    ("models/mine/tokenizer", "./bare", "models.mine.tokenizer: './bare': holds no tokenizer files, such as "
     "tokenizer.json"),
    # files
    ("results_dir", "corpus.txt", "results_dir: 'corpus.txt': is a file; name a folder"),
    *[("results_dir", path, f"results_dir: {path!r}: is or holds {what}; name a folder for results alone, such as "
       "results") for path, what in ((".", "the working directory"), ("..", "the working directory"),
                                     ("~", "your home folder"))],
    *[(key, "$SCRATCH/mine", f"{key}: '$SCRATCH/mine': variables are not expanded; write the path in full")
      for key in ("results_dir", "cache_dir")],
    ("results_dir", "{model}", "results_dir: '{model}': must be the path of a folder, without braces or control "
     "characters"),
    (f"{SCALING}/collection/path", "./nowhere", f"{SCALING}.collection.path: './nowhere': no such folder "
     "(BASE/nowhere)"),
    (f"{SCALING}/collection/path", "corpus.txt", f"{SCALING}.collection.path: 'corpus.txt': is a file; name the "
     "folder"),
    (f"{SCALING}/collection/path", "./half", f"{SCALING}.collection.path: './half': holds no queries.jsonl or "
     "qrels/test.tsv; a collection has corpus.jsonl, queries.jsonl, qrels/test.tsv"),
    (f"{DYNAMICS}/corpus/path", "nowhere", f"{DYNAMICS}.corpus.path: 'nowhere': no such file (BASE/nowhere)"),
    (f"{DYNAMICS}/corpus/path", "./beir", f"{DYNAMICS}.corpus.path: './beir': is a folder; name one file"),
    # sizes that cannot be met
    (f"{DYNAMICS}/n_chunks", 7, f"{DYNAMICS}.n_chunks: 7: fewer than n_batches (8); raise it"),
    (f"{DYNAMICS}/batch_size", 16385, f"{DYNAMICS}.batch_size: 16385: n_chunks / n_batches = 64 chunks of 512 "
     "characters hold about 8192 tokens; lower it to 8192 or less, or raise n_chunks"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "line"), BAD, ids=[f"{key}={value!r:.20}" for key, value, _ in BAD])
def test_a_bad_value_is_one_line_with_its_key_value_and_fix(base, key, value, line):
    assert find_errors(changed(key, value), base=base) == [line.replace("BASE", str(base))]


def test_a_good_config_has_no_errors(base):
    assert find_errors(good(), base=base) == []


@pytest.mark.parametrize("study", [SCALING, DYNAMICS])
def test_a_study_may_be_left_out_if_its_models_are_too(base, study):
    config = changed(study, ABSENT)
    used = {SCALING: ["mine", "steps", "neox-64", "pythia-14m"], DYNAMICS: ["mine", "pythia-14m"]}[study]
    config["models"] = {name: config["models"][name] for name in used}
    assert find_errors(config, base=base) == []


def test_without_a_study_there_is_nothing_to_run(base):
    config = {"models": {"mine": {"source": "./mine", "suite": "Mine"}}}
    assert find_errors(config, base=base) == [
        "embedding_scaling: not given, nor representation_dynamics: add at least one of the two studies"
    ]


def test_a_dynamics_study_of_no_model_is_refused(base):
    config = good()
    config["models"] = {name: config["models"][name] for name in ("pythia-14m", "mine")}
    del config[DYNAMICS]["training"]
    config[DYNAMICS]["profiles"] = []
    assert find_errors(config, base=base) == [
        "representation_dynamics.profiles: []: is empty, and so is training; name at least one model"
    ]


@pytest.mark.parametrize("models", [{}, None, [], "x", ABSENT])
def test_without_models_the_models_are_what_is_missed(base, models):
    lines = find_errors(changed("models", models), base=base)
    assert any(line.startswith("models: ") for line in lines)


def test_a_key_that_yaml_reads_as_a_number_or_truth_value_is_named(base):
    config = good()
    config["models"].update({7: {"source": "x"}, False: {}})
    config["models"]["mine"]["revison"] = "main"
    assert find_errors(config, base=base) == [
        "models: 7: a key must be text; write it in quotes",
        "models: false: a key must be text; write it in quotes",
        "models.mine.revison: 'main': unknown key; did you mean 'revision'?",
    ]


def test_a_model_that_is_only_followed_over_training_needs_no_revision_of_its_own_unless_for_its_tokenizer(base):
    config = good()
    del config["models"]["steps"]["tokenizer"]
    assert find_errors(config, base=base) == [
        "models.steps.revision: 'main': ./steps has no revision 'main'; nearest of 2: step2, step1"
    ]


def test_a_folder_without_tokenizer_will_do_if_one_is_named(base):
    config = good()
    config["models"]["mine"] |= {"source": "./wordless", "tokenizer": "./mine"}
    assert find_errors(config, base=base) == []


def test_the_working_directory_itself_has_no_name_to_call_a_collection_by(base):
    lines = find_errors(changed(f"{SCALING}/collection/path", "."), base=base / "beir")
    assert f"{SCALING}.collection.path: '.': has no name to call the collection by; write the folder's name" in lines


def test_revisions_that_differ_in_case_only_would_share_a_folder(base):
    config = changed(f"{DYNAMICS}/step_pattern", r"(?i:step)(\d+)")
    config[DYNAMICS]["training"]["pythia-14m"] = {"revisions": ["step1", "Step1"]}
    assert find_errors(config, base=base) == [
        "representation_dynamics.training.pythia-14m.revisions[1]: 'Step1': differs from "
        "representation_dynamics.training.pythia-14m.revisions[0] ('step1') in case only; rename one"
    ]


def test_several_absent_keys_are_said_once_each(base):
    assert find_errors(changed("models/new", {}), base=base) == [
        "models.new.source: not given: add it, such as EleutherAI/pythia-14m",
        "models.new.suite: not given: add it, such as Pythia",
    ]


def test_all_errors_are_reported_at_once(base):
    # Changes that do not touch one another, so that their lines must simply add up.
    changes = [
        ("result_dir", "x"),
        ("models/neox-64/source", "embedded:neox-65"),
        ("models/mine/revision", "step1"),
        (f"{SCALING}/variants/2", "cropp_128"),
        (f"{SCALING}/variants/4", "as_is"),
        (f"{SCALING}/max_length", "2048"),
        (f"{SCALING}/collection/path", "./nowhere"),
        (f"{DYNAMICS}/n_batches", 1),
        (f"{DYNAMICS}/profiles/2", "neox64"),
        (f"{DYNAMICS}/duplicate_tolerance", "1e-5"),
    ]
    config, expected = good(), []
    for key, value in changes:
        expected += find_errors(changed(key, value), base=base)
        change(config, key, value)
    with pytest.raises(ConfigError) as caught:
        check_config(config, base=base)
    assert len(expected) == len(changes)
    assert sorted(caught.value.lines) == sorted(expected)
    assert str(caught.value) == "\n".join(caught.value.lines)


JUNK = [
    None, True, -1, float("nan"), "", "a\nb", "crop_" + "9" * 5000, "./" + "x" * 300, "~nobody-at-all/x",
    [], {}, [None, []], {"a": {"b": 1}}, {1: 2},
]  # fmt: skip


def _keys(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _keys(item, (*path, key))


@pytest.mark.parametrize("key", list(_keys(good()))[1:], ids=lambda key: ".".join(map(str, key)))
def test_no_junk_breaks_the_check_and_every_error_is_one_line(base, key):
    for junk in JUNK:
        config = good()
        holder = config
        for part in key[:-1]:
            holder = holder[part]
        holder[key[-1]] = copy.deepcopy(junk)
        for line in find_errors(config, base=base):
            assert re.fullmatch(r"[a-z_]+\S*: .+: .+", line), line


@pytest.mark.parametrize("junk", JUNK)
def test_a_config_that_is_junk_is_refused(base, junk):
    assert find_errors(junk, base=base)


# -- reading -------------------------------------------------------------------------------------------------------


def written(folder, text):
    path = folder / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "PATH:3:2: 'c: 3': is not YAML: expected ',' or ']', but got ':' (while parsing a "
         "flow sequence that begins in line 2)"),
        ("a: 1\n b: 2\n", "PATH:2:3: 'b: 2': is not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 2\n", "PATH:2:1: 'b: 2': is not YAML: found character '\\t' that cannot start any token; "
         "indent with spaces, not tabs"),
        ('a: "x\n', "PATH:2:1: 'end of file': is not YAML: found unexpected end of stream (while scanning a quoted "
         "scalar that begins in line 1)"),
        ("a: 1\n---\nb: 2\n", "PATH:2:1: '---': is not YAML: but found another document (expected a single document in "
         "the stream that begins in line 1)"),
        ("a: *b\n", "PATH:1:4: 'a: *b': is not YAML: found undefined alias 'b'"),
        ("a:\n  - !!int x\n", "PATH:2:5: '- !!int x': is not YAML: found a value that is no int; write text in quotes"),
        ("a: !!python/object:os.system x\n", "PATH:1:4: 'a: !!python/object:os.system x': is not YAML: could not "
         "determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: 1\nb: \x01\n", "PATH:2:4: '\\x01': YAML allows no such character; remove it"),
        (b"a: 1\nb: \xff\n", "PATH:2: byte 0xff: is not UTF-8; save the file as UTF-8"),
        ("", "PATH: empty: give models and at least one study"),
        ("# nothing\n", "PATH: empty: give models and at least one study"),
        ("[1]", "PATH: [1]: must be keys with values, such as 'models:'"),
    ],
)  # fmt: skip
def test_yaml_that_does_not_parse_names_file_line_and_column(tmp_path, text, line):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.lines == [line.replace("PATH", str(path))]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match=re.escape(f"{path}: ")):
            read_config(path)


def test_every_key_given_twice_is_reported_with_both_lines(tmp_path):
    text = "models:\n  a: {suite: x, suite: y}\n  b: 1\n  a: 2\nresults_dir: r\nb: [{c: 1, c: 2}]\nmodels: {}\n"
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    assert sorted(caught.value.lines) == [
        "b[0].c: given twice, in lines 6 and 6 of my.yaml: remove one",
        "models.a.suite: given twice, in lines 2 and 2 of my.yaml: remove one",
        "models.a: given twice, in lines 2 and 4 of my.yaml: remove one",
        "models: given twice, in lines 1 and 7 of my.yaml: remove one",
    ]


def test_aliases_and_merges_read_as_a_user_means_them(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n"
    assert read_config(written(tmp_path, text)) == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2},
    }  # fmt: skip


def test_an_alias_inside_its_own_anchor_ends(tmp_path):
    for text in ("models: &m {x: *m}", "q: &m {x: *m}", "models: {x: &m [*m]}"):
        config = read_config(written(tmp_path, text))
        assert find_errors(config, base=tmp_path)


def test_loading_reports_repeated_keys_beside_all_other_errors(base):
    path = written(base, GOOD.replace("\n  seed: 0", "\n  seed: 0\n  seed: -1"))
    with pytest.raises(ConfigError) as caught:
        load_config(path, base=base)
    assert caught.value.lines == [
        "representation_dynamics.seed: given twice, in lines 28 and 29 of my.yaml: remove one",
        "representation_dynamics.seed: -1: too small; give at least 0",
    ]
    assert load_config(written(base, GOOD), base=base) == with_defaults(good())


# -- defaults, schema, page, configs -------------------------------------------------------------------------------


def test_defaults_are_filled_in_without_touching_the_config():
    config = {
        "models": {"a": {"source": "x/y", "suite": "S"}},
        SCALING: {"suites": ["S"], "collection": {"path": "./c/"}, "random_tokenizer": {}},
    }
    before = copy.deepcopy(config)
    filled = with_defaults(config)
    assert config == before
    assert filled["results_dir"] == "results"
    entry = {"source": "x/y", "suite": "S", "revision": "main", "optional": False, "trust_remote_code": False}
    assert filled["models"]["a"] == entry
    assert filled[SCALING]["variants"] == ["as_is", "random", "crop_128", "pad_14336"]
    assert filled[SCALING]["collection"] == {"path": "c", "lowercase": False}
    assert filled[SCALING]["random_tokenizer"]["seeds"] == [42, 43, 6573, 7776]
    assert DYNAMICS not in filled
    filled[SCALING]["variants"].append("crop_1")
    assert with_defaults(config)[SCALING]["variants"] == ["as_is", "random", "crop_128", "pad_14336"]


def test_given_values_win_over_defaults_and_filling_twice_changes_nothing(base):
    filled = with_defaults(good())
    assert filled["results_dir"] == "out"
    assert filled[SCALING]["random_tokenizer"] == {**good()[SCALING]["random_tokenizer"], "tokenizers": []}
    assert with_defaults(filled) == filled
    assert find_errors(filled, base=base) == []


def test_the_home_folder_is_put_into_paths_that_become_snakemakes(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = changed("results_dir", "~/out/")
    config[SCALING]["collection"]["path"] = "~/beir"
    config[DYNAMICS]["corpus"]["path"] = "./corpus.txt"
    config["models"]["mine"]["source"] = "~/mine"
    filled = with_defaults(config)
    assert filled["results_dir"] == f"{tmp_path}/out"
    assert filled[SCALING]["collection"]["path"] == f"{tmp_path}/beir"
    assert filled[DYNAMICS]["corpus"]["path"] == "corpus.txt"
    # A source is a label in the tables too, where nobody's home belongs.
    assert filled["models"]["mine"]["source"] == "~/mine"


def _schemas(schema, path="config"):
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from _schemas(below, f"{path}.{name}")
    for word in ("additionalProperties", "items"):
        if isinstance(schema.get(word), dict):
            yield from _schemas(schema[word], f"{path}.<{word}>")


SCHEMAS = dict(_schemas(load_schema()))
ANNOTATIONS = {
    "$schema", "title", "description", "default", "examples", "properties", "items", "propertyNames",
    "x-fix", "x-path", "x-placeholder", "x-default-text", "x-expand",
}  # fmt: skip
REFUSING = {
    "type", "pattern", "enum", "required", "additionalProperties", "uniqueItems", "minItems", "minProperties",
    "minimum", "maximum", "maxLength",
}  # fmt: skip


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(load_schema())


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_key_is_described_closed_and_worded(path):
    schema = SCHEMAS[path]
    assert set(schema) <= ANNOTATIONS | REFUSING, "a word without a line of its own in wording.py"
    if not path.endswith("<items>"):
        assert schema["description"].rstrip().endswith(".")
    if "object" in schema.get("type", ()):
        assert schema.get("additionalProperties") is False or "x-placeholder" in schema
    assert "pattern" not in schema or "x-fix" in schema
    for value in [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]:
        jsonschema.Draft202012Validator(schema).validate(value)


def test_the_page_of_keys_agrees_with_the_schema():
    page = (PROJECT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == render(), f"docs/config.md is out of date; run: {COMMAND}"


def test_the_page_names_every_key():
    page = render()
    for path in SCHEMAS:
        key = path.removeprefix("config.").replace("models.<additionalProperties>", "models.NAME")
        if "<" not in key and key != "config":
            assert f" `{key}`\n" in page


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_that_come_with_the_project_are_valid(path):
    load_config(path, base=PROJECT)


def test_the_embedded_default_needs_no_network_and_follows_a_model_over_its_whole_training():
    config = load_config(PROJECT / "config.yaml", base=PROJECT)
    assert all(model["source"].startswith("embedded:") for model in config["models"].values())
    assert config[SCALING]["collection"] == config[DYNAMICS]["corpus"] == "embedded"
    for model, entry in config[DYNAMICS]["training"].items():
        recipe = RECIPES[config["models"][model]["source"].removeprefix("embedded:")]
        assert [*entry["revisions"], "main"] == recipe.revisions


def test_an_optional_model_may_be_absent_and_is_checked_where_it_is_there(base):
    absent = changed("models/175b", {"source": "./absent.pt", "suite": "Mine", "tokenizer": "./mine", "optional": True})
    assert find_errors(absent, base=base) == []
    there = copy.deepcopy(absent)
    there["models"]["175b"]["source"] = "./bare"
    assert [line.split(":")[0] for line in find_errors(there, base=base)] == ["models.175b.source"]


def test_one_file_of_weights_is_a_source_of_the_embedding_study(base):
    entry = {"source": "./corpus.txt", "suite": "Mine", "tokenizer": "./mine"}
    assert find_errors(changed("models/one", entry), base=base) == []
    assert find_errors(changed("models/one", {**entry, "revision": "step1"}), base=base) == [
        "models.one.revision: 'step1': ./corpus.txt is one file, whose only revision is main"
    ]
    del entry["tokenizer"]
    assert find_errors(changed("models/one", entry), base=base) == [
        "models.one.source: './corpus.txt': is one file, without a tokenizer; set models.one.tokenizer"
    ]


def test_a_folder_without_its_dot_is_offered(base):
    (base / "my-model").mkdir()
    found = find_errors(changed("models/mine/source", "my-model"), base=base)
    assert found[0] == (
        "models.mine.source: 'my-model': is read as a hub id, but there is a folder of that name; for the folder write "
        "./my-model"
    )


def _followed(revisions):
    training = {"neox-64": {"revisions": revisions}}
    dynamics = {"corpus": "embedded", "n_chunks": 64, "batch_size": 64, "training": training}
    models = {"neox-64": {"source": "embedded:neox-64", "suite": "Embedded"}}
    return {"models": models, "representation_dynamics": dynamics}


def test_revisions_in_braces_are_expanded_once_each(tmp_path):
    config = _followed(["step{0,1,4}", "step4", "step{64..128..64}"])
    assert find_errors(config, base=tmp_path) == []
    found = with_defaults(config)["representation_dynamics"]["training"]["neox-64"]["revisions"]
    assert found == ["step0", "step1", "step4", "step64", "step128"]


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("step{5..1}", "count upwards"),
        ("step{0,,1}", "neither a list"),
        ("step{0,3}", "embedded:neox-64 has no such revision"),
    ],
)
def test_braces_that_lead_nowhere_are_a_line(tmp_path, revision, words):
    lines = find_errors(_followed([revision]), base=tmp_path)
    assert len(lines) == 1
    assert words in lines[0]


def test_braces_lead_out_of_no_folder(tmp_path):
    lines = find_errors(_followed(["step{0,/../../x}"]), base=tmp_path)
    assert any("cannot be a folder's name" in line for line in lines)


def test_chunks_counted_in_tokens_name_a_model_of_the_config(tmp_path):
    config = _followed(["step0"])
    config["representation_dynamics"]["chunk_tokens"] = {"length": 128, "tokenizer": "neox-46"}
    (line,) = find_errors(config, base=tmp_path)
    assert "is not among the models" in line
    assert "neox-64" in line


def test_a_model_may_be_there_for_its_tokenizer_alone(tmp_path):
    config = _followed(["step0"])
    config["models"]["bert"] = {"source": "embedded:bert-64", "suite": "Other"}
    assert "no study uses this model" in find_errors(config, base=tmp_path)[0]
    config["representation_dynamics"]["chunk_tokens"] = {"length": 128, "tokenizer": "bert"}
    assert find_errors(config, base=tmp_path) == []


@pytest.mark.parametrize(
    ("pattern", "revisions", "n_errors"),
    [
        (r"step(\d+)", ["step1", "step01", "step001"], 2),
        (r"\w+-step(\d+)", ["a-step1", "b-step1"], 1),
        (r"step(\d+)", ["step1", "step10", "step100"], 0),
        (r"step(\d+)", ["step0", "step{0,1}"], 0),
        (r"step(\d+)?", ["step", "step1"], 1),  # of no step, which is the one error
        ("step", ["step1", "step2"], 1),  # of no group
    ],
)
def test_a_step_has_one_revision(tmp_path, pattern, revisions, n_errors):
    config = _followed(revisions)
    config["models"]["neox-64"]["source"] = "owner/name"
    config["representation_dynamics"]["step_pattern"] = pattern
    assert len(find_errors(config, base=tmp_path)) == n_errors


def test_a_corpus_is_as_long_as_its_bytes_only_where_it_is_not_packed(base):
    assert find_errors(changed(f"{DYNAMICS}/n_chunks", 513), base=base) == [
        f"{DYNAMICS}.corpus.path: './corpus.txt': holds 262,144 bytes, and n_chunks x chunk_characters = 513 x 512 = "
        "262,656 characters are asked for; give more text, or lower either"
    ]
    (base / "corpus.xz").write_bytes(lzma.compress(b"An ant walks."))
    assert find_errors(changed(f"{DYNAMICS}/corpus/path", "corpus.xz"), base=base) == []


def test_chunks_counted_in_tokens_must_fill_the_batches(tmp_path):
    config = _followed(["step0"])
    config["representation_dynamics"] |= {
        "chunk_tokens": {"length": 100, "tokenizer": "neox-64"},
        "n_chunks": 8,
        "n_batches": 8,
        "batch_size": 201,
    }
    (line,) = find_errors(config, base=tmp_path)
    assert "1 chunks of 100 tokens hold about 100 tokens; lower it to 100 or less" in line
    config["representation_dynamics"]["batch_size"] = 200
    assert find_errors(config, base=tmp_path) == []
