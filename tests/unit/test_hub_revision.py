"""One revision of a hub repository: its listing, what stands in without a network, and the hub's refusals."""

import errno
import hashlib
import json
import logging
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from loopback_hub import COMMIT, Fault, Repository, commit_of, serve
from safetensors.numpy import save

from lm_geometry.checkpoints.hub.access import token
from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.hub.revision import HubRevision
from lm_geometry.checkpoints.source import ListedFile, open_revision, parse_source
from lm_geometry.checkpoints.tensors.weights import Weights

NAME = "tiny/neox"
WEIGHTS = bytes(range(256)) * 4
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "sub/notes.txt": b"abc"}
LISTED = [
    ListedFile("config.json", "config", 2, None),
    ListedFile("model.safetensors", "weights", 1024, hashlib.sha256(WEIGHTS).hexdigest()),
    ListedFile("sub/notes.txt", "other", 3, None),
]
QUICK = Patience(attempts=3, first_wait=0.001, longest_wait=0.002, longest_retry_after=0.01, silence=1.0)


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)


def revision_of(hub, cache, revision="main", name=NAME):
    return HubRevision(name, revision, str(cache), endpoint=hub.url, patience=QUICK)


def refusal(call, *arguments):
    with pytest.raises(ValueError, match=r"\S") as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_revision_is_listed_from_the_hubs_listing_alone(tmp_path):
    repositories = {NAME: Repository({"main": FILES, "step8": {"config.json": b"{}"}}, commits={"main": COMMIT})}
    with serve(repositories) as hub:
        revision = open_revision(parse_source(NAME), "main", str(tmp_path), endpoint=f"{hub.url}/")
        assert (revision.model_id, revision.commit(), revision.remote) == (NAME, COMMIT, True)
        assert revision.listing() == LISTED
        other = revision_of(hub, tmp_path, "step8")
        assert other.listing() == LISTED[:1]
        assert other.commit() == commit_of(NAME, "step8")
        assert [request.path for request in hub.requests] == [
            f"/api/models/{NAME}/revision/main", f"/api/models/{NAME}/revision/step8",
        ]  # fmt: skip


def test_a_commit_needs_no_listing(tmp_path):
    with serve({NAME: FILES}) as hub:
        revision = revision_of(hub, tmp_path, commit_of(NAME, "main"))
        assert revision.commit() == commit_of(NAME, "main")
        assert revision.open(LISTED[1]).read(5, 3) == WEIGHTS[5:8]
        assert [request.path for request in hub.requests if "/api/" in request.path] == []
        assert revision.listing() == LISTED


def test_a_branch_whose_name_holds_a_slash(tmp_path):
    with serve({NAME: Repository({"refs/pr/1": FILES})}) as hub:
        revision = revision_of(hub, tmp_path, "refs/pr/1")
        assert revision.listing() == LISTED
        assert revision.local_file("config.json").read_bytes() == b"{}"
        assert (tmp_path / "listings" / "tiny--neox" / "refs%2Fpr%2F1.json").is_file()


@pytest.mark.parametrize("cdn", [False, True])
def test_whole_files_and_ranges_are_those_of_the_commit(tmp_path, cdn):
    with serve({NAME: FILES}, cdn=cdn) as hub:
        revision = revision_of(hub, tmp_path)
        files = {file.path: file for file in revision.listing()}
        for path, content in FILES.items():
            assert revision.local_file(path).read_bytes() == content
            assert revision.open(files[path]).read(0, len(content)) == content
        commit = commit_of(NAME, "main")
        assert (tmp_path / "models--tiny--neox" / "snapshots" / commit / "config.json").exists()
        assert (tmp_path / "ranges" / "tiny--neox" / commit / "sub" / "notes.txt" / "0-3").read_bytes() == b"abc"


