"""Train a byte-level BPE tokenizer on the prose."""

import json
from pathlib import Path

from lm_geometry.demo.byte_level_bpe import tokenizer_config as tokenizer_config_of
from lm_geometry.demo.byte_level_bpe import train_byte_level_bpe
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_text
from lm_geometry.tables.written_files import write_listing


def train_tokenizer(*, prose: Path, tokenizer: Path, tokenizer_config: Path, listing: Path, recipe: str) -> None:
    """Write tokenizer.json and tokenizer_config.json of the tokenizer recipe called ``recipe``, and what made them.

    Raises
    ------
    ValueError
        If there is no such recipe, or the prose is too short for its vocabulary.
    """
    trained = train_byte_level_bpe(read_table(prose, columns=["text"])["text"].to_pylist(), recipe)
    write_text(tokenizer, trained.to_str(pretty=True) + "\n")
    write_text(tokenizer_config, json.dumps(tokenizer_config_of(recipe), indent=2) + "\n")
    write_listing(listing, [tokenizer, tokenizer_config], inputs=[prose], settings={"recipe": recipe})


if __name__ == "__main__":
    run_job(snakemake, train_tokenizer)
