"""Folders for weights on disk: gone with their job, whether it ends or is killed."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from lm_geometry.hidden_states.offload import offload_folder

PROJECT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, pathlib, contextlib
from lm_geometry.hidden_states.offload import offload_folder
with contextlib.ExitStack() as stack:
    folder = offload_folder(pathlib.Path(sys.argv[1]), stack)
    (folder / "weights.dat").write_bytes(bytes(9))
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_goes_with_its_job_and_stays_while_that_lives(tmp_path):
    with ExitStack() as first, ExitStack() as second:
        folder = offload_folder(tmp_path, first)
        (folder / "weights.dat").touch()
        other = offload_folder(tmp_path, second)
        assert {folder, other} == set(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_job_goes_with_the_next_one(tmp_path):
    killed = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(killed.stdout.readline().strip())
    with ExitStack() as stack:
        offload_folder(tmp_path, stack)
        assert (folder / "weights.dat").exists()  # its job lives
    killed.kill()
    killed.communicate()
    assert folder.exists()
    with ExitStack() as stack:
        offload_folder(tmp_path, stack)
        assert not folder.exists()
