"""Train the embedded models: windows of the prose, the two objectives, the loop and the losses on held-out text.

One thread and one seed: the same machine gives the same weights twice, bit for bit.
"""

import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import PreTrainedModel

from lm_geometry.demo.models import build_model, predict
from lm_geometry.demo.recipes import FINAL_REVISION, Recipe
from lm_geometry.demo.token_streams import TokenStreams

log = logging.getLogger(__name__)

IGNORED = -100  # what torch's cross-entropy leaves out
HELDOUT_WINDOWS_PER_PASS = 16
HELDOUT_MASK_SEED = 1
WARMUP = 0.1  # share of the steps
FINAL_LEARNING_RATE = 0.1  # share of the peak
MAXIMUM_GRADIENT_NORM = 1.0


class Losses(NamedTuple):
    """Mean cross-entropies after ``step`` optimizer steps, of the model and of the unigram model, in nats."""

    step: int
    heldout: float
    unigram: float


class Batch(NamedTuple):
    """What a model sees and what it shall predict at the same positions; both int64, (windows, tokens)."""

    inputs: torch.Tensor
    targets: torch.Tensor


def train(recipe: Recipe, streams: TokenStreams, save: Callable[[str, PreTrainedModel], None]) -> list[Losses]:
    """Train a model; return its losses at step 0, at powers of four, at the checkpoints and at the end.

    Parameters
    ----------
    recipe : Recipe
        Architecture, sizes, schedule and seed.
    streams : TokenStreams
        What to train on and what to hold out.
    save : callable
        Gets each revision's name and the model as it then is.

    Raises
    ------
    ValueError
        If a stream is shorter than one window, or the loss stops being a number.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        model = build_model(recipe, streams)
        heldout = heldout_batches(recipe, streams)
        unigram = unigram_cross_entropy(streams, torch.cat([batch.targets.flatten() for batch in heldout]).numpy())
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step, recipe.steps))
        curve = []
        for step in _with_progress(recipe.steps):
            if step in _reported_steps(recipe):
                curve.append(Losses(step, mean_loss(model, heldout), unigram))
            if step in recipe.checkpoint_steps:
                save(f"step{step}", model)
            if step < recipe.steps:
                _take_step(model, draw_batch(recipe, streams, generator), optimizer, step)
                schedule.step()
        save(FINAL_REVISION, model)
    return curve


def draw_batch(recipe: Recipe, streams: TokenStreams, generator: torch.Generator) -> Batch:
    """Return windows that begin at random places of the training stream."""
    length = _window_length(recipe, streams)
    starts = torch.randint(len(streams.training) - length + 1, (recipe.batch_size,), generator=generator)
    windows = _windows(streams, streams.training, starts.numpy(), length)
    if streams.mask is None:
        return _following(streams, windows)
    return _partly_shown(streams, _masked(recipe, streams, windows, generator), generator)


def heldout_batches(recipe: Recipe, streams: TokenStreams) -> list[Batch]:
    """Return the held-out stream cut into windows, the remainder dropped.

    An encoder sees none of its targets here; they are the same in every call.
    """
    length = _window_length(recipe, streams)
    generator = torch.Generator().manual_seed(HELDOUT_MASK_SEED)
    starts = np.arange(0, len(streams.heldout) - length + 1, length)
    passes = np.split(starts, range(HELDOUT_WINDOWS_PER_PASS, len(starts), HELDOUT_WINDOWS_PER_PASS))
    windows = [_windows(streams, streams.heldout, some, length) for some in passes]
    if streams.mask is None:
        return [_following(streams, some) for some in windows]
    return [_masked(recipe, streams, some, generator) for some in windows]


def mean_loss(model: PreTrainedModel, batches: Iterable[Batch]) -> float:
    """Return the mean cross-entropy over all targets of all batches, in nats."""
    total, n_targets = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            total += float(_cross_entropy(model, batch, "sum"))
            n_targets += int((batch.targets != IGNORED).sum())
    return total / n_targets


def unigram_cross_entropy(streams: TokenStreams, targets: np.ndarray) -> float:
    """Return the mean of -ln p over ``targets`` (ignored ones left out), in nats.

    p are the token shares of the training stream without separators, one added to every count.
    """
    tokens = streams.training[streams.training != streams.separator]
    counts = np.bincount(tokens, minlength=streams.vocabulary_size) + 1.0
    return float(-np.log(counts / counts.sum())[targets[targets != IGNORED]].mean())


def learning_rate_share(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at ``step``: a linear rise, then a cosine to a tenth."""
    rise = min(1.0, (step + 1) / (WARMUP * steps))
    fall = 0.5 * (1 + math.cos(math.pi * step / steps))
    return rise * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * fall)


