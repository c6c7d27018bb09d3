"""Chunks: of exact length, within a page, apart from each other, and the seed's alone; by characters and by tokens."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from lm_geometry import provenance
from lm_geometry.corpus import token_windows as windows_module
from lm_geometry.corpus.chunks import sample_chunks, sample_token_chunks
from lm_geometry.corpus.dump import read_dump
from lm_geometry.corpus.enwik8 import open_unpacked
from lm_geometry.corpus.pages import write_pages
from lm_geometry.corpus.token_windows import token_windows
from lm_geometry.corpus.wikitext import clean_wikitext, is_redirect
from lm_geometry.tables.corpus_statistics import SCHEMA as STATISTICS
from lm_geometry.tables.files import file_sha256, read_table, write_table
from lm_geometry.tokenizer_file import read_tokenizer
from scripts import sample_chunks as script


@pytest.fixture
def pages():
    """Pages of uneven length in which every character tells its page and every stretch its place."""
    lengths = np.random.default_rng(5).integers(0, 400, size=60)
    return ["".join(chr(0x4E00 + 500 * number + place) for place in range(n)) for number, n in enumerate(lengths)]


def draw(pages, *, n_chunks=100, seed=0):
    return sample_chunks(pages, chunk_characters=32, n_chunks=n_chunks, seed=seed)


def test_chunks_lie_within_a_page_and_have_the_exact_length(pages):
    for chunk in draw(pages):
        assert len(chunk.text) == 32
        assert pages[chunk.page][chunk.start : chunk.start + 32] == chunk.text
        assert len({(ord(character) - 0x4E00) // 500 for character in chunk.text}) == 1


def test_chunks_do_not_overlap_even_when_all_are_drawn(pages):
    everything = sum(len(page) // 32 for page in pages)
    characters = [character for chunk in draw(pages, n_chunks=everything) for character in chunk.text]
    assert len(set(characters)) == len(characters) == 32 * everything


def test_the_seed_decides(pages):
    assert draw(pages, seed=1) == draw(pages, seed=1)
    assert draw(pages, seed=1) != draw(pages, seed=2)


def test_order_is_random(pages):
    chunks = draw(pages)
    pages_in_order = [chunk.page for chunk in chunks]
    assert abs(stats.spearmanr(range(len(chunks)), pages_in_order).statistic) < 0.35


def test_every_window_is_equally_likely():
    pages = ["a" * 25, "b" * 9, "c" * 70]
    found = Counter(
        (c.page, c.start) for s in range(3000) for c in sample_chunks(pages, chunk_characters=10, n_chunks=3, seed=s)
    )
    assert set(found) == {(0, 0), (0, 10), *((2, 10 * n) for n in range(7))}
    # Under equal likelihood every count is 1000 with a standard deviation of 26; five of them bound nine counts.
    assert max(abs(count - 1000) for count in found.values()) < 130


def test_characters_are_counted_and_not_bytes():
    (chunk,) = sample_chunks(["äöü€" * 3], chunk_characters=12, n_chunks=1, seed=0)
    assert chunk.text == "äöü€" * 3


def test_too_few_windows_name_both_numbers_and_the_fix():
    with pytest.raises(ValueError, match=r"n_chunks is 5, but .* 3 windows of 10 characters.*2 pages.*lower n_chunks"):
        sample_chunks(["a" * 25, "b" * 19], chunk_characters=10, n_chunks=5, seed=0)


@pytest.mark.parametrize(("name", "settings"), [("n_chunks", (10, 0)), ("chunk_characters", (0, 10))])
def test_numbers_must_be_positive(name, settings):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        sample_chunks(["a" * 25], chunk_characters=settings[0], n_chunks=settings[1], seed=0)


def test_no_pages_at_all():
    with pytest.raises(ValueError, match="0 windows"):
        sample_chunks([], chunk_characters=10, n_chunks=1, seed=0)


# -- by tokens ---------------------------------------------------------------------------------------------------------


def word_tokenizer():
    """A token is a word or a punctuation mark; blanks belong to none."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def byte_tokenizer():
    """A token is a byte."""
    tokenizer = Tokenizer(models.BPE({c: n for n, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def cut(page, tokenizer, chunk_tokens):
    (windows,) = token_windows([page], tokenizer, chunk_tokens)
    return [page[start:end] for start, end in windows]


def test_windows_end_where_their_last_token_ends():
    assert cut("one two, three  four\n five six", word_tokenizer(), 3) == ["one two,", " three  four\n five"]


def test_windows_of_a_page_with_too_few_tokens():
    assert [len(of_page) for of_page in token_windows(["", "one", "one two"], word_tokenizer(), 2)] == [0, 0, 1]


def test_a_border_inside_a_character_moves_behind_it():
    # Bytes: a | é é | € € € | b, and after each second byte a border; the fourth byte is €'s first.
    assert cut("aé€b", byte_tokenizer(), 2) == ["aé", "€"]
    assert cut("🐜🐜", byte_tokenizer(), 1) == ["🐜", "🐜"]


def test_a_character_that_is_read_as_several_tokens_stays_whole():
    tokenizer = Tokenizer(models.BPE({c: n for n, c in enumerate("abx12\u2044")}, []))
    tokenizer.normalizer = normalizers.NFKC()
    assert cut("a½b", tokenizer, 2) == ["a½"]
    assert cut("½ab", tokenizer, 2) == ["½", "a"]


def test_special_tokens_and_the_file_s_own_cuts_do_not_count(tmp_path):
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens(["[CLS]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(max_length=3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert cut("a b c d e", read_tokenizer(tmp_path / "tokenizer.json"), 2) == ["a b", " c d"]


def test_a_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json"):
        read_tokenizer(tmp_path / "tokenizer.json")


@pytest.fixture(scope="module")
def words():
    """Pages of numbered words."""
    counts = np.random.default_rng(6).integers(0, 90, size=50)
    return [" ".join(f"p{page}w{place}" for place in range(n)) for page, n in enumerate(counts)]


def test_token_chunks_hold_their_words_and_overlap_nowhere_even_when_all_are_drawn(words):
    everything = sum(page.count(" ") + 1 for page in words if page) - sum(len(page.split()) % 7 for page in words)
    chunks = sample_token_chunks(words, tokenizer=word_tokenizer(), chunk_tokens=7, n_chunks=everything // 7, seed=0)
    assert all(words[c.page][c.start : c.start + len(c.text)] == c.text for c in chunks)
    assert all(len(c.text.split()) == 7 and len({w.split("w")[0] for w in c.text.split()}) == 1 for c in chunks)
    drawn = [word for chunk in chunks for word in chunk.text.split()]
    assert len(set(drawn)) == len(drawn) == everything


def test_token_chunks_are_drawn_as_those_of_characters_are(words):
    """Pages of as many windows either way: the same pages and places come in the same order."""
    pages = ["ab " * n for n in (10, 3, 28)]
    by_words = sample_token_chunks(pages, tokenizer=word_tokenizer(), chunk_tokens=2, n_chunks=12, seed=3)
    by_characters = sample_chunks(pages, chunk_characters=6, n_chunks=12, seed=3)
    assert [(c.page, (c.start + 1) // 6) for c in by_words] == [(c.page, c.start // 6) for c in by_characters]


def test_blocks_change_no_window(words, monkeypatch):
    whole = token_windows(words, word_tokenizer(), 5)
    monkeypatch.setattr(windows_module, "_BLOCK_CHARACTERS", max(map(len, words)))
    for once, twice in zip(whole, token_windows(words, word_tokenizer(), 5), strict=True):
        assert np.array_equal(once, twice)


def test_a_long_page_is_cut_at_lines_and_windows_begin_anew(monkeypatch):
    monkeypatch.setattr(windows_module, "_BLOCK_CHARACTERS", 30)
    lines = [f"l{n}a l{n}b l{n}c l{n}d l{n}e\n" for n in range(9)]
    # 20 characters a line: one line a piece, and of its five words two windows of two.
    assert cut("".join(lines), word_tokenizer(), 2) == [
        text for n in range(9) for text in (f"l{n}a l{n}b", f" l{n}c l{n}d")
    ]
    assert cut("x" * 70, byte_tokenizer(), 20) == ["x" * 20] * 2  # without a line's end: pieces of 30, 30 and 10


def test_the_seed_decides_token_chunks_too(words):
    first, again, other = (
        sample_token_chunks(words, tokenizer=word_tokenizer(), chunk_tokens=3, n_chunks=50, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_too_few_token_windows_name_both_numbers_and_the_fix():
    with pytest.raises(
        ValueError, match=r"n_chunks is 3, but .* 2 windows of 2 tokens.*lower n_chunks or chunk_tokens"
    ):
        sample_token_chunks(["a b c", "d e"], tokenizer=word_tokenizer(), chunk_tokens=2, n_chunks=3, seed=0)
    with pytest.raises(ValueError, match="chunk_tokens is 0"):
        sample_token_chunks(["a b c"], tokenizer=word_tokenizer(), chunk_tokens=0, n_chunks=1, seed=0)


# -- by the tokens of real tokenizers ----------------------------------------------------------------------------------

REAL = ["bert-base-uncased", "falcon", "gpt-neox-20b", "gpt2", "roberta-base", "t5", "stories260K"]
# These put a blank before every text, so that the second half of a word, alone, may be a token more.
BLANK_FIRST = {"t5", "stories260K"}


@pytest.fixture(scope="module")
def real_pages(shared_data):
    with open_unpacked(shared_data / "enwik8_prefix" / "enwik8_first_4154399.bin.xz") as stream:
        articles = [text for text in read_dump(stream) if text and not is_redirect(text)]
    # The two with the largest alphabets hold many characters that are several tokens.
    return [
        clean_wikitext(text) for text in [*articles[:40:4], *sorted(articles, key=lambda text: -len(set(text)))[:2]]
    ]


@pytest.fixture(params=REAL)
def real_tokenizer(request, shared_data, tmp_path):
    name = request.param
    if name == "stories260K":
        return name, shared_data / "models" / name / "tokenizer.json"
    AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name).save_pretrained(tmp_path)
    return name, tmp_path / "tokenizer.json"


def test_windows_of_real_tokenizers(real_pages, real_tokenizer):
    """In its page every window ends a whole number of chunks of tokens; alone it holds about as many."""
    name, path = real_tokenizer
    tokenizer = read_tokenizer(path)
    length = 64
    alone = []
    for page, windows in zip(real_pages, token_windows(real_pages, tokenizer, length), strict=True):
        ends = [end for _, end in tokenizer.encode(page, add_special_tokens=False).offsets]
        assert len(windows) == len(ends) // length
        assert [start for start, _ in windows] == [0, *(end for _, end in windows[:-1])]
        assert [end for _, end in windows] == ends[length - 1 :: length]
        texts = [page[start:end] for start, end in windows]
        alone += [len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
    off = np.array(alone) - length
    assert np.mean(np.abs(off) <= 1) > 0.96, Counter(off)
    assert np.mean(off == 0) > (0.3 if name in BLANK_FIRST else 0.95), Counter(off)


def test_token_chunks_through_the_script(real_pages, shared_data, tmp_path):
    clean, statistics, chunks = (tmp_path / name for name in ("clean.txt", "statistics.parquet", "chunks.parquet"))
    with clean.open("w", encoding="utf-8", newline="") as file:
        write_pages(real_pages, file)
    write_table(statistics, STATISTICS.empty_table(), STATISTICS, origin={"corpus_sha256": "c0ffee"})
    path = shared_data / "tokenizers" / "gpt-neox-20b" / "tokenizer.json"
    files = {"clean": clean, "statistics": statistics, "chunks": chunks, "tokenizer": [path]}
    script.sample_chunks(**files, chunk_characters=None, chunk_tokens=128, n_chunks=200, seed=5)
    facts = provenance.read(chunks)
    assert facts["origin"] == {"corpus_sha256": "c0ffee"}
    digest = file_sha256(path)
    assert facts["settings"] == {"chunk_tokens": 128, "n_chunks": 200, "seed": 5, "tokenizer_sha256": digest}
    rows = read_table(chunks).to_pylist()
    assert [row["chunk"] for row in rows] == list(range(200))
    assert all(row["text"] in real_pages[row["page"]] for row in rows)
    counted = read_tokenizer(path).encode_batch([row["text"] for row in rows], add_special_tokens=False)
    assert np.median([len(one.ids) for one in counted]) == 128


@pytest.mark.parametrize(
    "given",
    [{}, {"chunk_characters": 5, "chunk_tokens": 5}, {"chunk_tokens": 5}, {"chunk_characters": 5, "tokenizer": ["a"]}],
    ids=["no length", "two lengths", "no tokenizer", "a tokenizer too many"],
)
def test_the_script_takes_one_length(tmp_path, given):
    with pytest.raises(ValueError, match="give chunk_characters, or chunk_tokens and one tokenizer"):
        script.sample_chunks(clean=tmp_path, statistics=tmp_path, chunks=tmp_path / "c", n_chunks=1, seed=0, **given)
