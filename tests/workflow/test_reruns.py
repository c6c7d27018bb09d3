"""A finished run: what of it runs again after which change, and what it left behind."""

import csv
import json
import re
import shutil
from collections import defaultdict
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from checkout import Checkout, new_checkout
from result_files import digests
from tiny_graph import JOBS, READ_BY, below, jobs_from

from lm_geometry import provenance
from lm_geometry.code_digest import PLUMBING, modules_behind, rule_digest
from lm_geometry.provenance.finding import find

pytestmark = pytest.mark.workflow

FIGURES = [rule for rule in JOBS if rule.startswith("plot_")]
SCORING = ["score_variants", "score_random_columns", "score_random_tokenizer"]
CLAIMS = ["judge_scaling_claims", "judge_dynamics_claims"]

# The rules whose own code an edited file is; what reads their results runs again too.
EDITED = {
    "scripts/extract_prose.py": ["extract_prose"],
    "scripts/fetch_tokenizer.py": ["fetch_tokenizer"],
    "scripts/pool_collection.py": ["pool_collection"],
    "scripts/write_summary.py": ["write_summary"],
    "lm_geometry/tables/geometry.py": ["collect_geometry"],
    "lm_geometry/wording.py": ["compare_published", "judge_dynamics_claims", *FIGURES],
    # Intervals are estimated where the values are: they stand in the same row.
    "lm_geometry/statistics/intervals.py": ["collect_geometry", "measure_embedding_table", *SCORING],
    "lm_geometry/statistics/paired.py": [
        "compare_scores", "compare_geometry", "collect_embedding_training", *CLAIMS,
    ],
    "lm_geometry/geometry/moments.py": ["measure_geometry"],
    "lm_geometry/embeddings/variants.py": [*SCORING, "plot_embedding_geometry"],
    "lm_geometry/retrieval/scoring.py": SCORING,
    "lm_geometry/retrieval/pooling.py": ["pool_collection", "score_random_tokenizer"],
    "lm_geometry/corpus/wikitext.py": ["clean_enwik8"],
    "lm_geometry/demo/recipes.py": ["train_model"],
    "lm_geometry/checkpoints/tensors/torch_pickle.py": ["extract_embedding_table"],
    "lm_geometry/hidden_states/layer_model.py": ["fetch_checkpoint"],
    "lm_geometry/published.py": [
        "compare_published", "judge_scaling_claims", "plot_suite_scaling", "plot_all_suites", "plot_random_baselines",
    ],
    "lm_geometry/claims/verdict.py": CLAIMS,
    "lm_geometry/figures/style.py": FIGURES,
    "lm_geometry/figures/dynamics/profiles.py": ["plot_profiles"],
    "lm_geometry/summary/markup.py": ["write_summary"],
}  # fmt: skip

# Data that comes with the project, and the rules that are made to run by a change of it.
REFERENCES = {
    "models.csv": ["compare_published", "judge_scaling_claims", "plot_suite_scaling", "plot_all_suites"],
    "published_embedding_scaling.csv": [
        "compare_published", "judge_scaling_claims", "plot_suite_scaling", "plot_all_suites",
    ],
    "published_random_baseline.csv": ["compare_published"],
    # What is drawn over layers and over training comes from tables that name the copies.
    "known_checkpoint_defects.csv": ["find_duplicate_checkpoints"],
}  # fmt: skip

