"""The page says what is in the tables, is valid HTML, and stands with either study left out."""

from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pytest

from lm_geometry import summary
from lm_geometry.figures import style
from lm_geometry.tables import geometry as geometry_table
from lm_geometry.tables import ledger as ledger_table
from lm_geometry.tables import retrieval_scores
from lm_geometry.tables.files import write_table
from scripts.write_summary import write_summary

GAP = "crop_32 needs at least 32 columns, the table has 16"
EMPTY = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps the visible text, the links and the rows of tables."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.links, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag != "script"
        if tag not in EMPTY:
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.text).split())


def score_row(model, width, variant, metric, value, *, seed=None, status="ok"):
    return {
        "model": model, "suite": "A & B", "revision": "main", "tokenizer": "tok", "vocab_rows": 300,
        "embedding_dim": width, "variant": variant, "width": width, "seed": seed, "table_precision": "float32",
        "collection": "docs", "metric": metric, "value": value, "n_queries": 77, "status": status,
    }  # fmt: skip


@pytest.fixture
def scores():
    rows = []
    for metric in ("ndcg_at_10", "map_at_100", "recall_at_10"):
        rows += [score_row("m-16", 16, "as_is", metric, 0.1), score_row("<b>m-64", 64, "as_is", metric, 0.4)]
        for seed, value in ((42, 0.2), (43, 0.3)):
            rows += [
                score_row(name, width, "random", metric, value, seed=seed)
                for name, width in (("m-16", 16), ("<b>m-64", 64))
            ]
        rows.append(score_row("m-16", 16, "crop_32", metric, None, status=GAP))
    return pa.Table.from_pylist(rows, schema=retrieval_scores.SCHEMA)


@pytest.fixture
def geometry():
    rows = []
    values = {"anisotropy": (0.9, 0.3, 0.2), "twonn_090": (99.0, 10.0, 12.0), "twonn_020": (99.0, 14.0, 13.0)}
    for statistic, by_layer in values.items():
        for suffix in ("", "_type_matched"):
            for layer, value in enumerate(by_layer):
                bad = suffix and statistic == "twonn_020"
                rows.append(
                    {
                        "model": "m-16", "suite": "A & B", "kind": "decoder", "stack": "decoder", "revision": "main",
                        "step": None, "layer": layer, "after_final_norm": False,
                        "context_free": layer == 0, "width": 16,
                        "statistic": statistic + suffix, "value": None if bad else value, "std": None, "ci_low": None,
                        "ci_high": None, "n_batches": 8, "batch_size": 512, "n_vectors": 512, "n_distinct": 512,
                        "status": "too few token types" if bad else "ok",
                    }
                )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=geometry_table.SUMMARY)


@pytest.fixture
def run(tmp_path, scores, geometry):
    """A finished run: two tables, one figure, and the arguments for its page."""
    tables = [tmp_path / "tables" / "retrieval_scores.parquet", tmp_path / "tables" / "geometry.parquet"]
    write_table(tables[0], scores, retrieval_scores.SCHEMA, origin={"collection_sha256": "ab12", "model_id": "x<y"})
    write_table(tables[1], geometry, geometry_table.SUMMARY, origin={"corpus_sha256": "cd34"})
    figure = tmp_path / "figures" / "suite scaling" / "A&B.png"
    figure.parent.mkdir(parents=True)
    for ending in (".png", ".svg", ".pdf", ".parquet", ".csv"):
        figure.with_suffix(ending).write_bytes(b"")
    caption = figure.with_suffix(".rst")
    caption.write_text(style.caption_to_rst("Suite A & B.\n\nScores of <b>m-64 as_is."))
    return {"figures": [figure], "captions": [caption], "tables": tables, "summary": tmp_path / "summary.html"}


def page_of(run, **changes):
    arguments = {**run, "title": "A & B <script>", **changes}
    write_summary(**arguments)
    return Page(arguments["summary"].read_text(encoding="utf-8"))


def test_names_and_captions_are_text_not_markup(run):
    page = page_of(run)
    text = run["summary"].read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<b>" not in text
    assert "A & B <script>" in page.said
    assert "Scores of <b>m-64 as_is." in page.said


