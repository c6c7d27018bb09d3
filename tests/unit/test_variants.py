"""Variants against the study's recipe, which concatenates and cuts torch tensors."""

import numpy as np
import pytest
import torch
from variant_tables import variant_table

from lm_geometry.embeddings.random_table import random_blocks, random_entry_rms
from lm_geometry.embeddings.variants import (
    STUDY_COLUMNS,
    ColumnSlice,
    needed_columns,
    pad_energy_share,
    pad_scale,
    parse_variant,
)

ROWS, WIDTH, SEED = 48, 40, 42


@pytest.fixture(scope="module")
def table():
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)


def legacy(columns, rows=ROWS):
    """A random table as the study's torch drew it."""
    return torch.from_numpy(np.concatenate(list(random_blocks(rows, columns, SEED)))).to(torch.bfloat16)


def study_recipe(table, name):
    """The study's notebooks: as is; a 14336 wide draw cut to the model; first columns; random columns behind."""
    kind, _, size = name.partition("_")
    width = table.shape[1]
    return {
        "as": lambda: table,
        "random": lambda: legacy(14336, table.shape[0])[:, :width],
        "crop": lambda: table[:, : int(size)],
        "pad": lambda: torch.cat([table, legacy(int(size), table.shape[0])[:, width:]], dim=1),
    }[kind]()


@pytest.mark.parametrize(
    "name", ["as_is", "random", "crop_1", "crop_16", "crop_40", "pad_41", "pad_64", "pad_100", "pad_14336"]
)
def test_variants_equal_the_studys_recipe_bit_for_bit(table, name):
    expected = study_recipe(table, name).float().numpy()
    found = variant_table(table.float().numpy(), name, seed=SEED)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


def test_padding_to_the_tables_own_width_is_the_table(table):
    values = table.float().numpy()
    assert np.array_equal(variant_table(values, f"pad_{WIDTH}", seed=SEED), values)
    assert parse_variant(f"pad_{WIDTH}").slices(WIDTH) == (ColumnSlice(None, 0, WIDTH),)


def test_a_model_wider_than_the_study_draws_as_wide_as_itself():
    width = STUDY_COLUMNS + 16
    assert parse_variant("random").slices(width) == (ColumnSlice(width, 0, width),)
    found = variant_table(np.zeros((2, width), dtype=np.float32), "random", seed=SEED)
    assert np.array_equal(found, legacy(width, rows=2).float().numpy())


def test_widths_of_one_seed_are_prefixes_and_seeds_differ():
    narrow, wide = (variant_table(np.zeros((ROWS, d), dtype=np.float32), "random", seed=1) for d in (16, 64))
    assert np.array_equal(narrow, wide[:, :16])
    assert not np.array_equal(variant_table(np.zeros((ROWS, 16), dtype=np.float32), "random", seed=2), narrow)


def test_the_torch_generator_pads_with_todays_torch(table):
    torch.manual_seed(SEED)
    drawn = torch.nn.init.xavier_normal_(torch.empty(ROWS, 64, dtype=torch.bfloat16))
    expected = torch.cat([table, drawn[:, WIDTH:]], dim=1).float().numpy()
    assert np.array_equal(variant_table(table.float().numpy(), "pad_64", seed=SEED, generator="torch"), expected)


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("crop_128", 64, "crop_128 needs 128 columns and the table has 64"),
        ("pad_128", 256, "pad_128 is 128 columns wide and the table has 256"),
        ("pad_128_matched", 256, "pad_128_matched is 128 columns wide and the table has 256"),
    ],
)
def test_variants_that_a_table_cannot_have_are_errors(name, width, message):
    with pytest.raises(ValueError, match=message):
        variant_table(np.zeros((8, width), dtype=np.float32), name)


