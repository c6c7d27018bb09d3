"""The configs that come with the project, dry and against a recorded catalogue: nothing here fetches a weight."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from catalogue_hub import TOKEN, catalogue
from loopback_hub import serve

from lm_geometry.configuration.checking import complete_config
from lm_geometry.configuration.schema import with_defaults
from lm_geometry.configuration.view import Study
from lm_geometry.plan import count_jobs
from lm_geometry.tables.files import read_table
from scripts.resolve_model import resolve_model

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow
CONFIGS = sorted(path.stem for path in (PROJECT / "configs").glob("*.yaml"))
# Their plans take long to make; the others stand for them in every change.
LARGE = {"embedding_scaling", "modern", "pythia_small"}
# Files with content that may be asked for before a weight is: the index says which shard holds the table.
SMALL = {"config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"}


def snakemake(checkout, home, *arguments, hub=None, token=TOKEN):
    """Run Snakemake in a checkout with next to nothing in its environment; without a hub it is offline."""
    hub_is = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token} if hub else {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=checkout.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1", **hub_is},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def followed(config, model):
    """Return the revisions of a model that either study follows over training."""
    studies = (config.get(study, {}).get("training", {}) for study in ("embedding_scaling", "representation_dynamics"))
    return [revision for training in studies for revision in training.get(model, {}).get("revisions", [])]


def runs(name):
    """Return (model, revision) and source of all runs of a config but the optional ones."""
    config = with_defaults(yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text()))
    suites = config.get("embedding_scaling", {}).get("suites", [])
    dynamics = config.get("representation_dynamics", {})
    found = {}
    for model, entry in config["models"].items():
        revisions = followed(config, model)
        if entry["suite"] in suites or model in dynamics.get("profiles", []):
            revisions.append(entry.get("revision", "main"))
        if not entry.get("optional"):
            found.update({(model, revision): entry["source"] for revision in revisions})
    return found


def listed(name):
    """Return the runs and, of those that were published to be copies, the revisions they were copied from."""
    with (PROJECT / "reference" / "known_checkpoint_defects.csv").open() as stream:
        copies = [row for row in csv.DictReader(stream) if row["genuine"] != row["revision"]]
    partner = {(row["hub_id"], row["revision"]): row["shares_with"] for row in copies}
    found = runs(name)
    config = with_defaults(yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text()))
    partners = {
        (model, partner[source, revision]): source
        for (model, revision), source in found.items()
        if (source, revision) in partner and revision in followed(config, model)
    }
    return {**found, **partners}


def resources(checkout, home, *options):
    """Return what a dry run says that the jobs need which read or fetch a model, by their first output."""
    for path in (checkout.folder / "rules").glob("*.smk"):
        # Of a job with a message Snakemake prints the message alone.
        path.write_text(re.sub(r"^    message:\n.*\n", "", path.read_text(), flags=re.MULTILINE))
    dry = snakemake(checkout, home, "--dry-run", *options)
    assert dry.returncode == 0, dry.stdout[-3000:] + dry.stderr[-3000:]
    jobs = re.findall(
        r"^rule (?:extract_embedding_table|fetch_checkpoint):\n.*?output: (\S+).*?resources: (.*?)$",
        dry.stdout,
        flags=re.MULTILINE | re.DOTALL,
    )
    return dict(jobs)


def jobs_of_the_plan(config):
    """Return how many jobs of each rule the plan counts."""
    return count_jobs(Study(complete_config(yaml.safe_load(config.read_text()), [config], base=config.parents[1])))


def check_plan(checkout, name, done):
    """Check that the plan was made, has every run, and is on the screen."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    table = read_table(checkout.folder / "results" / name / "plan" / "plan.parquet")
    rows = {(row["model"], row["revision"]): row for row in table.to_pylist()}
    assert runs(name).keys() <= rows.keys()
    assert len(rows) == len(runs(name)) + 1  # and the total
    shown = re.findall(r"^(\S+) +\S+ .* \d+$", said, flags=re.MULTILINE)
    assert {model for model, _ in runs(name)} <= set(shown)
    assert re.search(r"^total .* \d+$", said, flags=re.MULTILINE)


@pytest.fixture
def fresh(tmp_path):
    from checkout import new_checkout

    return new_checkout(tmp_path / "project")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_dry_run_from_a_clean_checkout_needs_no_network(fresh, tmp_path, name):
    done = snakemake(fresh, tmp_path, "--dry-run", "--configfile", f"configs/{name}.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)\s*$", done.stdout, flags=re.MULTILINE)}
    assert jobs["resolve_model"] == len(listed(name))
    assert not (fresh.folder / "results").exists()
    counted = jobs_of_the_plan(fresh.folder / "configs" / f"{name}.yaml")
    assert jobs == {**counted, "total": sum(counted.values())}


def test_the_plan_of_a_small_study_from_nothing(fresh, tmp_path):
    options = ("--configfile", "configs/pythia_small.yaml")
    with serve(catalogue()) as hub:
        done = snakemake(fresh, tmp_path, "plan", *options, hub=hub)
        check_plan(fresh, "pythia_small", done)
        again = snakemake(fresh, tmp_path, "plan", "--dry-run", *options)
        assert re.search(r"^plan +1$", again.stdout, flags=re.MULTILINE), again.stdout
        assert {request.path.rpartition("/")[2] for request in hub.file_requests()} <= SMALL
    assert TOKEN not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in CONFIGS]
)
def test_the_plan_and_the_jobs_resources_follow_from_listings_alone(fresh, tmp_path, monkeypatch, name):
    """The listings are made here in one process: as jobs of their own they take a minute or two of start-up."""
    folder = fresh.folder / "results" / name / "models"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve(catalogue()) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        for (model, revision), source in listed(name).items():
            place = folder / model / revision
            resolve_model(
                files=[], listing=place / "listing.parquet", config=place / "config.json", source=source,
                revision=revision, cache_dir=str(tmp_path / "cache"),
            )  # fmt: skip
        assert {request.path.rpartition("/")[2] for request in hub.file_requests()} <= SMALL
    options = ("--configfile", f"configs/{name}.yaml")
    done = snakemake(fresh, tmp_path, "plan", *options)
    check_plan(fresh, name, done)
    assert "resolve_model" not in done.stdout
    wanted = resources(fresh, tmp_path, *options)
    assert wanted
    for job, needs in wanted.items():
        assert "mem_mb=" in needs, job
        assert "<TBD>" not in needs, job


def test_a_gated_model_without_a_token_is_one_line_that_says_what_to_do(fresh, tmp_path):
    with serve(catalogue()) as hub:
        target = "results/modern/models/gemma-2-2b/main/listing.parquet"
        done = snakemake(fresh, tmp_path, target, "--configfile", "configs/modern.yaml", hub=hub, token="")
    assert done.returncode == 1
    assert f"resolve_model: google/gemma-2-2b: the model is gated: ask for access at {hub.url}" in done.stderr
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.folder / target).exists()