@pytest.mark.parametrize("faults", [
    [Fault("status", status=503, retry_after="0")], [Fault("status", status=429), Fault("status", status=500)],
    [Fault("drop")],
])  # fmt: skip
def test_a_listing_is_asked_for_again(tmp_path, faults):
    with serve({NAME: FILES}, faults=faults) as hub:
        assert revision_of(hub, tmp_path).listing() == LISTED


@pytest.mark.parametrize("closed", [True, False])
def test_without_a_network_the_last_listing_stands_in(tmp_path, caplog, closed):
    with serve({NAME: FILES}) as hub:
        online = revision_of(hub, tmp_path)
        online.listing()
        online.local_file("config.json")
        online.open(LISTED[1]).fetch(0, 100)
        if closed:
            hub.close()
        else:
            hub.faults.append(Fault("status", status=502, times=None))
        offline = revision_of(hub, tmp_path)
        assert offline.listing() == LISTED
        assert offline.commit() == commit_of(NAME, "main")
        warning = caplog.records[-1]
        assert warning.levelno == logging.WARNING
        assert f"going on with its last listing, commit {commit_of(NAME, 'main')}" in warning.getMessage()
        assert offline.local_file("config.json").read_bytes() == b"{}"
        assert offline.open(LISTED[1]).read(10, 20) == WEIGHTS[10:30]
        begun = time.monotonic()
        assert "the hub cannot be reached" in refusal(offline.local_file, "sub/notes.txt")
        # The hub client alone would try for half a minute.
        assert time.monotonic() - begun < 5
        assert "given up after 3 attempts" in refusal(offline.open(LISTED[1]).read, 0, 200)
        assert "the hub cannot be reached" in refusal(revision_of(hub, tmp_path, "step8").listing)


def test_offline_mode_counts_as_no_network(tmp_path, monkeypatch):
    from huggingface_hub import constants

    with serve({NAME: FILES}) as hub:
        revision_of(hub, tmp_path).listing()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        offline = revision_of(hub, tmp_path)
        assert offline.listing() == LISTED
        assert "(HF_HUB_OFFLINE is set)" in refusal(offline.open(LISTED[1]).read, 0, 1)
        assert "(HF_HUB_OFFLINE is set)" in refusal(revision_of(hub, tmp_path, "step8").listing)


def test_a_refusal_is_no_lack_of_network(tmp_path):
    with serve({NAME: FILES}) as hub:
        revision_of(hub, tmp_path).listing()
        hub.repositories[NAME] = replace(hub.repositories[NAME], private=True, token="hf_right")
        assert "or it is private" in refusal(revision_of(hub, tmp_path).listing)
        hub.repositories[NAME] = Repository({"other": FILES})
        assert "no revision 'main'" in refusal(revision_of(hub, tmp_path).listing)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"commit": 5, "files": []}', f'{{"commit": "{COMMIT}", "files": [{{}}]}}', "\x00"]
)
def test_a_kept_listing_that_is_none_is_named(tmp_path, text):
    with serve({NAME: FILES}) as hub:
        revision_of(hub, tmp_path).listing()
        kept = tmp_path / "listings" / "tiny--neox" / "main.json"
        assert json.loads(kept.read_text())["files"][0] == {"path": "config.json", "size": 2, "sha256": None}
        kept.write_text(text)
        hub.close()
        assert f"{kept}: not a listing" in refusal(revision_of(hub, tmp_path).listing)


def sibling(name="model.safetensors", size=5, **more):
    return {"rfilename": name, "size": size, **more}


def large(sha256, **more):
    return sibling(lfs={"sha256": sha256, "size": 5, "pointerSize": 1, **more})


