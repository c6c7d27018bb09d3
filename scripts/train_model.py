"""Train one embedded model and lay its revisions out as the hub does."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.demo.recipes import RECIPES
from lm_geometry.job import run_job
from lm_geometry.tables import listing, training_curve
from lm_geometry.tables.files import atomic_folder, read_table, write_table


def train_model(
    *, tokens: Path, tokenizer: Path, tokenizer_config: Path, folder: Path, manifest: Path, curve: Path, model: str
) -> None:
    """Train the embedded model called ``model``: one sub-folder per revision, its losses, then the files' digests.

    Raises
    ------
    ValueError
        If there is no such model, the text is too short, or the training diverges.
    """
    # The imports take seconds and load torch: only where a model is trained.
    from transformers.utils.logging import disable_progress_bar

    from lm_geometry.demo.hub_folder import list_files, save_revision
    from lm_geometry.demo.training import train

    if model not in RECIPES:
        raise ValueError(f"embedded model: '{model}': use one of {', '.join(RECIPES)}")
    recipe = RECIPES[model]
    facts = {"inputs": [tokens], "settings": {"model": model, **asdict(recipe)}}
    streams = _read_streams(tokens, tokenizer, recipe.tokenizer)
    disable_progress_bar()
    with atomic_folder(folder) as temporary:
        losses = train(
            recipe,
            streams,
            lambda revision, trained: save_revision(
                trained, temporary / revision, recipe.layout, [tokenizer, tokenizer_config]
            ),
        )
        files = list_files(temporary)
    rows = pa.table(list(zip(*losses, strict=True)), names=training_curve.SCHEMA.names)
    write_table(curve, rows, training_curve.SCHEMA, **facts)
    write_table(manifest, pa.Table.from_pylist(files, schema=listing.SCHEMA), listing.SCHEMA, **facts)


def _read_streams(tokens: Path, tokenizer: Path, recipe: str) -> Any:
    from tokenizers import Tokenizer

    from lm_geometry.demo.token_streams import join_texts

    rows = read_table(tokens, columns=["heldout", "token_ids"])
    token_ids = [ids.values.to_numpy() for ids in rows["token_ids"]]
    return join_texts(token_ids, rows["heldout"].to_pylist(), Tokenizer.from_file(str(tokenizer)), recipe)


if __name__ == "__main__":
    run_job(snakemake, train_model)