def test_links_lead_to_the_figures_from_where_the_page_lies(run):
    page = page_of(run)
    linked = {(run["summary"].parent / unquote(link)).resolve() for link in page.links}
    assert linked == {run["figures"][0].with_suffix(end) for end in (".png", ".svg", ".pdf", ".parquet", ".csv")}
    assert not any(link.startswith(("/", "http", "file")) for link in page.links)


def test_the_heads_are_the_tables_own_numbers(run, scores, geometry):
    page = page_of(run)
    assert ["A & B", "m-16", "main", "16", "300", "tok", "10.00", "10.00", "25.00", "25.00"] in page.rows
    frame = scores.to_pandas().query("variant == 'as_is' and metric == 'ndcg_at_10'")
    heads = summary.score_heads(scores.to_pandas())
    assert list(heads["model"]) == ["m-16", "<b>m-64"]
    assert list(heads["nDCG@10"]) == list(100 * frame.set_index("model")["value"][heads["model"]])
    # Layer 0 is a bare look-up: its 0.9 and 99 count type-matched only.
    head = summary.geometry_heads(geometry.to_pandas()).iloc[0]
    assert head["largest anisotropy"] == "0.300 in layer 1"
    assert head["largest, type-matched"] == "0.900 in layer 0"
    assert (head["TwoNN, fit 0.9"], head["TwoNN, fit 0.2"]) == ("10.0 to 12.0", "13.0 to 14.0")


def test_every_gap_is_told_once_with_its_reason(run, geometry):
    page = page_of(run)
    assert [row for row in page.rows if row[-1] == GAP] == [["m-16", "crop_32, width 16", GAP]]
    gaps = summary.geometry_gaps(geometry.to_pandas())
    assert gaps.to_numpy().tolist() == [
        ["m-16 main", "twonn_020_type_matched; decoder layer 0, 1 and 2", "too few token types"]
    ]
    assert "too few token types" in page.said


def test_a_run_without_gaps_says_so(scores):
    whole = pa.Table.from_pandas(scores.to_pandas().query("status == 'ok'"), schema=retrieval_scores.SCHEMA)
    page = Page(summary.render(title="t", pictures=[], scores=whole))
    assert "None: everything that was asked for has a value." in page.said


def test_the_page_says_which_trained_tables_score_below_random_ones(run, scores):
    assert "below the mean of random ones of their shape: by nDCG@10 and MAP@100 m-16." in page_of(run).said
    better = scores.to_pandas()
    better.loc[better["variant"] == "as_is", "value"] = 0.9
    page = Page(summary.render(title="t", pictures=[], scores=pa.Table.from_pandas(better)))
    assert "below the mean" not in page.said


@pytest.mark.parametrize("kept", [0, 1])
def test_a_study_that_was_left_out_is_said_to_be(run, kept):
    page = page_of(run, tables=[run["tables"][kept]])
    missing = ("representation-dynamics", "embedding-scaling")[kept]
    assert f"The {missing} study was not run." in page.said


def test_provenance_is_on_the_page(run):
    page = page_of(run)
    assert ["collection_sha256", "ab12"] in page.rows
    assert ["model_id", "x<y"] in page.rows
    assert ["corpus_sha256", "cd34"] in page.rows
    assert f"pandas {pd.__version__}" in page.said or "pyarrow" in page.said


