"""One tiny model over a tiny corpus, as the workflow's scripts run it."""

import pyarrow as pa
from tiny_models import build_model, save_safetensors, save_tokenizer, sentences

from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.tables.chunks import SCHEMA as CHUNKS
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.listing import SCHEMA as LISTING
from scripts.dump_hidden_states import dump_hidden_states
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.measure_geometry import measure_geometry
from scripts.resolve_model import resolve_model
from scripts.stream_geometry import stream_geometry


class Run:
    """A tiny model, its tokenizer and a corpus of chunks in a folder of its own, ready to run."""

    def __init__(self, folder, family="gpt_neox", save=save_safetensors, texts=None, model=None):
        self.folder = folder
        self.texts = list(sentences(40)) if texts is None else texts
        self.model = build_model(family) if model is None else model
        self.source = save(self.model, folder / "mine")
        self.tokenizer = save_tokenizer(folder / "tokenizer") / "tokenizer.json"
        rows = [{"chunk": chunk, "page": 0, "text": text} for chunk, text in enumerate(self.texts)]
        write_table(
            folder / "chunks.parquet",
            pa.Table.from_pylist(rows, schema=CHUNKS),
            CHUNKS,
            settings={"seed": 3},
            origin={"corpus_sha256": "c0"},
        )
        tokenizer_is = {"tokenizer_id": "tiny", "tokenizer_commit": "t0"}
        write_table(folder / "tokenizer.parquet", listing_table([]), LISTING, origin=tokenizer_is)
        where = {"source": str(self.source), "revision": "main", "cache_dir": "unused"}
        resolve_model(files=[], listing=folder / "listing.parquet", config=folder / "config.json", **where)
        fetch_checkpoint(
            listing=folder / "listing.parquet",
            config=folder / "config.json",
            checkpoint=folder / "checkpoint.parquet",
            **where,
        )

    def dump(self, name="layers", **settings):
        """Dump the hidden states into a folder of that name, and return the rows of the manifest beside it."""
        manifest = self.folder / f"{name}.parquet"
        dump_hidden_states(**self._inputs, folder=self.folder / name, manifest=manifest, **self._settings(settings))
        return read_table(manifest).to_pylist()

    def measure(self, name="layers", **settings):
        """Measure that dump; return the paths of both outputs."""
        outputs = self._outputs(f"{name}_dump")
        measure_geometry(manifest=self.folder / f"{name}.parquet", folder=self.folder / name, **outputs, **settings)
        return outputs["batches"], outputs["all_tokens"]

    def stream(self, name="layers", **settings):
        """Measure while the model runs; return the paths of both outputs."""
        outputs = self._outputs(f"{name}_stream")
        stream_geometry(**self._inputs, **outputs, **self._settings(settings))
        return outputs["batches"], outputs["all_tokens"]

    @property
    def _inputs(self):
        return {
            "checkpoint": self.folder / "checkpoint.parquet",
            "config": self.folder / "config.json",
            "chunks": self.folder / "chunks.parquet",
            "tokenizer": self.tokenizer,
            "tokenizer_listing": self.folder / "tokenizer.parquet",
        }

    def _settings(self, settings):
        return {"device": "cpu", "cache_dir": "unused", **settings}

    def _outputs(self, name):
        return {key: self.folder / f"{name}_{key}.parquet" for key in ("batches", "all_tokens")}
