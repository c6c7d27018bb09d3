"""Do the names in a config fit together: models, suites, variants, revisions, tokenizers? Touches no file."""

import re
from collections.abc import Iterator
from typing import Any

from lm_geometry.configuration.lenient import Path, count_at, mapping_at, text_at, texts_at, value_at
from lm_geometry.configuration.revision_patterns import expand_revisions
from lm_geometry.configuration.wording import choices, did_you_mean, key_of, say

SCALING = "embedding_scaling"
DYNAMICS = "representation_dynamics"
_COUNTING_TOKENIZER = (DYNAMICS, "chunk_tokens", "tokenizer")
# English prose takes about four characters per token, vocabularies of a few thousand three; only bytes take one.
_LIKELY_CHARACTERS_PER_TOKEN = 4
_LEAST_CHARACTERS_PER_TOKEN = 2
# The widest models have tens of thousands of columns.
_MOST_COLUMNS = 1_000_000
# Windows, and the network and USB disks that follow it, keep these names for devices, whatever ending they have.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def find_name_errors(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each name that does not fit; ``config`` has its defaults but may be malformed elsewhere."""
    yield from _missing_studies(config)
    yield from _unknown_suites(config)
    yield from _unknown_models(config)
    yield from _followed_tables(config)
    yield from _unused_models(config)
    yield from _names_alike(config)
    yield from _names_of_no_folder(config)
    yield from _variants(config)
    yield from _misspelt_collection(config)
    yield from _unused_vocab_rows(config)
    yield from _patterns(config)
    yield from _steps(config)
    yield from _steps_given_twice(config)
    yield from _counting_tokenizer(config)
    yield from _batches(config)


def scored_models(config: dict[str, Any]) -> set[str]:
    """Return the models of the suites that the embedding study names."""
    suites = {suite for _, suite in texts_at(config, SCALING, "suites")}
    return {name for name in mapping_at(config, "models") if text_at(config, "models", name, "suite") in suites}


def profiled_models(config: dict[str, Any]) -> set[str]:
    """Return the models whose layer profiles are drawn."""
    return {name for _, name in texts_at(config, DYNAMICS, "profiles")}


def _missing_studies(config: dict[str, Any]) -> Iterator[str]:
    if SCALING not in config and DYNAMICS not in config:
        yield f"{SCALING}: not given, nor {DYNAMICS}: add at least one of the two studies"
    if isinstance(config.get(DYNAMICS), dict):
        profiles, training = config[DYNAMICS].get("profiles"), config[DYNAMICS].get("training")
        if profiles == [] and training == {}:
            yield say((DYNAMICS, "profiles"), [], "is empty, and so is training; name at least one model")


def _unknown_suites(config: dict[str, Any]) -> Iterator[str]:
    suites = {text_at(config, "models", name, "suite") for name in mapping_at(config, "models")}
    if None in suites or not suites:  # an error of its own, and the suite may be the one that is missed here
        return
    for path, suite in texts_at(config, SCALING, "suites"):
        if suite not in suites:
            yield say(path, suite, f"no model belongs to this suite; {_guess(suite, suites)}")


def _unknown_models(config: dict[str, Any]) -> Iterator[str]:
    models = mapping_at(config, "models")
    named = texts_at(config, DYNAMICS, "profiles")
    named += [((study, "training", name), name) for study, name in _followed(config)]
    for path, name in named:
        if models and name not in models:
            yield say(path, name, f"is not among the models; {_guess(name, models)}")