HOSTILE = {
    "a way out": [sibling("../model.safetensors")],
    "a way out from within": [sibling("a/../../model.safetensors")],
    "absolute": [sibling("/etc/cron.d/model.safetensors")],
    "backslashes": [sibling("..\\..\\model.safetensors")],
    "empty": [sibling("")],
    "a line break": [sibling("model\n.safetensors")],
    "a zero byte": [sibling("model.safetensors\x00.txt")],
    "a terminal's escape": [sibling("\x1b[2J.txt")],
    "not plainly written": [sibling("./model.safetensors")],
    "twice": [sibling(), sibling(size=6)],
    "twice but for case": [sibling(), sibling("Model.safetensors")],
    "a file and a folder": [sibling(), sibling("model.safetensors/0-5")],
    "no size": [{"rfilename": "model.safetensors"}],
    "a negative size": [sibling(size=-1)],
    "a size in words": [sibling(size="5")],
    "a digest that is a path": [large("../../../etc/passwd")],
    "a digest that is too short": [large("ab")],
    "a digest that is a number": [large(5)],
    "half of what large files have": [sibling(lfs={"oid": "x"})],
    "a name that is a number": [sibling(5)],
    "no name": [{"size": 5}],
    "no list": {"model.safetensors": 5},
    "a list of nothing": [None],
}


@pytest.mark.parametrize("siblings", HOSTILE.values(), ids=HOSTILE)
def test_hostile_lists_are_refused_and_leave_nothing_behind(tmp_path, siblings):
    cache = tmp_path / "a" / "cache"
    with serve({NAME: Repository({"main": FILES}, siblings=siblings)}) as hub:
        revision = revision_of(hub, cache)
        message = refusal(revision.listing)
        assert message.startswith(f"{NAME}: ")
        assert "refused" in message or "cannot be read" in message
        refusal(revision.commit)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("sha", ["../../../../tmp/x", "main", "0" * 39, COMMIT.upper()])
