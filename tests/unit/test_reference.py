"""The published data: shapes, joins, numbers that can be computed again, and the page that is made from it."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from lm_geometry import models_page

PROJECT = Path(__file__).resolve().parents[2]
REFERENCE = PROJECT / "reference"
PYTHIA_2_8B = "EleutherAI/pythia-2.8b"


def rows(name):
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


MODELS = {row["model"]: row for row in rows("models")}
DEFECTS = rows("known_checkpoint_defects")


def numbers(row, *columns):
    return [int(row[column]) for column in columns]


# -- models.csv --------------------------------------------------------------------------------------------------------


def test_every_model_stands_once_and_every_cell_is_of_its_column_s_kind():
    table = rows("models")
    assert len(MODELS) == len(table) == 75
    for row in table:
        assert all(value == value.strip() for value in row.values()), row["model"]
        for column in ("n_params", "n_layers", "d_model", "emb_dim", "vocab_rows", "tokenizer_len"):
            assert int(row[column]) > 0
        for column in ("gated", "tied", "in_blog", "in_paper"):
            assert row[column] in ("true", "false")
        assert row["stored_dtype"] in ("float16", "bfloat16", "float32")
        for column in ("hub_id", "tokenizer_hub_id", "checkpoints_hub_id"):
            assert re.fullmatch(r"([\w.-]+/[\w.-]+)?", row[column]), (row["model"], column)
        assert bool(row["checkpoints_hub_id"]) == bool(row["checkpoint_revisions"])
        assert int(row["tokenizer_len"]) <= int(row["vocab_rows"])
    assert [row["model"] for row in table if not row["hub_id"]] == ["opt-175b"]


def test_a_tokenizer_has_one_length_whichever_model_is_read_with_it():
    lengths = {(row["tokenizer_hub_id"], row["tokenizer_len"]) for row in MODELS.values()}
    assert len(lengths) == len({tokenizer for tokenizer, _ in lengths})


def test_hub_ids_are_unique_since_published_values_are_joined_by_them():
    ids = [row["hub_id"].casefold() for row in MODELS.values() if row["hub_id"]]
    assert len(set(ids)) == len(ids)


def test_the_studies_have_as_many_models_as_they_say():
    counts = Counter(row["suite"] for row in MODELS.values() if row["in_blog"] == "true")
    assert counts == {"Pythia": 10, "OPT": 9, "Cerebras-GPT": 7, "BLOOM": 6, "T5-v1.1": 5}


def _gpt_neox(row):
    layers, d, vocab = numbers(row, "n_layers", "d_model", "vocab_rows")
    return 2 * vocab * d + layers * (12 * d * d + 13 * d) + 2 * d


def _opt(row):
    layers, d, vocab, width = numbers(row, "n_layers", "d_model", "vocab_rows", "emb_dim")
    # The one with a narrower table projects it in and out, and is post-LN: it has no final norm.
    projected = width != d
    return vocab * width + 2050 * d + layers * (12 * d * d + 13 * d) + (2 * width * d if projected else 2 * d)


def _gpt2(positions):
    def count(row):
        layers, d, vocab = numbers(row, "n_layers", "d_model", "vocab_rows")
        return vocab * d + positions * d + layers * (12 * d * d + 13 * d) + 2 * d

    return count


def _bloom(row):
    layers, d, vocab = numbers(row, "n_layers", "d_model", "vocab_rows")
    return vocab * d + 2 * d + layers * (12 * d * d + 13 * d) + 2 * d


def _llama_2(row):
    layers, d, vocab = numbers(row, "n_layers", "d_model", "vocab_rows")
    feed_forward = {4096: 11008, 5120: 13824}[d]
    return 2 * vocab * d + layers * (4 * d * d + 3 * d * feed_forward + 2 * d) + d


def _encoder(positions, types):
    def count(row):
        layers, d, vocab = numbers(row, "n_layers", "d_model", "vocab_rows")
        embeddings = (vocab + positions + types) * d + 2 * d
        return embeddings + layers * (12 * d * d + 13 * d) + d * d + d

    return count


FORMULAS = {
    "Pythia": _gpt_neox,
    "Pythia-deduped": _gpt_neox,
    "OPT": _opt,
    "Cerebras-GPT": _gpt2(positions=2048),
    "GPT-2": _gpt2(positions=1024),
    "BLOOM": _bloom,
    "Llama-2": _llama_2,
    "BERT": _encoder(positions=512, types=2),
    "RoBERTa": _encoder(positions=514, types=1),
}


@pytest.mark.parametrize("model", [name for name, row in MODELS.items() if row["suite"] in FORMULAS])
def test_the_parameters_follow_from_the_dimensions(model):
    row = MODELS[model]
    assert int(row["n_params"]) == FORMULAS[row["suite"]](row)


@pytest.mark.parametrize(
    ("model", "weight_bytes"),
    [
        ("pythia-2.8b", 5_550_463_728),  # model.safetensors of step143000, as the hub lists it
        ("pythia-6.9b", 9_911_600_880 + 3_937_278_816),  # the safetensors shards of main
        ("pythia-12b", 9_811_441_814 + 9_925_840_824 + 4_105_922_122),
        ("bloom-3b", 6_005_243_331),  # pytorch_model.bin
    ],
)
def test_parameters_and_stored_type_fit_the_size_of_the_files(model, weight_bytes):
    row = MODELS[model]
    values = int(row["n_params"]) * {"float16": 2, "bfloat16": 2, "float32": 4}[row["stored_dtype"]]
    # What is left over is the file's header, and in Pythia the attention masks, which are no parameters.
    assert values < weight_bytes < values * 1.012


# -- the published scores ----------------------------------------------------------------------------------------------


def test_the_published_tables_have_the_published_number_of_rows():
    scores = rows("published_embedding_scaling")
    assert Counter(row["status"] for row in scores) == {
        "valid": 253,
        "not_reproducible": 42,
        "bug": 10,
        "pad_without_effect": 10,
    }
    baselines = rows("published_random_baseline")
    assert len(baselines) == 5 * 15 * 4 * 2
    keys = {tuple(row[name] for name in ("tokenizer", "embedding_dim", "seed", "metric")) for row in baselines}
    assert len(keys) == len(baselines)


def test_every_published_score_belongs_to_a_model_of_that_width():
    by_name = {name.casefold(): row for name, row in MODELS.items()}
    published = rows("published_embedding_scaling")
    for row in published:
        assert by_name[row["model"].casefold()]["emb_dim"] == row["embedding_dim"], row
    measured = {row["model"].casefold() for row in published}
    assert measured == {name.casefold() for name, row in MODELS.items() if row["in_blog"] == "true"}


def test_every_published_baseline_has_the_rows_of_a_model_with_that_tokenizer():
    tokenizers = {row["tokenizer"]: row["model"].casefold() for row in rows("published_embedding_scaling")}
    by_name = {name.casefold(): row for name, row in MODELS.items()}
    of_suite = {name: by_name[model]["suite"] for name, model in tokenizers.items()}
    for row in rows("published_random_baseline"):
        suite = of_suite[row["tokenizer"]]
        assert row["vocab_rows"] in {model["vocab_rows"] for model in MODELS.values() if model["suite"] == suite}


# -- known_checkpoint_defects.csv --------------------------------------------------------------------------------------


def test_every_defect_is_whole_and_stands_once():
    assert len({(row["hub_id"], row["revision"]) for row in DEFECTS}) == len(DEFECTS)
    for row in DEFECTS:
        assert row["scope"] in ("all weights", "the file with the embedding", "other files")
        assert row["source_url"].startswith(("https://github.com/", "https://huggingface.co/"))
        assert row["revision"] != row["shares_with"]
        assert row["note"]
        assert re.search(r"(?:^|[-_])step(\d+)", row["revision"]), "each is a training step"


def test_pythia_2_8b_has_the_86_branches_of_the_published_groups():
    steps = {}
    for row in DEFECTS:
        if row["hub_id"] == PYTHIA_2_8B:
            steps.setdefault(row["genuine"], set()).add(int(row["revision"].removeprefix("step")))
    powers = {0, *(2**k for k in range(10))}
    every_thousandth = set(range(1000, 53_001, 1000))
    others = {55, 60, 65, 70, 80, 90, 100, 103, 110, 120, 130, 140}
    assert steps["main"] == powers | every_thousandth | {1000 * n for n in others}
    assert steps["step143000"] == {1000 * n for n in (54, 56, 57, 58, 59, 61, 62, 63, 64, 143)}
    assert (len(steps["main"]), len(steps["step143000"])) == (76, 10)
    # What is left of the 154 branches are the 68 that were published to be right.
    everything = powers | set(range(1000, 143_001, 1000))
    right = everything - steps["main"] - steps["step143000"]
    assert (len(everything), len(right), min(right), max(right)) == (154, 68, 66_000, 142_000)


def test_a_chain_of_defects_leads_to_its_genuine_revision():
    shared = {(row["hub_id"], row["revision"]): row["shares_with"] for row in DEFECTS}
    for row in DEFECTS:
        if row["genuine"] in ("", row["revision"]):
            continue
        seen, here = set(), row["revision"]
        while here != row["genuine"] and here not in seen:
            seen.add(here)
            here = shared[row["hub_id"], here]
        assert here == row["genuine"], row


def test_the_defects_of_the_studies_models_name_repositories_that_models_csv_knows():
    known = {row[column] for row in MODELS.values() for column in ("hub_id", "checkpoints_hub_id")}
    assert {row["hub_id"] for row in DEFECTS} - known == {"allenai/OLMo-2-1124-7B", "allenai/OLMo-7B-0424-hf"}


# -- docs/models.md ----------------------------------------------------------------------------------------------------


def test_the_page_of_models_is_the_one_that_its_table_makes():
    page = models_page.PAGE.read_text(encoding="utf-8")
    assert page == models_page.fill_page(page, models_page.read_models()), f"run {models_page.COMMAND}"
    assert page.count("huggingface.co/EleutherAI/pythia-2.8b)") == 1


def test_a_page_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match=r"has no place for what is generated; put <!-- Made"):
        models_page.fill_page("# Models\n", [])


@pytest.mark.parametrize(("parameters", "text"), [(14_067_712, "14.1 M"), (559_214_592, "559 M"), (176e9, "176 B")])
def test_parameters_are_shown_with_three_digits(parameters, text):
    row = dict(MODELS["bloom-3b"], n_params=str(int(parameters)))
    assert f"| {text} |" in models_page.render_table([row])


def test_every_column_of_every_table_is_described():
    text = (REFERENCE / "README.md").read_text(encoding="utf-8")
    described = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE))))
    for path in REFERENCE.glob("*.csv"):
        columns = path.read_text(encoding="utf-8").splitlines()[0].split(",")
        assert f"## {path.name}" in text or f", {path.name}" in text
        assert [name for name in columns if name not in described and name.removesuffix("_note") not in described] == []