def _followed(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each model that a study follows over training, after the study's key."""
    return [(study, name) for study in (SCALING, DYNAMICS) for name in mapping_at(config, study, "training")]


def _followed_tables(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line where tables over training have nothing to be held against: their model's own scores."""
    scored, models = scored_models(config), mapping_at(config, "models")
    variants = [variant for _, variant in texts_at(config, SCALING, "variants")]
    for name in mapping_at(config, SCALING, "training"):
        path = (SCALING, "training", name)
        if name in models and scored and name not in scored:
            yield say(path, name, f"its suite is not scored; add it to {SCALING}.suites")
        if variants and "as_is" not in variants:
            yield say(path, name, f"its checkpoints are scored as they are; add as_is to {SCALING}.variants")


def _guess(name: str, known: Any) -> str:
    return did_you_mean(name, known) or f"use {choices(sorted(known))}"


def _unused_models(config: dict[str, Any]) -> Iterator[str]:
    used = scored_models(config) | profiled_models(config) | set(mapping_at(config, DYNAMICS, "training"))
    if not used:  # no study can be read: its own errors say more
        return
    used.add(text_at(config, *_COUNTING_TOKENIZER) or "")
    for name in mapping_at(config, "models"):
        if name not in used and isinstance(suite := text_at(config, "models", name, "suite"), str):
            fix = f"add its suite to {SCALING}.suites or its name to {DYNAMICS}.profiles or training, or remove it"
            yield f"models.{name}: suite {suite!r}: no study uses this model; {fix}"


def _names_alike(config: dict[str, Any]) -> Iterator[str]:
    models = mapping_at(config, "models")
    yield from _alike([(("models", name), name) for name in models])
    yield from _alike([(("models", name, "suite"), text_at(config, "models", name, "suite") or "") for name in models])
    for study, name in _followed(config):
        yield from _alike(texts_at(config, study, "training", name, "revisions"))


def _names_of_no_folder(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each name that a file system keeps for itself, or stores without its last point."""
    for name in mapping_at(config, "models"):
        suite = text_at(config, "models", name, "suite") or ""
        for path, text in ((("models", name), name), (("models", name, "suite"), suite)):
            if _DEVICES.fullmatch(text):
                yield say(path, text, "is a device's name on some disks, where no file can bear it; rename it")
            elif text.endswith(".") and text[0].isalnum():  # others are no names anywhere, which is said already
                yield say(path, text, "some disks drop the point at a name's end; rename it")


def _alike(named: list[tuple[Path, str]]) -> Iterator[str]:
    first: dict[str, tuple[Path, str]] = {}
    for path, name in named:
        other_path, other = first.setdefault(name.casefold(), (path, name))
        if other != name:
            yield say(path, name, f"differs from {key_of(other_path)} ({other!r}) in case only; rename one")


def _variants(config: dict[str, Any]) -> Iterator[str]:
    for path, variant in texts_at(config, SCALING, "variants"):
        found = re.fullmatch(r"(crop|pad)_([0-9]{1,9})(_matched)?", variant)
        if found is None:
            continue
        kind, number, manner = found[1], int(found[2]), found[3] or ""
        if number < 1:
            yield say(path, variant, f"{kind}_<{'k' if kind == 'crop' else 'n'}>{manner} needs at least 1 column")
        elif variant != f"{kind}_{number}{manner}":
            yield say(path, variant, f"write {kind}_{number}{manner}")
        elif kind == "pad" and number > _MOST_COLUMNS:
            yield say(path, variant, f"too many columns; give at most {_MOST_COLUMNS}")


def _misspelt_collection(config: dict[str, Any]) -> Iterator[str]:
    collection = text_at(config, SCALING, "collection")
    if collection and collection != "embedded" and collection.casefold() == "embedded":
        yield say((SCALING, "collection"), collection, "no MTEB task; write embedded, in lower case")


def _unused_vocab_rows(config: dict[str, Any]) -> Iterator[str]:
    rows = mapping_at(config, SCALING, "random_tokenizer", "vocab_rows")
    tokenizers = {_tokenizer_label(config, name) for name in scored_models(config)}
    tokenizers |= {name for _, name in texts_at(config, SCALING, "random_tokenizer", "tokenizers")}
    for tokenizer in rows:
        if tokenizers and tokenizer not in tokenizers:
            path = (SCALING, "random_tokenizer", "vocab_rows", tokenizer)
            yield say(path, rows[tokenizer], f"no scored model has this tokenizer; {_guess(tokenizer, tokenizers)}")


def _tokenizer_label(config: dict[str, Any], model: str) -> str:
    """Return the source of a model's tokenizer, as ``vocab_rows`` and the tables name it."""
    from lm_geometry.demo.recipes import RECIPES

    named = text_at(config, "models", model, "tokenizer")
    source = text_at(config, "models", model, "source") or ""
    recipe = RECIPES.get(source.removeprefix("embedded:")) if source.startswith("embedded:") else None
    return named or (f"embedded:{recipe.tokenizer}" if recipe else source)


def _patterns(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each pattern of revisions that could not be expanded."""
    for study, name in _followed(config):
        for path, revision in texts_at(config, study, "training", name, "revisions"):
            try:
                expand_revisions(revision)
            except ValueError as error:
                yield say(path, revision, str(error))


def _steps(config: dict[str, Any]) -> Iterator[str]:
    for study in (SCALING, DYNAMICS):
        yield from _steps_of(config, study)


def _steps_of(config: dict[str, Any], study: str) -> Iterator[str]:
    pattern = text_at(config, study, "step_pattern")
    if pattern is None:
        return
    path = (study, "step_pattern")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        yield say(path, pattern, f"is no regular expression ({error})")
        return
    if compiled.groups < 1:
        yield say(path, pattern, r"has no group; put the digits into parentheses, as in step(\d+)")
        return
    for name in mapping_at(config, study, "training"):
        for path, revision in texts_at(config, study, "training", name, "revisions"):
            if "{" in revision:
                continue
            found = compiled.fullmatch(revision)
            if found is None or not (found[1] or "").isdecimal():
                fix = "name a revision that holds its step, or set step_pattern"
                yield say(path, revision, f"{study}.step_pattern '{pattern}' finds no training step in it; {fix}")


def _steps_given_twice(config: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each revision whose training step is that of one before: a figure has one point a step."""
    for study, name in _followed(config):
        pattern = text_at(config, study, "step_pattern")
        first: dict[str, tuple[Path, str]] = {}
        for path, revision in texts_at(config, study, "training", name, "revisions"):
            step = _step_of(revision, pattern)
            if step is None:
                continue
            other_path, other = first.setdefault(step, (path, revision))
            if other.casefold() != revision.casefold():  # in case only is an error of its own
                yield say(path, revision, f"is step {step}, as is {key_of(other_path)} ({other!r}); remove one")


def _step_of(revision: str, pattern: str | None) -> str | None:
    """Return the digits of a revision's training step without zeros before them, None where it states none."""
    try:
        found = re.fullmatch(pattern, revision) if pattern else None
    except re.error:
        return None
    digits = found[1] if found and found.re.groups else None
    return (digits.lstrip("0") or "0") if digits and digits.isdecimal() else None


def _counting_tokenizer(config: dict[str, Any]) -> Iterator[str]:
    models, name = mapping_at(config, "models"), text_at(config, *_COUNTING_TOKENIZER)
    if name is not None and models and name not in models:
        yield say(_COUNTING_TOKENIZER, name, f"is not among the models; {_guess(name, models)}")


def _batches(config: dict[str, Any]) -> Iterator[str]:
    n_chunks, n_batches, batch_size = (
        count_at(config, DYNAMICS, key) for key in ("n_chunks", "n_batches", "batch_size")
    )
    chunk = _chunk_length(config)
    if not (n_chunks and n_batches and batch_size and chunk):
        return
    words, most_tokens, likely_tokens = chunk
    group = n_chunks // n_batches
    if group < 1:
        yield say((DYNAMICS, "n_chunks"), n_chunks, f"fewer than n_batches ({n_batches}); raise it")
    elif group * most_tokens < batch_size:
        tokens = int(group * likely_tokens)
        fix = f"lower it to {tokens} or less, or raise n_chunks"
        holds = f"n_chunks / n_batches = {group} chunks of {words} hold about {tokens} tokens"
        yield say((DYNAMICS, "batch_size"), batch_size, f"{holds}; {fix}")


def _chunk_length(config: dict[str, Any]) -> tuple[str, float, float] | None:
    """Return a chunk's length in words, and how many tokens it may hold at most and probably."""
    if value_at(config, DYNAMICS, "chunk_tokens") is not None:
        tokens = count_at(config, DYNAMICS, "chunk_tokens", "length")
        # Other tokenizers than the one that counts may take twice as many.
        return (f"{tokens} tokens", 2 * tokens, tokens) if tokens else None
    characters = count_at(config, DYNAMICS, "chunk_characters")
    if characters is None:
        return None
    return (
        f"{characters} characters",
        characters / _LEAST_CHARACTERS_PER_TOKEN,
        characters / _LIKELY_CHARACTERS_PER_TOKEN,
    )
