"""A table extracted as the workflow does it: the revision is listed, then read, by the scripts' own functions."""

from scripts.extract_embedding_table import extract_embedding_table
from scripts.resolve_model import resolve_model


def extract(source, tokenizer, out, *, revision="main", cache_dir="unused", verify="ranges", embedding_tensor=None):
    """Extract the table of a source into the folder ``out``, and return its path."""
    out.mkdir(exist_ok=True)
    resolve(source, out, revision=revision, cache_dir=cache_dir, embedding_tensor=embedding_tensor)
    return extract_listed(
        source,
        tokenizer,
        out,
        revision=revision,
        cache_dir=cache_dir,
        verify=verify,
        embedding_tensor=embedding_tensor,
    )


def extract_listed(source, tokenizer, out, *, revision="main", cache_dir="unused", verify="ranges", **options):
    """Extract the table of a source that ``resolve`` listed into the folder ``out``, and return its path."""
    extract_embedding_table(
        listing=out / "listing.parquet",
        config=out / "config.json",
        tokenizer=tokenizer,
        tokenizer_listing=out / "listing.parquet",
        table=out / "table.parquet",
        model="mine",
        source=str(source),
        revision=revision,
        cache_dir=str(cache_dir),
        verify=verify,
        **{"embedding_tensor": None, **options},
    )
    return out / "table.parquet"


def resolve(source, out, *, revision="main", cache_dir="unused", embedding_tensor=None):
    """List a source into listing.parquet and config.json of the folder ``out``."""
    resolve_model(
        files=[],
        listing=out / "listing.parquet",
        config=out / "config.json",
        source=str(source),
        revision=revision,
        cache_dir=str(cache_dir),
        embedding_tensor=embedding_tensor,
    )
