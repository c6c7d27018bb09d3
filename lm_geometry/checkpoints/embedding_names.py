"""How input embeddings are called, so that the file that holds them is known from an index alone.

These are the names of the two studies' families; ``embeddings.extraction`` finds the tensor by the same ones.
"""

SUFFIXES = ("embed_in.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight")


def is_embedding_name(name: str) -> bool:
    """Say whether a tensor's name is that of an input embedding, whatever stands in front of it."""
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in SUFFIXES)