def _take_step(model: PreTrainedModel, batch: Batch, optimizer: torch.optim.Optimizer, step: int) -> None:
    loss = _cross_entropy(model, batch, "mean")
    if not torch.isfinite(loss):
        raise ValueError(f"the training loss is {loss.item()} at step {step}; lower the recipe's learning rate")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAXIMUM_GRADIENT_NORM)
    optimizer.step()


def _cross_entropy(model: PreTrainedModel, batch: Batch, reduction: str) -> torch.Tensor:
    asked = batch.targets != IGNORED
    return functional.cross_entropy(predict(model, batch.inputs, asked), batch.targets[asked], reduction=reduction)


def _following(streams: TokenStreams, windows: torch.Tensor) -> Batch:
    following = torch.full_like(windows, IGNORED)
    following[:, :-1] = windows[:, 1:]
    return Batch(windows, following.masked_fill(following == streams.separator, IGNORED))


def _masked(recipe: Recipe, streams: TokenStreams, windows: torch.Tensor, generator: torch.Generator) -> Batch:
    special = torch.isin(windows, torch.tensor([streams.separator, *streams.frame]))
    chosen = (torch.rand(windows.shape, generator=generator) < recipe.masked_share) & ~special
    return Batch(windows.masked_fill(chosen, streams.mask), windows.masked_fill(~chosen, IGNORED))


def _partly_shown(streams: TokenStreams, batch: Batch, generator: torch.Generator) -> Batch:
    """Show a tenth of the targets and replace another by random tokens, as BERT is trained (Devlin et al. 2019, 3.1).

    Without the shown ones a small model does not learn within a minute that tokens bear on one another.
    """
    chosen = batch.targets != IGNORED
    lot = torch.rand(batch.inputs.shape, generator=generator)
    random = torch.randint(streams.vocabulary_size, batch.inputs.shape, generator=generator)
    inputs = torch.where(chosen & (lot < 0.1), batch.targets, batch.inputs)
    return Batch(torch.where(chosen & (lot > 0.9), random, inputs), batch.targets)


def _windows(streams: TokenStreams, stream: np.ndarray, starts: np.ndarray, length: int) -> torch.Tensor:
    windows = stream[starts[:, None] + np.arange(length)].astype(np.int64)
    if streams.frame:
        before, after = (np.full((len(starts), 1), token) for token in streams.frame)
        windows = np.hstack([before, windows, after])
    return torch.from_numpy(windows)


def _window_length(recipe: Recipe, streams: TokenStreams) -> int:
    length = recipe.sequence_length - len(streams.frame)
    shortest = min(len(streams.training), len(streams.heldout))
    if shortest < length:
        raise ValueError(f"a window is {length} tokens long, but a stream holds only {shortest}; use more text")
    return length


def _reported_steps(recipe: Recipe) -> set[int]:
    powers = {4**exponent for exponent in range(recipe.steps.bit_length()) if 4**exponent <= recipe.steps}
    return {0, recipe.steps, *powers, *recipe.checkpoint_steps}


def _with_progress(steps: int) -> Iterator[int]:
    """Yield 0..steps with a bar on a terminal, and with a line of log at every tenth elsewhere."""
    bar = tqdm(range(steps + 1), unit="step", file=sys.stderr, disable=None)
    for step in bar:
        if bar.disable and step and (step * 10 // steps) > ((step - 1) * 10 // steps):
            log.info("step %d of %d", step, steps)
        yield step


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: sums over several threads are added in an order that differs from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