def test_a_commit_that_is_none_is_refused(tmp_path, sha):
    with serve({NAME: Repository({"main": FILES}, sha=sha)}) as hub:
        assert f"names the commit {sha!r}, which is none" in refusal(revision_of(hub, tmp_path).commit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\b"])
def test_no_file_outside_the_repository_is_asked_for(tmp_path, path):
    with serve({NAME: FILES}) as hub:
        revision = revision_of(hub, tmp_path, commit_of(NAME, "main"))
        for call, argument in ((revision.local_file, path), (revision.open, ListedFile(path, "weights", 5, None))):
            assert "is refused" in refusal(call, argument)
        assert hub.requests == []
    assert list(tmp_path.iterdir()) == []


def test_unknown_repositories_and_revisions(tmp_path):
    steps = {f"step{step}": FILES for step in (0, 8, 16, 512)}
    with serve({NAME: Repository({"main": FILES, **steps})}) as hub:
        assert refusal(revision_of(hub, tmp_path, name="tiny/absent").listing) == (
            "tiny/absent: the hub has no such model, or it is private (set HF_TOKEN); a folder begins with ./ ../ / "
            "or ~"
        )
        message = refusal(revision_of(hub, tmp_path, "step51").listing)
        assert message.startswith("tiny/neox: no revision 'step51'; nearest of 5: step512, ")
        hub.faults.append(Fault("status", file="/refs", status=403, times=None))
        assert refusal(revision_of(hub, tmp_path, "step51").listing) == "tiny/neox: no revision 'step51'"


def test_gated_models_say_where_to_ask_and_what_to_set(tmp_path, monkeypatch):
    with serve({NAME: Repository({"main": FILES}, gated=True, token="hf_right")}) as hub:
        revision = revision_of(hub, tmp_path)
        files = revision.listing()
        calls = [(revision.local_file, "config.json"), (revision.open(files[1]).fetch, 0, 10)]
        for call in calls:
            assert refusal(*call) == (
                f"{NAME}: the model is gated: ask for access at {hub.url}/{NAME}, then set HF_TOKEN to a token of that "
                "account"
            )
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        for call in calls:
            assert refusal(*call) == (
                f"{NAME}: the model is gated and the account of HF_TOKEN has no access: ask for it at {hub.url}/{NAME}"
            )
        monkeypatch.setenv("HF_TOKEN", " hf_right\n")
        assert revision.local_file("config.json").read_bytes() == b"{}"
        assert revision.open(files[1]).read(0, 10) == WEIGHTS[:10]


@pytest.mark.parametrize("cdn", [False, True])
def test_a_whole_file_that_came_damaged_is_fetched_anew_by_the_next_run(tmp_path, cdn):
    path, content = "model.safetensors", save({"x": np.ones((5, 4), np.float32)})
    listed = [ListedFile(path, "weights", len(content), hashlib.sha256(content).hexdigest())]
    with serve({NAME: {path: content}}, faults=[Fault("corrupt")], cdn=cdn) as hub:
        # As the stages open it: at a commit, by an earlier listing.
        revision = revision_of(hub, tmp_path, commit_of(NAME, "main"))
        message = refusal(lambda: Weights(revision, listed, verify="full"))
        assert re.search(r"sha256 \w{16}…, but \w{16}… was listed; it was removed, run again", message)
        assert Weights(revision, listed, verify="full").names == ["x"]


def test_a_disk_that_runs_full_under_a_whole_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download._download_to_tmp_and_move", full)
    with serve({NAME: FILES}) as hub:
        revision = revision_of(hub, tmp_path)
        revision.listing()
        message = refusal(revision.local_file, "model.safetensors")
    assert re.fullmatch(
        re.escape(str(tmp_path)) + r": the disk ran full: 1,024 bytes were needed, [\d,]+ are free; .* run again",
        message,
    )


def test_private_models_ask_for_a_token(tmp_path, monkeypatch):
    with serve({NAME: Repository({"main": FILES}, private=True, token="hf_right")}) as hub:
        assert "or it is private (set HF_TOKEN)" in refusal(revision_of(hub, tmp_path).listing)
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        assert "or it is private (HF_TOKEN has no access to it)" in refusal(revision_of(hub, tmp_path).listing)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        assert revision_of(hub, tmp_path).listing() == LISTED


def test_a_token_that_the_hub_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    with serve({NAME: FILES}, faults=[Fault("status", status=401)]) as hub:
        message = refusal(revision_of(hub, tmp_path).listing)
    assert message == f"{NAME}: {hub.url} does not know the token in HF_TOKEN: make a new one, or unset it"


@pytest.mark.parametrize("value", ["hf_se cret", "hf_se\ncret", "hf_sécret", "hf_se\x00cret"])
def test_a_token_that_no_header_can_carry_is_not_printed(monkeypatch, value):
    monkeypatch.setattr("os.environ", {"HF_TOKEN": value})
    message = refusal(token)
    assert message.startswith("HF_TOKEN holds a blank")
    assert "cret" not in message


def test_the_token_of_a_login_is_not_used(tmp_path, monkeypatch):
    from huggingface_hub import constants, get_token

    (tmp_path / "token").write_text("hf_stored")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert get_token() == "hf_stored"
    with serve({NAME: FILES}) as hub:
        revision = revision_of(hub, tmp_path / "cache")
        files = revision.listing()
        revision.local_file("config.json")
        revision.open(files[1]).fetch(0, 10)
        assert len(hub.requests) > 3
        assert not [request for request in hub.requests if "authorization" in request.headers]


def test_no_token_leaves_the_hub_or_is_written_anywhere(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve({NAME: FILES}, cdn=True) as hub:
        revision = revision_of(hub, tmp_path)
        files = revision.listing()
        assert revision.local_file("model.safetensors").read_bytes() == WEIGHTS
        assert revision.open(files[1]).read(0, 10) == WEIGHTS[:10]
        elsewhere = [request for request in hub.requests if str(request.port) in hub.cdn_url]
        assert len(elsewhere) == 2
        assert not [request for request in elsewhere if "hf_secret" in str(request.headers)]
        assert [request for request in hub.requests if request.headers.get("authorization") == "Bearer hf_secret"]
    assert "hf_secret" not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