# What is replaced in the config, and what runs then.
NEW_MODEL = 'models:\n  more: {source: "embedded:tiny-neox-16", suite: Tiny, revision: step2}\n'
ONE_TABLE = dict.fromkeys(
    ["resolve_model", "extract_embedding_table", "measure_embedding_table", "pool_collection", "score_variants"], 1
)
ONE_CHECKPOINT = dict.fromkeys(["resolve_model", "fetch_checkpoint", "dump_hidden_states", "measure_geometry"], 1)
NO_FORWARD_PASS = dict.fromkeys(["fetch_checkpoint", "dump_hidden_states", "measure_geometry"], 0)
SETTINGS = {
    "seed of the chunks and batches": ("seed: 0", "seed: 1", jobs_from("sample_chunks")),
    "seed of random columns": ("random_seeds: [42]", "random_seeds: [43]", jobs_from("score_random_columns")),
    "seed of random tables": ("seeds: [43]", "seeds: [44]", jobs_from("score_random_tokenizer")),
    "seed of the batches of tables": ("n_batches: 4}", "n_batches: 4, seed: 1}", jobs_from("measure_embedding_table")),
    "batches of tables": ("batch_size: 64", "batch_size: 32", jobs_from("measure_embedding_table")),
    "length of the chunks": ("chunk_characters: 256", "chunk_characters: 128", jobs_from("sample_chunks")),
    "dtype": ("seed: 0", "seed: 0\n  dtype: bfloat16", jobs_from("dump_hidden_states")),
    # Sums are rounded otherwise in other batches and on another device.
    "tokens at a time": ("seed: 0", "seed: 0\n  batch_tokens: 512", jobs_from("dump_hidden_states")),
    "device": ("seed: 0", "seed: 0\n  device: cpu", jobs_from("dump_hidden_states")),
    "tolerance of duplicates": ("seed: 0", "seed: 0\n  duplicate_tolerance: 0.001", jobs_from("measure_geometry")),
    "states streamed": (
        "keep_hidden_states: true",
        "hidden_states: stream",
        {"stream_geometry": JOBS["measure_geometry"], **jobs_from("collect_geometry")},
    ),
    "treatment of copies": (
        "models:", "on_duplicate_checkpoint: drop\nmodels:", jobs_from("find_duplicate_checkpoints")
    ),
    "verification": ("models:", "verify: full\nmodels:", jobs_from("extract_embedding_table")),
    "longest text": ("variants:", "max_length: 512\n  variants:", jobs_from("tokenize_collection")),
    "precision of tables": (
        "variants:", "table_precision: float32\n  variants:",
        jobs_from("pool_collection", "find_principal_components", "measure_embedding_table",
                  "compare_embedding_tables", "score_random_tokenizer"),
    ),
    "one more variant": ("pad_32,", "pad_32, crop_4,", jobs_from("score_variants", score_variants=1)),
    "one more random variant": ("pad_32,", "pad_32, pad_32_matched,", jobs_from("score_random_columns")),
    # All models of a tokenizer are scored in one job beside random columns, which they share. What is told of copies is
    # compared over all listings, and tables over training name the copies.
    "one more model": (
        "models:\n", NEW_MODEL,
        jobs_from("resolve_model", **ONE_TABLE, **NO_FORWARD_PASS, find_principal_components=1,
                  compare_embedding_tables=0),
    ),
    "one more checkpoint of the dynamics": (
        "revisions: [step0, step8]}}\n  keep", "revisions: [step0, step2, step8]}}\n  keep",
        jobs_from("find_duplicate_checkpoints", **ONE_CHECKPOINT),
    ),
    # Its table is no longer the final one: it is scored as it is only.
    "another revision of a model": (
        "revision: step8", "revision: main",
        jobs_from("resolve_model", **{**ONE_TABLE, **ONE_CHECKPOINT, "score_variants": 2}),
    ),
}  # fmt: skip


# Each dry run takes three seconds: every change makes one for each kind of edit, `make test-all` the others too.
OTHERS = {
    "scripts/fetch_tokenizer.py",
    "scripts/pool_collection.py",
    "lm_geometry/tables/geometry.py",
    "lm_geometry/statistics/intervals.py",
    "lm_geometry/embeddings/variants.py",
    "lm_geometry/retrieval/pooling.py",
    "lm_geometry/hidden_states/layer_model.py",
    "lm_geometry/figures/dynamics/profiles.py",
    "lm_geometry/summary/markup.py",
    "models.csv",
    "published_embedding_scaling.csv",
    "seed of random tables",
    "seed of the batches of tables",
    "length of the chunks",
    "tokens at a time",
    "device",
    "tolerance of duplicates",
    "verification",
    "longest text",
    "precision of tables",
    "one more random variant",
}


