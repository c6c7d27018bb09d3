"""The study's published values are found for every model that it scored, by hub id or by name."""

import pandas as pd
import pytest

from lm_geometry import published
from lm_geometry.published import Published, read_published, read_published_baselines


@pytest.fixture(scope="module")
def reference():
    return read_published()


def rewritten(folder, position, change):
    """Write copies of the reference tables, one of them changed, and return their paths."""
    paths = []
    for number, path in enumerate(published.FILES):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = change(table) if number == position else table
        table.to_csv(folder / path.name, index=False)
        paths.append(folder / path.name)
    return paths


def test_every_published_row_belongs_to_exactly_one_model(reference):
    raw = pd.read_csv(published.FILES[1])
    found = [reference.scores_of(name) for name in reference.models["model"]]
    assert sum(map(len, found)) == len(raw) == 315
    assert sum(len(rows) > 0 for rows in found) == raw["model"].nunique() == 37


def test_a_model_is_found_by_its_hub_id_without_regard_to_case(reference):
    assert reference.name_of(hub_id="EleutherAI/pythia-6.9b") == "pythia-6.9b"
    assert reference.name_of(hub_id="eleutherai/Pythia-6.9B") == "pythia-6.9b"
    # The study itself writes pythia-6.9B in its scores.
    assert len(reference.scores_of("pythia-6.9b")) > 0
    assert reference.name_of(hub_id="somebody/unknown") is None
    assert reference.name_of() is None
    assert reference.name_of(hub_id="") is None


def test_the_key_reference_names_a_model_and_goes_before_the_hub_id(reference):
    assert reference.name_of(hub_id="EleutherAI/pythia-14m", reference="opt-175b") == "opt-175b"
    with pytest.raises(ValueError, match=r"reference: 'opt-175' is no model of models\.csv.*'opt-175b'"):
        reference.name_of(reference="opt-175")
    with pytest.raises(ValueError, match=r"reference: 'zzzz' is no model"):
        reference.name_of(reference="zzzz")


def test_scores_are_as_published_and_say_which_the_recipe_gives(reference):
    rows = reference.scores_of("opt-175b").set_index(["variant", "metric"])
    assert rows.loc[("as_is", "ndcg_at_10"), "published_percent"] == 6.398
    assert rows.loc[("as_is", "map_at_100"), "published_percent"] == 4.198
    assert (rows["embedding_dim"] == 12288).all()
    usable = rows["usable"].groupby("variant").all()
    assert usable.to_dict() == {
        "as_is": True, "crop_128": True, "pad_12288": True, "pad_14336": True, "random": False,
    }  # fmt: skip
    crops = reference.scores_of("t5-v1_1-xl").set_index("variant")["usable"]
    assert not crops["crop_128"].any()
    assert crops["pad_14336"].all()


def test_only_variants_with_random_columns_have_a_seed(reference):
    assert reference.scores["seed"].notna().groupby(reference.scores["variant"]).mean().to_dict() == {
        "as_is": 0.0, "crop_128": 0.0, "pad_12288": 1.0, "pad_14336": 1.0, "pad_5120": 1.0, "random": 1.0,
    }  # fmt: skip


def test_points_bear_the_configs_names(reference):
    points = reference.points(
        [
            {"model": "mine", "suite": "Ours", "hub_id": "facebook/opt-125m", "reference": None},
            {"model": "local", "suite": "Ours", "hub_id": None, "reference": "opt-175b"},
            {"model": "other", "suite": "Ours", "hub_id": "somebody/unknown", "reference": None},
            {"model": "plain", "suite": "Ours", "hub_id": None, "reference": None},
        ]
    )
    facts = points.groupby("model")[["suite", "embedding_dim", "vocab_rows"]].first()
    assert facts.to_dict("index") == {
        "mine": {"suite": "Ours", "embedding_dim": 768, "vocab_rows": 50272},
        "local": {"suite": "Ours", "embedding_dim": 12288, "vocab_rows": 50272},
    }
    nothing = reference.points([{"model": "plain", "suite": "Ours", "hub_id": None, "reference": None}])
    assert nothing.empty
    assert list(nothing.columns) == list(points.columns)


def test_a_damaged_reference_is_refused_by_name(tmp_path):
    paths = rewritten(tmp_path, 0, lambda table: table.drop(columns="vocab_rows"))
    with pytest.raises(ValueError, match=r"models\.csv: lacks the columns \['vocab_rows'\]"):
        read_published(paths)
    paths = rewritten(tmp_path, 1, lambda table: table.replace({"status": {"bug": "perhaps"}}))
    with pytest.raises(ValueError, match=r"published_embedding_scaling\.csv: unknown status \['perhaps'\]"):
        read_published(paths)
    paths = rewritten(tmp_path, 1, lambda table: table.replace({"model": {"opt-66b": "opt-65b"}}))
    with pytest.raises(ValueError, match=r"scores of the models \['opt-65b'\], which models\.csv does not have"):
        read_published(paths)
    assert isinstance(read_published(rewritten(tmp_path, 0, lambda table: table)), Published)


def test_everything_that_is_stated_can_be_had_with_the_shape_of_its_table(reference):
    stated = [*reference.stated(), *read_published_baselines()]
    raw = [pd.read_csv(path) for path in published.FILES_WITH_BASELINES[1:]]
    assert [value.percent for value in stated] == [*raw[0]["published_percent"], *raw[1]["published_percent"]]
    rows = {value.model: value.vocab_rows for value in stated if value.model}
    # Pythia's larger tables are rounded up to multiples of more rows.
    assert (rows["pythia-14m"], rows["pythia-6.9B"], rows["pythia-12b"]) == (50304, 50432, 50688)
    baseline = stated[-1]
    assert (baseline.model, baseline.variant, baseline.status) == (None, "random_tokenizer", "valid")
    assert {value.seed for value in stated if not value.model} == {42, 43, 6573, 7776}
    assert {value.seed for value in stated if value.variant in ("as_is", "crop_128")} == {None}


def test_damaged_baselines_are_refused_by_name(tmp_path):
    path = tmp_path / "published_random_baseline.csv"
    pd.read_csv(published.FILES_WITH_BASELINES[-1]).drop(columns="seed").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"published_random_baseline\.csv: lacks the columns \['seed'\]"):
        read_published_baselines(path)
