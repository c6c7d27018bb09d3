"""One set of versions: the conda environments name those of the lock file."""

from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
LOCKED = dict(line.split("==") for line in (PROJECT / "requirements.txt").read_text().split() if "==" in line)


@pytest.mark.parametrize("path", sorted((PROJECT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_conda_environment_is_pinned_as_the_lock(path):
    pip = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
    named = dict(line.split("==") for line in pip)
    assert named == {name: LOCKED[name] for name in named}


def test_heavy_environment_holds_the_light_one():
    light, heavy = (
        set(yaml.safe_load((PROJECT / "envs" / f"{name}.yaml").read_text())["dependencies"][-1]["pip"])
        for name in ("analysis", "models")
    )
    assert light < heavy