def cases(table):
    """Return the names of a table's cases, those that can wait marked as slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in OTHERS else name for name in table]


def test_the_graph_is_the_one_written_by_hand(finished):
    """What is expected to run again is told by that one."""
    graph = finished.run("--rulegraph", "--forceall")
    rules = dict(re.findall(r'(\d+)\[label = "(\w+)', graph))
    edges = {(rules[above], rules[under]) for above, under in re.findall(r"(\d+) -> (\d+)", graph)}
    assert edges == {(above, under) for above, read_by in READ_BY.items() for under in read_by.split()}


def test_second_run_has_nothing_to_do(finished):
    assert finished.rules_to_run() == {}


def test_fresh_checkout_in_another_folder_reruns_nothing(checkout, tmp_path):
    """A clone gives every file a new time, and so does a copy of the results."""
    clone = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(checkout.folder, clone, copy_function=shutil.copy)
    shutil.rmtree(checkout.folder)
    assert Checkout(clone).rules_to_run() == {}


def test_touching_every_source_file_reruns_nothing(checkout):
    for path in checkout.folder.rglob("*"):
        if path.relative_to(checkout.folder).parts[0] not in ("results", ".snakemake"):
            path.touch()
    assert checkout.rules_to_run() == {}


def test_new_words_and_layout_in_every_module_rerun_nothing(checkout):
    for path in checkout.folder.glob("lm_geometry/**/*.py"):
        words = f'"""Said better."""\n{path.read_text()}'.replace("\n\n", "\n\n\n")
        path.write_text(f'{words}\n"""Said below."""\n# and here\n')
    assert checkout.rules_to_run() == {}


def test_what_changes_no_result_reruns_nothing(checkout, tmp_path):
    for name in PLUMBING:
        checkout.append(str(module_file(checkout.folder, name)))
    for name in ("configuration/view", "plan/resources", "code_digest", "models_page"):
        checkout.append(f"lm_geometry/{name}.py")
    for name in ("README.md", "requirements.txt", "docs/methods.md", "tests/test_it.py", "benchmarks/it.py"):
        (checkout.folder / name).parent.mkdir(exist_ok=True)
        (checkout.folder / name).write_text("edited = True\n")
    for name in ("envs/analysis.yaml", "envs/models.yaml", "schemas/config.schema.yaml", "reference/README.md"):
        checkout.append(name, "# edited")
    for path in (checkout.folder / "rules/captions").iterdir():
        path.write_text("Another caption.\n")
    checkout.edit("rules/dynamics.smk", '"Dumping the hidden states', '"Computing the hidden states')
    checkout.edit("rules/judgement.smk", "runtime=plan.minutes(20)", "runtime=plan.minutes(40)")
    checkout.append("profiles/default/config.yaml", "restart-times: 2")
    checkout.edit("tiny.yaml", "seed: 0", "seed: 0 # as before\n  threads: 2")
    checkout.append("tiny.yaml", "keep_checkpoints: false\ncache_dir: ./another_cache")
    # An upgrade: what was made with other versions says so, and stays.
    for library in ("numpy", "torch"):
        (tmp_path / f"libraries/{library}-99.0.dist-info").mkdir(parents=True)
        (tmp_path / f"libraries/{library}-99.0.dist-info/METADATA").write_text(f"Name: {library}\nVersion: 99.0\n")
    assert checkout.rules_to_run(PYTHONPATH=str(tmp_path / "libraries")) == {}


def module_file(root, name):
    """Return the file of a module, relative to the project's folder."""
    base = Path(*name.split("."))
    return base / "__init__.py" if (root / base).is_dir() else base.with_suffix(".py")


@pytest.mark.parametrize("path", cases(EDITED))
def test_edited_code_reruns_its_rules_and_what_is_below(checkout, path):
    checkout.append(path)
    assert checkout.rules_to_run() == jobs_from(*EDITED[path])


