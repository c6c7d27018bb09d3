"""The plan counts the jobs that a dry run announces."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lm_geometry.configuration.checking import complete_config
from lm_geometry.configuration.view import Study
from lm_geometry.plan import count_jobs

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow

# The configs of real models are held to their dry runs in test_real_configs.py.
_CONFIGS = ["config.yaml", "tests/config/tiny.yaml"]


@pytest.mark.parametrize("name", _CONFIGS)
def test_plan_counts_the_jobs_of_a_dry_run(name, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--snakefile", PROJECT / "Snakefile", "--directory", tmp_path]
    command += ["--configfile", PROJECT / name, "--dry-run", "--quiet", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    announced = dict(re.findall(r"^(\w+)\s+(\d+)\s*$", done.stdout + done.stderr, flags=re.MULTILINE))
    study = Study(complete_config(yaml.safe_load((PROJECT / name).read_text()), [PROJECT / name], base=tmp_path))
    counted = count_jobs(study)
    assert {rule: int(count) for rule, count in announced.items()} == {**counted, "total": sum(counted.values())}
