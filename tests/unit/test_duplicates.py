"""Revisions that carry each other's weights: the published cases exactly, and the rules on small cases."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from pythia_2_8b_listing import (
    FIRST_SHARD,
    LARGE,
    LARGE_STEPS,
    SERVED,
    SHARING_FIRST_SHARD,
    SMALL,
    large_files,
    listed,
    own_digest,
    small_files,
)

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import (
    ALL_WEIGHTS,
    EMBEDDING_FILE,
    OTHER_FILES,
    Checkpoint,
    find_groups,
    origins_of_copies,
    published_status,
)
from lm_geometry.checkpoints.known_defects import KnownDefect, of_source, read_known_defects
from lm_geometry.checkpoints.ledger import embedding_in, listing_table, mark_weights
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.tables import listing
from lm_geometry.tables.duplicate_checkpoints import SCHEMA
from lm_geometry.tables.files import read_table, write_table
from scripts.find_duplicate_checkpoints import find_duplicate_checkpoints

# As published in github.com/EleutherAI/pythia/issues/205, apart from main itself.
SAME_AS_MAIN = [
    0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 53001, 1000), 55000, 60000, 65000, 70000, 80000, 90000,
    100000, 103000, 110000, 120000, 130000, 140000,
]  # fmt: skip
SECOND_BLOB = [54000, 56000, 57000, 58000, 59000, 61000, 62000, 63000, 64000, 143000]
ALL_STEPS = [0, *(2**power for power in range(10)), *range(1000, 143001, 1000)]
SHIPPED = Path(__file__).resolve().parents[2] / "reference" / "known_checkpoint_defects.csv"
COLUMNS = "hub_id,revision,shares_with,scope,genuine,source_url,note\n"
URL = "https://example.org/205"


def step_of(revision):
    return int(revision.removeprefix("step")) if revision.startswith("step") else None


def steps(numbers):
    return {f"step{number}" for number in numbers}


def checkpoint(revision, *digests, embedding=0):
    """A checkpoint whose shards have these digests; the shard of number ``embedding`` holds the table."""
    files = [
        ListedFile(f"model-{number}.safetensors", "weights", 10, digest, number == embedding)
        for number, digest in enumerate(digests)
    ]
    return Checkpoint(revision, step_of(revision), tuple(files))


def defect(revision, shares_with, genuine=""):
    return KnownDefect(SMALL, revision, shares_with, "all weights", genuine, URL, "")


def facts(group):
    return {member.revision for member in group.members}, group.scope, set(group.copies)


def small_listing(revision):
    return mark_weights(listed(small_files(revision)), {"model.safetensors": True})


def large_listing(revision):
    shards = [f"pytorch_model-{number:05}-of-00003.bin" for number in (1, 2, 3)]
    shard_of = {"gpt_neox.embed_in.weight": shards[0], "x": shards[1], "embed_out.weight": shards[2]}
    return mark_weights(listed(large_files(revision)), embedding_in(shard_of))


def one_file(digest):
    """The listing of a revision whose only weight file has this digest."""
    return mark_weights([ListedFile("w.bin", "weights", 1, digest)], {"w.bin": True})


def found_in(listings):
    found = [
        Checkpoint(name, step_of(name), tuple(file for file in files if file.holds_embedding is not None))
        for name, files in listings.items()
    ]
    return find_groups(found)


# -- the published cases -----------------------------------------------------------------------------------------------


def test_pythia_2_8b_yields_exactly_the_published_groups():
    assert len(SERVED) == 155
    assert len(SAME_AS_MAIN) == 76
    first, second = found_in({revision: small_listing(revision) for revision in SERVED})
    assert facts(first) == (steps(SAME_AS_MAIN) | {"main"}, ALL_WEIGHTS, steps(SAME_AS_MAIN))
    # The run's last step is in the second group; that one is what it is called.
    assert facts(second) == (steps(SECOND_BLOB), ALL_WEIGHTS, steps(SECOND_BLOB) - {"step143000"})
    unique = steps(ALL_STEPS) - steps(SAME_AS_MAIN) - steps(SECOND_BLOB)
    assert len(unique) == 68
    assert set(SERVED) - {member.revision for group in (first, second) for member in group.members} == unique


def test_one_changed_digest_changes_the_published_groups():
    listings = {revision: small_listing(revision) for revision in SERVED}
    listings["step2000"] = [
        replace(file, sha256=own_digest("mended")) if file.path == "model.safetensors" else file
        for file in listings["step2000"]
    ]
    first, second = found_in(listings)
    assert facts(first)[0] == steps(SAME_AS_MAIN) - {"step2000"} | {"main"}
    assert facts(second)[0] == steps(SECOND_BLOB)
    # The other format is not what would be read: its digests have no say.
    listings["step66000"] = [
        replace(file, sha256=own_digest("step67000", "pytorch_model.bin")) if file.path.endswith(".bin") else file
        for file in listings["step66000"]
    ]
    assert found_in(listings) == [first, second]


@pytest.mark.parametrize("whole", [False, True])
def test_pythia_12b_shares_the_first_shard_alone(whole):
    listings = {revision: large_listing(revision) for revision in ("main", *LARGE_STEPS)}
    if whole:  # main may well serve the last step's other shards too; that is no defect
        listings["main"] = listings["step143000"]
    (group,) = found_in(listings)
    assert facts(group) == (set(SHARING_FIRST_SHARD), EMBEDDING_FILE, {"step50000", "step58000"})
    assert {tuple(group.shared_files(member)) for member in group.members} == {("pytorch_model-00001-of-00003.bin",)}
    assert group.shared == {FIRST_SHARD}
    assert {tuple(group.origins(member)) for member in group.members if group.is_copy(member)} == {("step143000",)}


# -- the rules, on small cases -----------------------------------------------------------------------------------------


def test_distinct_revisions_are_in_no_group():
    assert find_groups([checkpoint("step1", "a", "b"), checkpoint("step2", "c", "d"), checkpoint("main", "e")]) == []
    assert find_groups([]) == []


def test_a_shard_without_the_embedding_counts_and_is_named():
    (group,) = find_groups([checkpoint("step1", "a", "x"), checkpoint("step2", "b", "x"), checkpoint("step3", "c")])
    assert facts(group) == ({"step1", "step2"}, OTHER_FILES, {"step1", "step2"})
    assert group.shared_files(group.members[0]) == ["model-1.safetensors"]


def test_who_shares_with_the_same_revision_does_not_share_with_each_other():
    groups = find_groups([checkpoint("step1", "a", "b"), checkpoint("step2", "a", "d"), checkpoint("step3", "c", "b")])
    assert [facts(group)[:2] for group in groups] == [
        ({"step1", "step2"}, EMBEDDING_FILE),
        ({"step1", "step3"}, OTHER_FILES),
    ]
    # Step 3 is the last one; of the first shard nobody can say whose it is.
    assert [group.genuine_step for group in groups] == [None, 3]


def test_equal_revisions_are_a_group_beside_the_one_of_a_part():
    found = [checkpoint("step1", "a", "b"), checkpoint("step2", "a", "b"), checkpoint("step3", "a", "c")]
    assert [facts(group)[:2] for group in find_groups([*found, checkpoint("step9", "z")])] == [
        ({"step1", "step2"}, ALL_WEIGHTS),
        ({"step1", "step2", "step3"}, EMBEDDING_FILE),
    ]
    # Shards shared in turns: no file is on 1 and 2 alone, and yet they are equal throughout.
    found = [
        checkpoint("step1", "a", "b"), checkpoint("step2", "a", "b"), checkpoint("step3", "a", "c"),
        checkpoint("step4", "d", "b"), checkpoint("step9", "z"),
    ]  # fmt: skip
    assert ({"step1", "step2"}, ALL_WEIGHTS, {"step1", "step2"}) in map(facts, find_groups(found))


def test_equal_bytes_under_another_name_are_found():
    one = checkpoint("step1", "a")
    other = Checkpoint("step2", 2, (ListedFile("pytorch_model.bin", "weights", 10, "a", True),))
    (group,) = find_groups([one, other, checkpoint("step3", "c")])
    assert [group.shared_files(member) for member in group.members] == [["model-0.safetensors"], ["pytorch_model.bin"]]


def test_the_last_step_is_what_it_is_called():
    (group,) = find_groups([checkpoint("step3", "a"), checkpoint("step1", "a"), checkpoint("step2", "b")])
    assert (group.genuine_step, group.copies) == (3, ["step1"])
    assert group.origins(group.members[0]) == ["step3"]


def test_main_is_a_member_and_no_defect():
    last, early = checkpoint("step9", "z"), checkpoint("step1", "a")
    assert find_groups([checkpoint("main", "z"), last, early]) == []
    (group,) = find_groups([checkpoint("main", "a"), last, early])
    assert facts(group) == ({"step1", "main"}, ALL_WEIGHTS, {"step1"})
    assert group.origins(group.members[0]) == ["main"]
    # Any other name without a step claims nothing: it may be meant as a second name of that step.
    assert find_groups([checkpoint("paper", "a"), last, early]) == []


def test_two_names_of_one_step_are_no_defect():
    twin = replace(checkpoint("step1", "a"), revision="tag-of-step1")
    assert find_groups([checkpoint("step1", "a"), twin, checkpoint("step2", "b")]) == []


def test_what_was_published_goes_before_what_is_inferred():
    found = [checkpoint("step1", "a"), checkpoint("step2", "a"), checkpoint("step3", "b")]
    assert find_groups(found)[0].genuine_step is None
    assert find_groups(found, [defect("step2", "step1", genuine="step1")])[0].genuine_step == 1
    # The last step that a run lists need not be the last of the training.
    (group,) = find_groups(found[:2], [defect("step1", "main"), defect("step2", "main")])
    assert group.copies == ["step1", "step2"]
    (group,) = find_groups(found[:2], [defect("step1", "step9", genuine="step9"), defect("step2", "step9", "step9")])
    assert group.copies == ["step1", "step2"]
    # main may be the last step's: that it was published as the origin does not make that step a copy.
    (group,) = find_groups(
        [checkpoint("main", "b"), checkpoint("step2", "b"), found[2]], [defect("step2", "main", "main")]
    )
    assert (group.copies, group.genuine_step) == (["step2"], 3)
    # A defect with a revision that is listed and does not share is about something else.
    (group,) = find_groups([*found[:2], checkpoint("main", "c")], [defect("step2", "main")])
    assert group.genuine_step == 2


def test_files_without_a_digest_are_not_compared():
    assert find_groups([checkpoint("step1", None), checkpoint("step2", None)]) == []
    (group,) = find_groups([checkpoint("step1", "a", None), checkpoint("step2", "a", None)])
    assert group.scope == EMBEDDING_FILE


@pytest.mark.parametrize(
    ("revision", "known", "status"),
    [
        ("step1", [], None),
        ("step1", [("step1", "step2")], "confirmed"),
        ("step1", [("step1", "main"), ("step2", "main")], "confirmed"),
        ("step1", [("step1", "step8")], "confirmed"),
        ("step1", [("step1", "step3")], "not confirmed"),
        ("step3", [("step3", "step1")], "not confirmed"),
        # By main, which is not listed, it was published to equal step1, which is.
        ("step3", [("step3", "main"), ("step1", "main")], "not confirmed"),
        ("step3", [("step3", "step8")], "not in this run"),
        ("step8", [("step8", "step1")], "not in this run"),
        ("step4", [("step4", "step1")], "cannot be compared"),
        ("step3", [("step3", "step4")], "cannot be compared"),
        ("step1", [("step1", "step2", "step1")], None),
    ],
)
def test_what_the_ledger_says_of_a_published_defect(revision, known, status):
    found = [checkpoint("step1", "a"), checkpoint("step2", "a"), checkpoint("step3", "c"), checkpoint("step4", None)]
    known = [defect(*words) for words in known]
    assert published_status(revision, found, find_groups(found, known), known) == status


# -- the published list ------------------------------------------------------------------------------------------------


def test_the_published_list_is_read_and_found_by_hub_id(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text(COLUMNS + f"{SMALL},step0,main,all weights,,{URL},\nx/y,step1,step0,all weights,step0,{URL},why\n")
    first, second = read_known_defects(path)
    assert first == defect("step0", "main")
    assert (second.genuine, second.note) == ("step0", "why")
    assert of_source([first, second], SMALL.lower()) == [first]
    assert of_source([first, second], "./pythia-2.8b") == []


def test_a_damaged_published_list_is_named(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("hub_id,revision,scope,genuine,source_url,note\n")
    with pytest.raises(ValueError, match=r"known\.csv: has no column shares_with; add it"):
        read_known_defects(path)
    path.write_text(COLUMNS + f"{SMALL},step0,main,all,,{URL},\n{SMALL},step1\n")
    with pytest.raises(ValueError, match=r"known\.csv, row 3: a defect needs hub_id, revision and shares_with"):
        read_known_defects(path)


# -- the script --------------------------------------------------------------------------------------------------------


class Run:
    """Listings in a folder, as the ledger writes them, and what was published."""

    def __init__(self, folder):
        self.folder, self.listings, self.models = folder, [], []
        self.known = folder / "known.csv"
        self.known.write_text(COLUMNS)

    def add(self, model, source, listings):
        for revision, files in listings.items():
            path = self.folder / model / revision / "listing.parquet"
            write_table(
                path,
                listing_table(files),
                listing.SCHEMA,
                settings={"revision": revision},
                origin={"model_id": source, "commit": own_digest(model, revision)[:40]},
            )
            self.listings.append(path)
            self.models.append({"model": model, "source": source, "revision": revision, "step": step_of(revision)})

    def find(self, policy="mark"):
        duplicates = self.folder / "duplicates.parquet"
        find_duplicate_checkpoints(
            listings=self.listings,
            known_defects=self.known,
            duplicates=duplicates,
            models=self.models,
            on_duplicate_checkpoint=policy,
        )
        return read_table(duplicates).to_pylist()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_both_published_models_end_to_end(run, caplog):
    run.add("pythia-2.8b", SMALL, {revision: small_listing(revision) for revision in SERVED})
    run.add("pythia-12b", LARGE, {revision: large_listing(revision) for revision in ("main", *LARGE_STEPS)})
    rows = [(SMALL, f"step{step}", "main") for step in SAME_AS_MAIN]
    rows += [(SMALL, "step66000", "main"), (LARGE, "step50000", "step143000"), (LARGE, "step7000", "step143000")]
    run.known.write_text(COLUMNS + "".join(f"{hub_id},{a},{b},all,,{URL},\n" for hub_id, a, b in rows))
    found = run.find()

    def named(model, **where):
        return {
            row["revision"]
            for row in found
            if row["model"] == model and all(row[name] == value for name, value in where.items())
        }

    assert named("pythia-2.8b", group=1) == steps(SAME_AS_MAIN) | {"main"}
    assert named("pythia-2.8b", group=1, is_copy=True) == steps(SAME_AS_MAIN)
    assert named("pythia-2.8b", group=2) == steps(SECOND_BLOB)
    assert named("pythia-2.8b", is_genuine=True) == {"step143000"}
    assert named("pythia-12b", group=1) == set(SHARING_FIRST_SHARD)
    assert named("pythia-12b", is_copy=True, copy_of="step143000", scope=EMBEDDING_FILE) == {"step50000", "step58000"}
    # Which of what was published the ledger confirms.
    assert named("pythia-2.8b", published="confirmed") == steps(SAME_AS_MAIN)
    assert named("pythia-2.8b", published="not confirmed", group=None) == {"step66000"}
    assert named("pythia-2.8b", published="not published") == steps(SECOND_BLOB) - {"step143000"}
    assert named("pythia-12b", published="confirmed") == {"step50000"}
    assert named("pythia-12b", published="not published") == {"step58000"}
    assert named("pythia-12b", published="not in this run", step=None) == {"step7000"}
    assert len(found) == 77 + 10 + 1 + 4 + 1
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(" revisions ")[0] for line in lines] == [
        "pythia-2.8b, group 1: all weights shared by 77",
        "pythia-2.8b, group 2: all weights shared by 10",
        "pythia-12b, group 1: the file with the embedding shared by 4",
    ]
    assert lines[2].endswith("(they are step143000's): step50000, step58000, step143000, main")
    copies = origins_of_copies(found)
    assert len(copies) == 76 + 9 + 2
    assert copies["pythia-2.8b", "step1000"] == "main"
    assert copies["pythia-2.8b", "step54000"] == "step143000"


def test_the_shipped_list_is_confirmed_on_what_it_was_published_of(run):
    run.known = SHIPPED
    run.add("pythia-2.8b", SMALL, {revision: small_listing(revision) for revision in SERVED})
    run.add("pythia-12b", LARGE, {revision: large_listing(revision) for revision in ("main", *LARGE_STEPS)})
    found = run.find()
    confirmed = {(row["model"], row["revision"]) for row in found if row["published"] == "confirmed"}
    wrong = steps(SAME_AS_MAIN) | steps(SECOND_BLOB) - {"step143000"}
    assert confirmed == {
        *(("pythia-2.8b", name) for name in wrong),
        ("pythia-12b", "step50000"),
        ("pythia-12b", "step58000"),
    }
    assert set(origins_of_copies(found)) == confirmed
    # The rest of it that is about these models lies outside what was listed.
    assert {row["published"] for row in found if not row["is_copy"]} <= {None, "not in this run"}


def test_sound_models_make_an_empty_table(run, caplog):
    run.add("a", "./a", {"step1": one_file("1"), "step2": one_file("2")})
    # Two models may well share a file: a tokenizer's, or the weights that one was trained from.
    run.add("b", "./b", {"main": one_file("1")})
    run.known.write_text(COLUMNS + f"{SMALL},step0,main,all weights,,{URL},\n")
    assert run.find("error") == []
    assert caplog.records == []
    facts = provenance.read(run.folder / "duplicates.parquet")
    assert facts["origin"]["model_id"] == ["./a", "./b"]
    assert read_table(run.folder / "duplicates.parquet").schema.names == SCHEMA.names


def test_the_policy_error_names_all_groups_in_one_line_and_writes_nothing(run):
    run.add("pythia-12b", LARGE, {revision: large_listing(revision) for revision in ("main", *LARGE_STEPS)})
    run.add("c", "./c", {"step1": one_file("1"), "step2": one_file("1")})
    with pytest.raises(
        ValueError, match=r"^pythia-12b, group 1: .*; c, group 1: all weights .*set on_duplicate"
    ) as raised:
        run.find("error")
    assert "\n" not in str(raised.value)
    assert not (run.folder / "duplicates.parquet").exists()


def test_a_revision_that_cannot_be_compared_says_so(run):
    files = {"step1": one_file(None), "step2": one_file(None)}
    run.add("a", "./a", files)
    run.add("b", "./b", {"main": files["step1"]})
    rows = run.find()
    assert [(row["model"], row["revision"], row["status"]) for row in rows] == [
        ("a", "step1", "cannot be compared: no sha256 is listed of w.bin"),
        ("a", "step2", "cannot be compared: no sha256 is listed of w.bin"),
    ]


def test_listings_that_do_not_fit_their_entries(run):
    run.add("a", "./a", {"x": one_file("x"), "y": one_file("y")})
    run.listings.reverse()
    with pytest.raises(ValueError, match=r"y/listing\.parquet: lists revision 'y', not 'x'"):
        run.find()
    run.listings.pop()
    with pytest.raises(ValueError, match="2 models and revisions need as many listings, got 1"):
        run.find()
