"""Write the page that shows a whole run."""

import os
from pathlib import Path

from lm_geometry import provenance
from lm_geometry import summary as page
from lm_geometry.figures.style import caption_from_rst
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_text

TABLES = {
    "retrieval_scores": "scores",
    "comparisons": "comparisons",
    "suite_peaks": "peaks",
    "claims": "claims",
    "published_comparison": "published",
    "embedding_geometry": "embedding_geometry",
    "embedding_training": "training",
    "geometry": "geometry",
    "geometry_layer_means": "layer_means",
    "geometry_comparisons": "geometry_comparisons",
    "ledger": "ledger",
}
"""What the page calls each table."""

LINKS = {"PNG": ".png", "SVG": ".svg", "PDF": ".pdf", "data (Parquet)": ".parquet", "data (CSV)": ".csv"}


def write_summary(
    *, figures: list[Path], captions: list[Path], tables: list[Path], corpus: list[Path], summary: Path, title: str
) -> None:
    """Write one static page with every figure, the gaps, the headline numbers and the provenance.

    Parameters
    ----------
    figures, captions : list of Path
        PNG files, and the caption of each in the same order; the other formats and the data lie beside them.
    tables : list of Path
        The result tables of the studies that were run, and the ledger of their checkpoints; see ``TABLES``.
    corpus : list of Path
        What the cleaning of the corpus found, one file or none.
    summary : Path
        The page, written; it links to the figures by relative paths.
    title : str
        Headline of the page.

    Raises
    ------
    ValueError
        If figures and captions differ in number, a table is none of these, or the statistics are of several corpora.
    """
    if len(figures) != len(captions):
        raise ValueError(f"every figure needs its caption: got {len(figures)} figures and {len(captions)} captions")
    if len(corpus) > 1:
        raise ValueError(f"a run has one corpus, got the statistics of {len(corpus)}")
    unknown = [path.name for path in tables if path.stem not in TABLES]
    if unknown:
        raise ValueError(f"the summary knows the tables {sorted(TABLES)}, got also {unknown}")
    html = page.render(
        title=title,
        pictures=[_picture(*pair, folder=summary.parent) for pair in zip(figures, captions, strict=True)],
        provenance={path.stem: provenance.read(path) for path in tables},
        **{TABLES[path.stem]: read_table(path) for path in tables},
        corpus=read_table(corpus[0]) if corpus else None,
        made_by=provenance.describe(inputs=[*tables, *corpus], settings={"title": title}),
    )
    write_text(summary, html)


def _picture(figure: Path, caption: Path, *, folder: Path) -> page.Picture:
    def relative(ending: str) -> str:
        return Path(os.path.relpath(figure.with_suffix(ending), folder)).as_posix()

    return page.Picture(
        caption=caption_from_rst(caption.read_text(encoding="utf-8")),
        image=relative(figure.suffix),
        links={label: relative(ending) for label, ending in LINKS.items()},
    )


if __name__ == "__main__":
    run_job(snakemake, write_summary)
