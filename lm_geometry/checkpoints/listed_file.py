"""One file of a model revision, and what it is for, told from its name."""

import re
from dataclasses import dataclass

CONFIG = "config.json"
TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
    }
)  # fmt: skip
# Only what transformers itself would load: no optimizer states, no fp16 twins, no exports to other frameworks.
_WEIGHTS = re.compile(r"(model|pytorch_model)([-_]\d+-of-\d+)?\.(safetensors|bin)")
_INDEX = re.compile(r"(model\.safetensors|pytorch_model\.bin)\.index\.json")


@dataclass(frozen=True)
class ListedFile:
    """One file of a revision.

    ``sha256`` is None where the source lists none. ``holds_embedding`` says of a weight file that would be read whether
    the token-embedding table lies in it; it is None for all other files, and in a list straight from a source, which
    does not know it: ``resolve_model`` reads it from the index.
    """

    path: str
    role: str
    size: int
    sha256: str | None
    holds_embedding: bool | None = None


def role_of(path: str) -> str:
    """Return what a file of a model repository is for: config, tokenizer, weights, index, code or other."""
    if path == CONFIG:
        return "config"
    if path in TOKENIZER_FILES:
        return "tokenizer"
    if _WEIGHTS.fullmatch(path):
        return "weights"
    if path.endswith(".py"):
        return "code"
    return "index" if _INDEX.fullmatch(path) else "other"