@pytest.mark.parametrize("name", cases(REFERENCES))
def test_edited_reference_data_reruns_what_reads_it_and_what_is_below(checkout, name):
    checkout.append(f"reference/{name}", "")
    assert checkout.rules_to_run() == jobs_from(*REFERENCES[name])


@pytest.mark.parametrize("setting", cases(SETTINGS))
def test_changed_setting_reruns_what_it_shapes_and_what_is_below(checkout, setting):
    old, new, expected = SETTINGS[setting]
    checkout.edit("tiny.yaml", old, new)
    assert checkout.rules_to_run() == expected


def test_edited_parameter_of_a_rule_reruns_it(checkout):
    checkout.edit("rules/figures.smk", "title=study.title", 'title="Another title"')
    assert checkout.rules_to_run() == jobs_from("write_summary")


def test_dumps_that_are_not_kept_are_made_again_only_to_be_measured(checkout):
    checkout.edit("tiny.yaml", "keep_hidden_states: true", "keep_hidden_states: false")
    shutil.rmtree(checkout.folder / "results/hidden_states")
    assert checkout.rules_to_run() == {}
    checkout.append("scripts/measure_geometry.py")
    assert checkout.rules_to_run() == jobs_from("dump_hidden_states")


def test_changed_file_of_a_folder_model_is_seen(checkout):
    """A folder is never an input itself: Snakemake does not see a file that changes inside one."""
    source = checkout.folder / "results/embedded/models/tiny-bert-16/main"
    shutil.copytree(source, checkout.folder / "mine")
    checkout.edit("tiny.yaml", 'source: "embedded:tiny-bert-16"', "source: ./mine")
    listing = "results/models/tiny-bert/main/listing.parquet"
    checkout.run(listing)
    config = checkout.folder / "mine/config.json"
    config.touch()
    assert checkout.rules_to_run(listing) == {}
    config.write_text(config.read_text() + "\n")
    assert checkout.rules_to_run(listing) == {"resolve_model": 1}


# What only the plumbing uses, beside what it is: how the columns of a table are checked when it is written, and what
# modules of the hub share with those that read folders.
BEHIND_PLUMBING = {
    "lm_geometry.tables.schema",
    "lm_geometry.checkpoints.revision",
    "lm_geometry.checkpoints.byte_source",
}
NOT_IN_THE_TINY_RUN = {"plan", "plot_published_comparison", "stream_geometry", "write_plan"}


@pytest.fixture(scope="module")
def used(finished):
    """What the jobs of each script loaded and opened of the project: modules, and other files."""
    found = defaultdict(lambda: (set(), set()))
    for path in (finished.folder.parent / "records").iterdir():
        record = json.loads(path.read_text())
        modules, files = found[record["script"].removesuffix(".py")]
        modules.update(record["modules"])
        files.update(name for name in record["files"] if is_source(name))
    return dict(found)


def is_source(name):
    """Say whether a file of the checkout is data that comes with the project."""
    made = name.startswith(("results/", ".snakemake/"))
    return not made and not name.endswith((".py", ".pyc")) and "__pycache__" not in name


def test_the_digest_of_every_rule_covers_every_module_that_its_jobs_loaded(finished, used):
    """What a digest leaves out makes results that are stale and do not say so."""
    scripts = {path.stem for path in (finished.folder / "scripts").glob("*.py")}
    assert scripts - used.keys() == NOT_IN_THE_TINY_RUN
    missing = {}
    for name, (modules, _) in used.items():
        covered = modules_behind(finished.folder / "scripts" / f"{name}.py", finished.folder).keys()
        assert len(modules) > 5, name
        missing[name] = modules - covered - PLUMBING - BEHIND_PLUMBING
    assert {name: left_out for name, left_out in missing.items() if left_out} == {}


