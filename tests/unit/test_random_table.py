"""The random tables: the study's checksum, torch's arithmetic restated with torch itself, and the block interface."""

import hashlib
import math

import numpy as np
import pytest
import torch

from lm_geometry.embeddings import random_table
from lm_geometry.embeddings.precision import RootMeanSquare, round_table, round_to_bfloat16
from lm_geometry.embeddings.random_table import GENERATORS, random_blocks, random_entry_rms


def draw(rows, columns, seed, **options):
    return np.concatenate(list(random_blocks(rows, columns, seed, **options)))


def bfloat16_bytes(table):
    return (table.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def torch_before_2026(rows, columns, seed):
    """``normal_fill`` of torch 2.0's DistributionTemplates.h, every operation done by torch in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    size = rows * columns

    def uniform(count):
        # bfloat16 uniforms took the low 8 bits of each 32-bit word; random_ below 256 gives the word mod 256.
        words = torch.empty(count, dtype=torch.int64).random_(0, 256, generator=generator)
        return words.to(torch.bfloat16) / 256

    def fill_16(data):
        std = torch.tensor(math.sqrt(2 / (rows + columns)), dtype=torch.bfloat16)
        radius = torch.sqrt(-2 * torch.log(1 - data[:8]))
        angle = (2 * math.pi * data[8:].float()).to(torch.bfloat16)
        return torch.cat([radius * torch.cos(angle) * std + 0, radius * torch.sin(angle) * std + 0])

    data = uniform(size)
    for start in range(0, size - 15, 16):
        data[start : start + 16] = fill_16(data[start : start + 16])
    if size % 16:
        data[-16:] = fill_16(uniform(16))
    return data.reshape(rows, columns).float().numpy()


def test_the_studys_table_has_its_checksum():
    digest = hashlib.sha256(bfloat16_bytes(draw(300, 14336, 42))).hexdigest()
    assert digest.startswith("2b05d178e218e8bb")


@pytest.mark.parametrize(("rows", "columns"), [(4, 32), (1, 16), (37, 5), (7, 3), (50, 1), (3, 33), (18, 1)])
@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_legacy_draw_is_what_torch_did_also_where_16_does_not_divide(rows, columns, seed):
    expected = torch_before_2026(rows, columns, seed)
    assert bfloat16_bytes(draw(rows, columns, seed, block_rows=16)) == bfloat16_bytes(expected)


@pytest.mark.parametrize("words", [1, 2, 7, 1000])
def test_low_bytes_are_those_of_the_twisters_words_in_their_order(words, monkeypatch):
    monkeypatch.setattr(random_table, "_CACHED_WORDS", 16)
    stream, twister = np.random.RandomState(42), np.random.MT19937()
    twister._legacy_seeding(42)
    # numpy's own raw output, one 32-bit word at a time; what follows must continue it.
    for _ in range(2):
        expected = twister.random_raw(words) & 0xFF
        assert random_table._low_bytes(stream, words).tolist() == expected.tolist()


@pytest.mark.parametrize(("rows", "columns"), [(300, 14336), (37, 5), (7, 1)])
def test_torch_draw_is_what_the_installed_torch_gives(rows, columns):
    table = torch.empty(rows, columns, dtype=torch.bfloat16)
    torch.manual_seed(42)
    torch.nn.init.xavier_normal_(table)
    assert np.array_equal(draw(rows, columns, 42, generator="torch", block_rows=16), table.float().numpy())


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("columns", [48, 37])
def test_blocks_and_first_columns_are_parts_of_one_table(generator, columns):
    whole = draw(100, columns, 7, generator=generator)
    assert whole.shape == (100, columns)
    assert whole.dtype == np.float32
    for block_rows in (1, 16, 33, 1000):
        part = draw(100, columns, 7, generator=generator, n_columns=20, block_rows=block_rows)
        assert np.array_equal(part, whole[:, :20])


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("columns", [48, 37])
def test_wanted_rows_are_those_of_the_whole_table(generator, columns):
    whole = draw(100, columns, 7, generator=generator)
    for wanted in ([0], [99], [3, 4, 15, 16, 17, 90], [50, 51], range(100)):
        for block_rows in (16, 1000):
            options = {"n_columns": 20, "wanted": np.array(wanted), "block_rows": block_rows}
            assert np.array_equal(draw(100, columns, 7, generator=generator, **options), whole[wanted, :20])
    none = draw(100, columns, 7, generator=generator, n_columns=20, wanted=np.array([], dtype=int))
    assert none.shape == (0, 20)


@pytest.mark.parametrize("wanted", [[-1, 3], [3, 100], [4, 3], [3, 3]])
def test_wanted_rows_that_do_not_ascend_inside_the_table_are_an_error(wanted):
    with pytest.raises(ValueError, match="must ascend from 0 or more to at most 99"):
        random_blocks(100, 16, 1, wanted=np.array(wanted))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("rows", "columns"), [(988, 2912), (2901, 999)])
def test_root_mean_square_entry_is_that_of_the_draw(generator, rows, columns):
    # At 3,900 rows and columns the nominal deviation is 0.26 % from the nearest bfloat16.
    seen = RootMeanSquare()
    for _ in seen.watched(random_blocks(rows, columns, 3, generator=generator)):
        pass
    # The mean of n squares of normal values varies by sqrt(2 / n): four deviations of its root, 0.16 %.
    expected = pytest.approx(seen.value, rel=4 / math.sqrt(2 * rows * columns))
    assert random_entry_rms(rows, columns, generator) == expected


def test_the_legacy_draws_root_mean_square_has_its_roundings():
    """Both branches at all 65,536 pairs of bytes, every operation done by torch in bfloat16."""
    uniform = torch.arange(256, dtype=torch.int64).to(torch.bfloat16) / 256
    radius = torch.sqrt(-2 * torch.log(1 - uniform))[:, None]
    angle = (2 * math.pi * uniform.float()).to(torch.bfloat16)[None]
    std = torch.tensor(math.sqrt(2 / (50304 + 14336)), dtype=torch.bfloat16)
    entries = torch.stack([radius * torch.cos(angle) * std, radius * torch.sin(angle) * std]).double()
    expected = float(torch.sqrt(torch.mean(entries**2)))
    assert random_entry_rms(50304, 14336, "legacy_bf16") == pytest.approx(expected, rel=1e-14)
    assert random_entry_rms(50304, 14336, "torch") == math.sqrt(2 / (50304 + 14336))


def test_root_mean_square_of_an_unknown_generator_is_an_error():
    with pytest.raises(ValueError, match="'numpy' is unknown: use one of legacy_bf16, torch"):
        random_entry_rms(10, 16, "numpy")


def test_root_mean_square_is_of_the_last_whole_pass():
    blocks = [np.float32([[3, 4]]), np.full((1, 2), 1e30, dtype=np.float32)]
    seen = RootMeanSquare()
    with pytest.raises(ValueError, match="no entry of the table has been read yet"):
        _ = seen.value
    assert list(map(id, seen.watched(blocks))) == list(map(id, blocks))
    assert seen.value == pytest.approx(float(np.float32(1e30)) / math.sqrt(2), rel=1e-12)
    assert len(list(seen.watched(blocks[:1]))) == 1
    assert seen.value == pytest.approx(math.sqrt(12.5))


@pytest.mark.parametrize("generator", GENERATORS)
def test_entries_are_bfloat16_with_xaviers_spread(generator):
    table = draw(500, 400, 1, generator=generator)
    assert np.array_equal(round_to_bfloat16(table), table)
    assert not np.signbit(table[table == 0]).any()
    # 256 levels of the radius lose its tail: the spread is a little under the nominal one in the legacy draw.
    assert table.std() == pytest.approx(math.sqrt(2 / 900), rel=0.02)
    assert abs(table.mean()) < 5 * table.std() / math.sqrt(table.size)


def test_a_narrow_draw_is_another_table_than_the_first_columns_of_a_wide_one():
    narrow, wide = draw(64, 512, 42), draw(64, 1024, 42, n_columns=512)
    assert abs(np.corrcoef(narrow[1:].ravel(), wide[1:].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 3, "columns": 5, "seed": 1}, "3 rows x 5 columns"),
        ({"rows": 0, "columns": 16, "seed": 1}, "0 rows"),
        ({"rows": 9, "columns": 16, "seed": 1, "n_columns": 17}, "17 of 16 columns"),
        ({"rows": 9, "columns": 16, "seed": -1}, "-1 is out of range"),
        ({"rows": 9, "columns": 16, "seed": 2**32}, "4294967296 is out of range"),
        ({"rows": 9, "columns": 16, "seed": 1, "generator": "numpy"}, "'numpy' is unknown: use one of legacy_bf16"),
    ],
)
def test_arguments_out_of_range_are_named_at_the_call(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_blocks(**arguments)


def test_rounding_to_bfloat16_is_torchs():
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0, -0.0, 1.00390625, 1.01171875, 1e-40])])
    values = values[np.abs(values) < 3e38]
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    assert np.array_equal(round_to_bfloat16(values).view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(round_table(values, "bfloat16"), expected)
    assert np.array_equal(round_table(values, "float32"), values)


def test_unknown_precision_is_named():
    with pytest.raises(ValueError, match="'float16' is unknown: use one of bfloat16, float32"):
        round_table(np.ones((2, 2), dtype=np.float32), "float16")
