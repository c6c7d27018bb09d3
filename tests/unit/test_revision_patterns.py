"""Patterns of revisions, against what a shell makes of the same braces."""

import shutil
import subprocess

import pytest

from lm_geometry.configuration.revision_patterns import MOST_REVISIONS, expand_revisions


@pytest.mark.parametrize(
    "pattern",
    [
        "step143000",
        "step{0,1,512}",
        "step{1000..5000..1000}",
        "step{0..3}",
        "stage{1,2}-step{10..30..10}-tokens{7,8}B",
        "step{0..10..4}",
    ],
)
def test_braces_expand_as_in_a_shell(pattern):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash, the peer")
    shell = subprocess.run([bash, "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert expand_revisions(pattern) == shell.stdout.split()


@pytest.mark.parametrize("pattern", ["step{}", "step{1}", "step{1,,2}", "step{5..1}", "step{1..5..0}", "step{a..c}"])
def test_braces_that_hold_neither_list_nor_range_are_refused(pattern):
    with pytest.raises(ValueError, match=r"\{"):
        expand_revisions(pattern)


@pytest.mark.parametrize("pattern", ["step{1..100000000000}", "a{1..101}b{1..100}"])
def test_too_many_revisions_are_refused_before_they_are_made(pattern):
    with pytest.raises(ValueError, match=f"{MOST_REVISIONS:,}"):
        expand_revisions(pattern)
