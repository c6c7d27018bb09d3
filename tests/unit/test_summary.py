"""The page says what is in the tables, is valid HTML, and stands with either study left out."""

from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pytest

from lm_geometry import summary
from lm_geometry.figures import style
from lm_geometry.summary.dynamics import geometry_gaps, geometry_heads
from lm_geometry.summary.scores import score_heads
from lm_geometry.tables import (
    claims,
    comparisons,
    corpus_statistics,
    embedding_geometry,
    embedding_training,
    geometry_comparisons,
    geometry_layer_means,
    published_comparison,
    retrieval_scores,
    suite_peaks,
)
from lm_geometry.tables import geometry as geometry_table
from lm_geometry.tables import ledger as ledger_table
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
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.text).split())


def score_row(model, width, variant, metric, value, *, seed=None, status="ok", **facts):
    return {
        "model": model, "suite": "A & B", "revision": "main", "tokenizer": "tok", "vocab_rows": 300,
        "embedding_dim": width, "variant": variant, "width": width, "seed": seed, "table_precision": "float32",
        "collection": "docs", "metric": metric, "value": value, "n_queries": 77, "status": status,
        **facts,
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
    values = {
        "anisotropy": (0.9, 0.3, 0.2), "twonn_090": (99.0, 10.0, 12.0), "twonn_020": (99.0, 14.0, 13.0),
        "anisotropy_without_first": (0.8, 0.1, 0.15), "same_token_neighbors": (1.0, 0.9712, 0.84),
    }  # fmt: skip
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
                        "status": "too few token types" if bad else "ok", "dtype": "float32",
                        "label": "no single dimension" if statistic == "twonn_090" and layer == 1 else "one dimension",
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
    summary = tmp_path / "summary.html"
    return {"figures": [figure], "captions": [caption], "tables": tables, "corpus": [], "summary": summary}


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
    heads = score_heads(scores.to_pandas())
    assert list(heads["model"]) == ["m-16", "<b>m-64"]
    assert list(heads["nDCG@10"]) == list(100 * frame.set_index("model")["value"][heads["model"]])
    # Layer 0 is a bare look-up: its 0.9 and 99 count type-matched only.
    head = geometry_heads(geometry.to_pandas()).iloc[0]
    assert head["largest anisotropy"] == "0.300 in layer 1"
    assert head["largest, type-matched"] == "0.900 in layer 0"
    assert head["largest, sinks off"] == "0.150 in layer 2"
    assert (head["TwoNN, fit 0.9"], head["TwoNN, fit 0.2"]) == ("10.0 to 12.0", "13.0 to 14.0")
    assert (head["no single dimension"], head["no single dimension, type-matched"]) == ("1 of 2", "1 of 3")
    assert head["same token"] == "84 to 97 %"
    assert head["mean over layers"] == "none"


def test_every_gap_is_told_once_with_its_reason(run, geometry):
    page = page_of(run)
    assert [row for row in page.rows if row[-1] == GAP] == [["m-16", "crop_32, width 16", GAP]]
    gaps = geometry_gaps(geometry.to_pandas())
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
    with pytest.raises(ValueError, match="statistics of 2"):
        page_of(run, corpus=[other, other])
    assert not run["summary"].exists()


# -- hidden states -----------------------------------------------------------------------------------------------------


def page_of_geometry(geometry, **tables):
    return Page(summary.render(title="t", pictures=[], geometry=geometry, **tables))


def changed(geometry, **columns):
    return pa.Table.from_pandas(
        geometry.to_pandas().assign(**columns), schema=geometry_table.SUMMARY, preserve_index=False
    )


def test_the_text_is_told_with_its_bytes_pages_characters_and_alphabets(run, tmp_path):
    found = {
        "format": "mediawiki_xml", "raw_bytes": 100_000_000, "distinct_bytes": 205, "pages": 12_345, "redirects": 6_789,
        "empty_pages": 12, "unparsed_pages": 3, "unfinished_pages": 1, "characters": 65_432_100, "alphabet_size": 4_321,
        "corpus_sha256": "ab",
    }  # fmt: skip
    path = tmp_path / "statistics.parquet"
    write_table(
        path, pa.Table.from_pylist([found], schema=corpus_statistics.SCHEMA), corpus_statistics.SCHEMA, origin={}
    )
    said = page_of(run, corpus=[path]).said
    assert "a MediaWiki dump of 100,000,000 bytes, of which 205 are distinct; cleaned, 12,345 pages" in said
    assert "65,432,100 characters, of which 4,321 are distinct. Left out: 6,789 redirects" in said
    assert "3 pages could not be parsed and were kept as text" in said
    assert "The text:" not in page_of(run).said


def test_the_mean_over_layers_stands_with_its_interval(geometry):
    row = {
        "model": "m-16", "suite": "A & B", "kind": "decoder", "revision": "main", "stack": "decoder",
        "statistic": "twonn_090", "value": 11.0, "ci_low": 10.52, "ci_high": 11.48, "n_layers": 2, "n_batches": 8,
        "batch_size": 512, "n_distinct": 512, "status": "ok",
    }  # fmt: skip
    rows = [row, {**row, "revision": "step1", "value": 5.0}, {**row, "statistic": "twonn_020", "value": 6.0}]
    means = pa.Table.from_pylist(rows, schema=geometry_layer_means.SCHEMA)
    page = page_of_geometry(geometry, layer_means=means)
    assert "11.0 (10.5 to 11.5)" in page.rows[1]
    gap = pa.Table.from_pylist([{**row, "value": None}], schema=geometry_layer_means.SCHEMA)
    assert geometry_heads(geometry.to_pandas(), gap.to_pandas())["mean over layers"][0] == "none"


def test_half_precision_is_flagged(geometry):
    assert "float32" not in page_of_geometry(geometry).said
    said = page_of_geometry(changed(geometry, dtype="float16")).said
    assert "Not run in float32, which the measures ask for: m-16 in float16." in said


def compared(comparison, statistic, p):
    return {
        "comparison": comparison, "stack": "decoder", "statistic": statistic, "model_a": "m-16", "revision_a": "main",
        "model_b": "m-16", "revision_b": "main", "p_holm": p, "n_batches": 8, "status": "ok" if p else "degenerate",
    }  # fmt: skip


def test_how_many_layers_and_checkpoints_differ_is_said(geometry):
    rows = [compared("layers", "anisotropy", p) for p in (0.01, 0.049, 0.05, None)]
    rows += [compared("layers", "twonn_090", 0.2), compared("layers", "twonn_mle", 0.01)]
    rows += [compared("steps", "twonn_090_type_matched", 0.001), compared("models", "anisotropy_excess", None)]
    table = pa.Table.from_pylist(rows, schema=geometry_comparisons.SCHEMA)
    assert (
        "differ neighbouring layers in 2 of 3 pairs by anisotropy and 0 of 1 pairs by dimension; checkpoints, over "
        "their layers in 1 of 1 pairs by dimension type-matched."
    ) in page_of_geometry(geometry, geometry_comparisons=table).said
    assert "Over the same batches" not in page_of_geometry(geometry, geometry_comparisons=table.slice(0, 0)).said


def test_degenerate_layers_do_not_flood_the_page(geometry):
    rows = geometry.to_pandas()
    parts = []
    for step in range(9):
        part = rows.assign(revision=f"step{step}", step=step, value=None)
        counts = [f"{step} distinct rows among {n}; at least 10 are needed" for n in part["layer"] + 512]
        parts.append(part.assign(status=counts))
    gaps = geometry_gaps(pd.concat(parts))
    assert gaps.to_numpy().tolist() == [
        [
            "m-16 step0, step1, step2, step3 and 5 more",
            "anisotropy, anisotropy_type_matched, twonn_090, twonn_090_type_matched and 6 more; "
            "decoder layer 0, 1 and 2",
            "0 distinct rows among 512; at least 10 are needed",
        ]
    ]


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


# -- scores, their intervals and their order ---------------------------------------------------------------------------


def page_of_tables(**tables):
    return Page(summary.render(title="t", pictures=[], **tables))


def test_scores_stand_with_their_intervals_in_percent():
    rows = [
        score_row("m-16", 16, "as_is", "ndcg_at_10", 0.1, ci_low=0.0812, ci_high=0.125),
        score_row("m-64", 64, "as_is", "ndcg_at_10", 0.4),
        score_row("m-64", 64, "random", "ndcg_at_10", 0.3, seed=42, ci_low=0.2, ci_high=0.4),
    ]
    page = page_of_tables(scores=pa.Table.from_pylist(rows, schema=retrieval_scores.SCHEMA))
    assert page.rows[0][-3:] == ["nDCG@10", "nDCG@10, 95 %", "nDCG@10, random"]
    assert [row[-3:] for row in page.rows[1:]] == [["10.00", "8.12 to 12.50", "none"], ["40.00", "", "30.00"]]
    assert "MAP@100" not in page.said


def peak_row(suite, model, metric, value, share, variant="as_is"):
    return {
        "suite": suite, "collection": "docs", "metric": metric, "variant": variant, "model": model, "embedding_dim": 16,
        "value": value, "share_best": share, "n_resamples": 10_000, "n_queries": 77,
    }  # fmt: skip


def pair_row(kind, suite, metric, p, variant="as_is"):
    return {
        "kind": kind, "suite": suite, "collection": "docs", "metric": metric, "model_a": "a", "variant_a": variant,
        "model_b": "b", "variant_b": variant, "difference": 0.1, "ci_low": 0.0, "ci_high": 0.2, "p_t": 0.0,
        "p_sign_flip": 0.0, "p_holm": p, "n_queries": 77, "n_seeds_a": 1, "n_seeds_b": 1,
    }  # fmt: skip


def test_the_best_model_of_each_suite_stands_with_its_share_and_the_pairs_that_differ(scores):
    peaks = [
        peak_row("S", "small", "ndcg_at_10", 0.2, 0.125), peak_row("S", "large", "ndcg_at_10", 0.3, 0.875),
        peak_row("S", "small", "map_at_100", 0.3, 0.6), peak_row("S", "large", "map_at_100", 0.2, 0.4),
        peak_row("S", "chance", "ndcg_at_10", 0.9, 1.0, variant="random"), peak_row("Alone", "m", "ndcg_at_10", 1, 1),
    ]  # fmt: skip
    pairs = [
        *(pair_row("models", "S", "ndcg_at_10", p) for p in (0.001, 0.049, 0.05)),
        pair_row("models", "S", "ndcg_at_10", 0.001, variant="random"),
        pair_row("variants", "S", "map_at_100", 0.2),
    ]
    tables = {
        "peaks": pa.Table.from_pylist(peaks, schema=suite_peaks.SCHEMA),
        "comparisons": pa.Table.from_pylist(pairs, schema=comparisons.SCHEMA),
    }
    page = page_of_tables(scores=scores, **tables)
    assert ["S", "nDCG@10", "large", "87.50", "2 of 3", ""] in page.rows
    assert ["S", "MAP@100", "small", "60.00", "", "0 of 1"] in page.rows
    assert not any(row[0] == "Alone" for row in page.rows)
    only_pairs = page_of_tables(scores=scores, comparisons=tables["comparisons"])
    assert ["S", "nDCG@10", "2 of 3", ""] in only_pairs.rows
    empty = {name: table.slice(0, 0) for name, table in tables.items()}
    assert "How sure the order is" not in page_of_tables(scores=scores, **empty).said


# -- embedding tables --------------------------------------------------------------------------------------------------


def measure_row(statistic, value, *, model="m-16", width=16, status="ok"):
    return {
        "model": model, "suite": "S", "revision": "main", "vocab_rows": 300, "embedding_dim": width,
        "table_precision": "float32", "statistic": statistic, "value": value, "n_batches": 2, "n_vectors": 128,
        "status": status,
    }  # fmt: skip


def test_the_tables_own_geometry_stands_in_order_of_width():
    rows = [
        measure_row("anisotropy", 0.25, model="wide", width=64),
        *(measure_row(name, 3.125) for name in ("anisotropy", "effective_rank", "twonn_090", "twonn_020")),
        measure_row("mean_cosine", None, status="all rows are zero"),
        measure_row("share_without_token", 0.0125),
    ]
    page = page_of_tables(embedding_geometry=pa.Table.from_pylist(rows, schema=embedding_geometry.SCHEMA))
    assert page.rows[1:3] == [
        ["S", "m-16", "main", "16", "128", "3.1250", "none", "3.1", "3.1", "3.1", "1.25%"],
        ["S", "wide", "main", "64", "128", "0.2500", "none", "none", "none", "none", "none"],
    ]
    assert page.rows[-1] == ["m-16 main", "mean_cosine", "all rows are zero"]


def training_row(step, statistic, value, **facts):
    return {
        "model": "m-16", "suite": "S", "revision": f"step{step}", "step": step, "final_revision": "main",
        "collection": "docs", "statistic": statistic, "value": value, "n": 77, "status": "ok", **facts,
    }  # fmt: skip


def test_a_table_has_settled_where_no_later_checkpoint_is_far_again():
    cosines = {1: 0.95, 2: 0.5, 4: 0.9, 8: 1.0}
    differences = {1: -0.1, 2: 0.003, 4: -0.0031, 8: 0.0}
    rows = [training_row(step, "cosine", value) for step, value in cosines.items()]
    rows += [training_row(step, "ndcg_at_10_difference", value) for step, value in differences.items()]
    rows += [training_row(16, "cosine", 0.1, duplicate_of="step1"), training_row(32, "cosine", None, status="broken")]
    table = pa.Table.from_pylist(rows, schema=embedding_training.SCHEMA)
    page = page_of_tables(training=table)
    assert page.rows[0][2:] == [
        "cosine 0.9 or more from step", "nDCG@10 within 0.3 points from step", "MAP@100 within 0.3 points from step",
    ]  # fmt: skip
    assert page.rows[1] == ["m-16", "4", "4", "8", "none"]
    assert page.rows[-1] == ["m-16 step32", "cosine", "broken"]
    never = pa.Table.from_pylist([training_row(1, "cosine", 0.1)], schema=embedding_training.SCHEMA)
    assert page_of_tables(training=never).rows[1][2:] == ["none", "none", "none"]
    assert "near the final one" not in page_of_tables(training=table.slice(0, 0)).said


# -- claims and published values ---------------------------------------------------------------------------------------


def claim_row(statement, about, verdict, *, metric="ndcg_at_10", detail="why", **facts):
    return {
        "study": "embedding_scaling", "claim": "short", "statement": statement, "about": about, "collection": "docs",
        "metric": metric, "verdict": verdict, "detail": detail, **facts,
    }  # fmt: skip


def test_claims_are_counted_stated_once_and_folded_where_they_were_not_run():
    rows = [
        claim_row("It <rises>.", "A", "holds", estimate=0.12345, ci_low=0.1, ci_high=0.2, p_holm=0.0123),
        claim_row("It <rises>.", "B", "undecided", metric=None),
        claim_row("It falls.", "A", "refuted", estimate=-1.0),
        *(claim_row("It <i>rests.", about, "not run", detail="no table") for about in ("A", "A", "B")),
    ]
    page = page_of_tables(claims=pa.Table.from_pylist(rows, schema=claims.SCHEMA))
    assert page.rows[1:] == [
        ["It <rises>.", "A", "nDCG@10", "holds", "0.123", "0.1 to 0.2", "0.012", "why"],
        ["", "B", "", "undecided", "", "", "", "why"],
        ["It falls.", "A", "nDCG@10", "refuted", "-1", "", "", "why"],
    ]
    assert "1 holds, 1 is refuted, 1 is undecided and 3 were not run" in page.said
    assert "3 tests not run It <i>rests. (A and B): no table" in page.said
    assert "Claims" not in page_of_tables(claims=pa.Table.from_pylist([], schema=claims.SCHEMA)).said
    only = page_of_tables(claims=pa.Table.from_pylist(rows[3:], schema=claims.SCHEMA))
    assert only.rows == []
    assert "3 tests not run" in only.said


def test_each_study_has_its_own_counts_and_table():
    rows = [
        claim_row("It rises.", "A", "holds"),
        claim_row("Bell.", "m-16", "refuted", study="representation_dynamics", metric="anisotropy_without_first"),
    ]
    page = page_of_tables(claims=pa.Table.from_pylist(rows, schema=claims.SCHEMA))
    assert "Of 1 test of what the study of embedding scaling claims, 1 holds." in page.said
    assert "Of 1 test of what the study of representation dynamics claims, 1 is refuted." in page.said
    assert [row[0] for row in page.rows] == ["claim", "It rises.", "claim", "Bell."]
    assert page.rows[-1][2] == "anisotropy_without_first"


def published_row(model, difference, verdict, *, repeats=False):
    ours = None if difference is None else 5 + difference
    return {
        "published_model": model, "model": model, "tokenizer": "OPT", "vocab_rows": 300, "variant": "as_is",
        "embedding_dim": 16, "seed": None, "metric": "ndcg_at_10", "published_percent": 5.0,
        "published_status": "valid", "value_percent": ours, "ci_low": 4.0, "ci_high": 6.0, "difference": difference,
        "tolerance": 0.012, "verdict": verdict, "reason": "because", "repeats": repeats,
    }  # fmt: skip


def test_published_values_that_differ_are_named_the_furthest_first():
    rows = [published_row("near", 0.02, "differs"), published_row("same", 0.0, "agrees")]
    rows += [published_row("far", -0.5, "differs"), published_row("twice", -0.5, "differs", repeats=True)]
    table = pa.Table.from_pylist(rows, schema=published_comparison.SCHEMA)
    page = page_of_tables(published=table)
    assert page.rows[1:] == [
        ["far as_is", "nDCG@10", "5.000", "4.500", "4.00 to 6.00", "-0.500", "because"],
        ["near as_is", "nDCG@10", "5.000", "5.020", "4.00 to 6.00", "+0.020", "because"],
    ]
    assert "1 agree within their tolerance, 2 differ" in page.said
    many = pa.Table.from_pylist(
        [published_row(f"m{number}", 1 + number, "differs") for number in range(30)], schema=published_comparison.SCHEMA
    )
    page = page_of_tables(published=many)
    assert len(page.rows) == 1 + 20
    assert "The 20 that are furthest apart of 30." in page.said


def test_a_page_with_nothing_compared_says_so():
    rows = [published_row("m", None, "not run")]
    page = page_of_tables(published=pa.Table.from_pylist(rows, schema=published_comparison.SCHEMA))
    assert "None of the 1 distinct values that the study published was compared with this run." in page.said
    assert page.rows == []
    assert "agree" not in page.said
    assert "Published values" not in page_of_tables().said


def test_tables_that_the_same_made_of_the_same_stand_under_one_heading():
    facts = {"lm_geometry": "1", "versions": {"numpy": "2"}, "origin": {"collection": "docs"}}
    made = {"first": facts, "second": {**facts, "origin": {}}, "third": facts}
    page = page_of_tables(provenance=made)
    assert "first and third lm-geometry 1, numpy 2" in page.said
    assert page.rows.count(["collection", "docs"]) == 1