UNKNOWN = ["asis", "crop", "crop_", "crop_0", "crop_012", "pad_-1", "pad_x", "random_tokenizer", "centred"]
UNKNOWN += ["crop_8_matched", "pad_matched", "pad_8_matched_", "pad_08_matched", "all_but_the_top_3"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names_are_errors_that_list_the_known(name):
    known = "use as_is, random, centered, all_but_the_top, crop_<columns>, pad_<columns> or pad_<columns>_matched"
    with pytest.raises(ValueError, match=f"unknown variant '{name}': {known}"):
        parse_variant(name)


@pytest.mark.parametrize(
    ("name", "kind", "width", "uses_seed", "uses_components"),
    [
        ("as_is", "as_is", 64, False, False),
        ("random", "random", 64, True, False),
        ("crop_16", "crop", 16, False, False),
        ("pad_100", "pad", 100, True, False),
        ("pad_100_matched", "pad_matched", 100, True, False),
        ("centered", "centered", 64, False, True),
        ("all_but_the_top", "all_but_the_top", 64, False, True),
    ],
)
def test_facts_of_a_variant(name, kind, width, uses_seed, uses_components):
    variant = parse_variant(name)
    assert (variant.name, variant.kind, variant.width(64)) == (name, kind, width)
    assert (variant.uses_seed, variant.uses_components) == (uses_seed, uses_components)


def test_random_and_the_widest_pad_share_one_draw():
    names = ("as_is", "random", "pad_14336", "pad_512", "pad_512_matched", "centered")
    parts = [part for name in names for part in parse_variant(name).slices(64)]
    assert needed_columns(parts) == {14336: 14336, 512: 512}
    assert needed_columns(parse_variant("random").slices(64)) == {14336: 64}


@pytest.mark.parametrize("name", ["centered", "all_but_the_top"])
def test_projections_are_of_the_whole_table(name):
    assert parse_variant(name).slices(64) == (ColumnSlice(None, 0, 64),)


def test_a_matched_pad_has_the_slices_of_the_plain_one_and_the_tables_entries():
    table = 3 * np.random.default_rng(0).normal(size=(2000, WIDTH)).astype(np.float32)
    plain, matched = (variant_table(table, name, seed=SEED)[:, WIDTH:] for name in ("pad_100", "pad_100_matched"))
    assert parse_variant("pad_100_matched").slices(WIDTH) == parse_variant("pad_100").slices(WIDTH)
    assert np.corrcoef(plain.ravel(), matched.ravel())[0, 1] > 1 - 1e-12
    root, of_pad = (np.sqrt(np.mean(np.square(part, dtype=np.float64))) for part in (table, matched))
    # Four deviations of the root mean square of as many normal entries.
    assert of_pad == pytest.approx(root, rel=4 / np.sqrt(2 * matched.size))


def test_only_a_matched_pad_is_scaled():
    roots = {"table_rms": 3.0, "random_rms": 0.006}
    assert pad_scale(parse_variant("pad_100"), **roots) == 1
    assert pad_scale(parse_variant("pad_100_matched"), **roots) == pytest.approx(500)


@pytest.mark.parametrize("factor", [0.01, 1.0, 40.0])
def test_energy_share_is_that_of_the_padded_tables_squares(factor):
    """The expected share, against the share of one padded table."""
    rows, width = 3000, 64
    table = factor * np.random.default_rng(0).normal(size=(rows, width))
    padding = variant_table(table.astype(np.float32), "pad_160", seed=SEED).astype(np.float64)[:, width:]
    roots = {"table_rms": np.sqrt(np.mean(table**2)), "random_rms": random_entry_rms(rows, 160, "legacy_bf16")}
    found = pad_energy_share(width, 160, **roots)
    assert found == pytest.approx(np.sum(padding**2) / (np.sum(padding**2) + np.sum(table**2)), rel=0.01)
    matched = pad_scale(parse_variant("pad_160_matched"), **roots)
    assert pad_energy_share(width, 160, **roots, scale=matched) == pytest.approx(96 / 160, rel=1e-12)
    assert pad_energy_share(width, width, **roots) == 0


def test_a_table_of_zeros_has_no_share_to_match():
    assert pad_energy_share(8, 16, table_rms=0, random_rms=0.1) == 1
    with pytest.raises(ValueError, match="8 wide of root-mean-square entry 0, padded to 16 columns by entries of 0"):
        pad_energy_share(8, 16, table_rms=0, random_rms=0.1, scale=0)
