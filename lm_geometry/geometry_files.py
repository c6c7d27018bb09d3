"""The files of measured hidden states: one of batches, one of all tokens, whichever way the states came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.geometry.layers import Settings
from lm_geometry.tables.files import write_table
from lm_geometry.tables.geometry_batches import ALL_TOKENS, BATCHES, OK, batches_table


def measurement_settings(
    settings: Settings,
    *,
    kind: str,
    dtype: str,
    dropped_tokens: Mapping[str, int],
    chunks: Mapping[str, Any] | None,
    hidden_states: str,
) -> dict[str, Any]:
    """Return the settings that the files of a measurement carry.

    Parameters
    ----------
    settings : Settings
        Of the measurement.
    kind : str
        encoder, decoder or encoder-decoder.
    dtype : str
        Number format of the forward pass.
    dropped_tokens : mapping
        Tokens of each stack that no batch drew.
    chunks : mapping, optional
        Settings of the corpus' chunks.
    hidden_states : str
        'dump' or 'stream'.
    """
    return {
        **asdict(settings),
        "kind": kind,
        "dtype": dtype,
        "dropped_tokens": dict(dropped_tokens),
        "chunks": chunks,
        "hidden_states": hidden_states,
    }


def write_measures(
    batches: Path,
    all_tokens: Path,
    batch_records: Iterable[Mapping[str, Any]],
    all_token_records: Iterable[Mapping[str, Any]],
    *,
    inputs: Sequence[Path],
    settings: Mapping[str, Any],
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write the records of a measurement, those of batches and those of all tokens.

    Parameters
    ----------
    batches, all_tokens : Path
        Outputs, long form.
    batch_records, all_token_records : iterable of mapping
        See ``geometry.layers``.
    inputs, settings, origin
        See ``write_table``; ``measurement_settings`` makes the settings.
    """
    facts = {"inputs": inputs, "settings": settings, "origin": origin}
    write_table(batches, batches_table(batch_records), BATCHES, **facts)
    write_table(all_tokens, _all_tokens_table(all_token_records), ALL_TOKENS, **facts)


def _all_tokens_table(records: Iterable[Mapping[str, Any]]) -> pa.Table:
    rows = [{**record, "status": record["problem"] or OK} for record in records]
    return pa.Table.from_pylist(rows, schema=ALL_TOKENS)
