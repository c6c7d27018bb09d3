"""Variants against the study's recipe, which concatenates and cuts torch tensors."""

import numpy as np
import pytest
import torch

from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.embeddings.variants import (
    STUDY_COLUMNS,
    ColumnSlice,
    needed_columns,
    parse_variant,
    variant_table,
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
    ],
)
def test_variants_that_a_table_cannot_have_are_errors(name, width, message):
    with pytest.raises(ValueError, match=message):
        variant_table(np.zeros((8, width), dtype=np.float32), name)


@pytest.mark.parametrize("name", ["asis", "crop", "crop_", "crop_0", "crop_012", "pad_-1", "pad_x", "random_tokenizer"])
def test_unknown_names_are_errors_that_list_the_known(name):
    with pytest.raises(ValueError, match=rf"unknown variant '{name}': use as_is, random, crop_<columns>"):
        parse_variant(name)


def test_facts_of_a_variant():
    assert [parse_variant(name).width(64) for name in ("as_is", "random", "crop_16", "pad_100")] == [64, 64, 16, 100]
    assert [parse_variant(name).uses_seed for name in ("as_is", "random", "crop_16", "pad_100")] == [0, 1, 0, 1]


def test_random_and_the_widest_pad_share_one_draw():
    parts = [part for name in ("as_is", "random", "pad_14336", "pad_512") for part in parse_variant(name).slices(64)]
    assert needed_columns(parts) == {14336: 14336, 512: 512}
    assert needed_columns(parse_variant("random").slices(64)) == {14336: 64}