def test_the_same_run_gives_the_same_page(run, tmp_path):
    page_of(run)
    first = run["summary"].read_bytes()
    page_of(run)
    assert run["summary"].read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_inputs_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="1 figures and 0 captions"):
        page_of(run, captions=[])
    other = run["tables"][0].rename(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet"):
        page_of(run, tables=[other])
    assert not run["summary"].exists()


# -- the ledger --------------------------------------------------------------------------------------------------------


def ledger_row(model, revision, **facts):
    step = int(revision[4:]) if revision.startswith("step") else None
    return {
        "model": model, "suite": "A & B", "source": f"owner/{model}", "revision": revision, "step": step,
        "commit": "ab" * 20, "weight_format": "safetensors", "n_weight_files": 1, "checkpoint_bytes": 10_000_000,
        **facts,
    }  # fmt: skip


def ledger_of(rows):
    return pa.Table.from_pylist(rows, schema=ledger_table.SCHEMA)


def page_with(ledger):
    return Page(summary.render(title="t", pictures=[], ledger=ledger_of(ledger)))


def extracted(n_bytes, verified="crc32"):
    return {"embedding_bytes_read": n_bytes, "verified": verified}


def test_the_page_says_what_was_read_of_how_much():
    rows = [
        ledger_row("m-16", "main", **extracted(400_000)),
        ledger_row("m-64", "main", checkpoint_bytes=30_000_000, **extracted(800_000)),
        ledger_row("m-64", "step1"),
    ]
    said = page_with(rows).said
    assert "The weights of 2 models at 3 revisions are 50 MB." in said
    assert "The embedding tables of 2 models took 1.2 MB of checkpoints of 40 MB." in said
    assert "took" not in page_with(rows[2:]).said
    assert "The weights of 1 model at 1 revision are 10 MB." in page_with(rows[2:]).said


def test_where_there_is_nothing_to_say_nothing_is_said():
    assert "Checkpoints" not in Page(summary.render(title="t", pictures=[])).said
    assert "Checkpoints" not in page_with([]).said
    page = page_with([ledger_row("m-16", "main", **extracted(400_000))])
    assert "other checkpoints" not in page.said
    assert "Published" not in page.said
    assert "digest" not in page.said
    assert page.rows == []


def test_copies_are_warned_of_and_those_that_are_alike_are_one_row():
    rows = [ledger_row("m-16", f"step{step}") for step in (1, 2)]
    rows += [
        ledger_row("m-16", f"step{step}", duplicate_of="main", published_defect="confirmed") for step in range(3, 9)
    ]
    rows += [ledger_row("m-16", "step9", duplicate_of="step1, step2"), ledger_row("m-16", "main")]
    page = page_with(rows)
    assert "those of other checkpoints: 7 of 9 of m-16. Figures over training leave them out." in page.said
    assert page.rows[1:] == [
        ["m-16", "6", "step3, step4, step5, step6 and 2 more", "main", "confirmed"],
        ["m-16", "1", "step9", "step1 and step2", "not published"],
    ]


def test_published_defects_that_the_digests_do_not_confirm_are_named():
    rows = [
        ledger_row("m-16", "step1", duplicate_of="step0", published_defect="confirmed"),
        ledger_row("m-16", "step2", published_defect="not confirmed"),
        ledger_row("m-64", "step3", published_defect="not in this run"),
    ]
    said = page_with(rows).said
    assert "do not show here: m-16 step2 (not confirmed); m-64 step3 (what it equals is not in this run)." in said
    assert "m-16 step1" not in said


def test_tables_that_were_checked_against_no_digest_are_named():
    rows = [
        ledger_row("m-16", "main", **extracted(1, "none")),
        ledger_row("m-32", "main", **extracted(1, "crc32")),
        ledger_row("m-64", "main", **extracted(1, "sha256")),
        ledger_row("m-128", "main"),
    ]
    said = page_with(rows).said
    assert "checked against no digest: the embedding tables of m-16 main. With verify: full" in said


def test_the_script_takes_the_ledger_among_the_tables(run, tmp_path):
    ledger = tmp_path / "tables" / "ledger.parquet"
    write_table(ledger, ledger_of([ledger_row("m-16", "main", **extracted(27_400))]), ledger_table.SCHEMA)
    assert "took 27.4 kB of checkpoints of 10 MB." in page_of(run, tables=[*run["tables"], ledger]).said


def test_copies_are_not_counted_as_followed_checkpoints(geometry):
    rows = geometry.to_pandas()
    steps = [rows.assign(revision=f"step{step}", step=step) for step in (0, 1, 2)]
    steps[1]["duplicate_of"] = "step2"
    table = pa.Table.from_pandas(pd.concat([rows, *steps]), schema=geometry_table.SUMMARY, preserve_index=False)
    assert "m-16 at 2 checkpoints" in Page(summary.render(title="t", pictures=[], geometry=table)).said


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (27_400, "27.4 kB"), (999_999, "1 MB"), (1.2e6, "1.2 MB"), (2e12, "2 TB")],
)
def test_sizes_are_said_in_three_digits(count, words):
    table = ledger_of([ledger_row("m", "main", checkpoint_bytes=int(count))])
    assert f"are {words}." in Page(summary.render(title="t", pictures=[], ledger=table)).said