def test_the_digest_of_every_rule_covers_all_data_that_its_jobs_opened(used):
    """Which rules a change of it re-runs is told by the dry runs above."""
    opened_by = defaultdict(set)
    for name, (_, files) in used.items():
        for file in files:
            opened_by[file].add(name)
    assert opened_by.keys() == {f"reference/{name}" for name in REFERENCES}
    for name, rules in REFERENCES.items():
        assert opened_by[f"reference/{name}"] <= set(rules), name


@pytest.mark.slow
def test_results_of_two_runs_are_the_same_bytes(finished, tmp_path, record_property):
    """The results of a run from nothing, elsewhere and on three cores, equal those of the first, byte for byte.

    Every script runs here from a foreign folder, with an environment that holds no path to the project. Killed runs,
    on two cores, are held to the same in test_kills.py.
    """
    other = new_checkout(tmp_path / "other" / "place")
    foreign, work = tmp_path / "foreign", tmp_path / "work"
    foreign.mkdir()
    options = ("--cores", "3", "-s", str(other.folder / "Snakefile"), "-d", str(work))
    other.run(*options, cwd=foreign, config=str(other.folder / "tiny.yaml"))
    assert not list(foreign.iterdir())
    expected = digests(finished.folder / "results")
    assert digests(work / "results") == expected
    record_property("shown", f"{len(expected)} files the same on 2 and 3 cores, from two folders")


def test_failing_job_says_one_line_and_keeps_the_traceback_in_its_log(checkout):
    corpus = checkout.folder / "broken"
    (corpus / "qrels").mkdir(parents=True)
    (corpus / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "a"}\nnot json\n')
    (corpus / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n')
    (corpus / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    checkout.edit("tiny.yaml", "collection: embedded", "collection: {path: ./broken}")
    done = checkout.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert re.search(r"^fetch_collection: .*corpus\.jsonl.*2", said, flags=re.MULTILINE), said
    log = (checkout.folder / "results/logs/fetch_collection/broken.log").read_text()
    assert "Traceback" in log
    assert not (checkout.folder / "results/collections/broken/corpus.parquet").exists()


def test_report_is_made_without_network(checkout):
    checkout.run("--report", "report.html")
    assert (checkout.folder / "report.html").stat().st_size > 100_000


def test_tables_are_read_by_pandas_and_duckdb(finished):
    for name in ("retrieval_scores", "geometry"):
        path = finished.folder / f"results/tables/{name}.parquet"
        frame = pd.read_parquet(path)
        ((rows,),) = duckdb.sql(f"select count(*) from '{path}'").fetchall()
        with path.with_suffix(".csv").open() as file:
            lines = list(csv.DictReader(file))
        assert len(frame) == rows == len(lines) > 0
        assert list(frame.columns) == list(lines[0])


def made_files(folder):
    """Return the result files of a run: not how it went, nor what Snakemake itself writes."""
    files = [path for path in (folder / "results").rglob("*") if path.is_file() and not path.name.startswith(".")]
    return [path for path in files if path.relative_to(folder).parts[1] not in ("logs", "timings")]


def test_every_file_of_a_run_says_which_code_made_it(finished):
    """The digest is that of the code which lies here, for rules that read no data of the project."""
    made_by = defaultdict(set)
    for path in made_files(finished.folder):
        made_by[find(path).facts["rule"]].add(find(path).facts["code"])
    assert made_by.keys() == JOBS.keys() - {"all"}
    with_data = {rule for rules in REFERENCES.values() for rule in rules}
    for rule in made_by.keys() - with_data:
        assert made_by[rule] == {rule_digest(rule, finished.folder)}, rule


def test_the_lineage_of_a_table_names_every_rule_above_it(finished):
    """Copies are named in it, not measured: the listings of the other study's models are no source of a table."""
    for path in (finished.folder / "results/tables").glob("*.parquet"):
        facts = provenance.read(path)
        above = {rule for rule in READ_BY if facts["rule"] in below(rule) - {rule}}
        assert facts["lineage"].keys() | {"find_duplicate_checkpoints"} == above | {"find_duplicate_checkpoints"}, path
        assert facts["lineage"]["extract_prose"]["versions"] == {}
