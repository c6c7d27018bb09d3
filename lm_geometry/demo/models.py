"""The two architectures of the embedded models: how they are built and how they predict tokens."""

import math

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from lm_geometry.demo.byte_level_bpe import BERT, tokenizer_recipe
from lm_geometry.demo.recipes import Recipe
from lm_geometry.demo.token_streams import TokenStreams


def build_model(recipe: Recipe, streams: TokenStreams) -> PreTrainedModel:
    """Return an untrained model with its head; its weights follow from torch's random state and the streams."""
    sizes = {
        "vocab_size": streams.vocabulary_size,
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.n_layers,
        "num_attention_heads": recipe.n_heads,
        "intermediate_size": 4 * recipe.width,
        "max_position_embeddings": tokenizer_recipe(recipe.tokenizer).max_length,
        "initializer_range": recipe.initializer_range,
    }
    if recipe.architecture == BERT:
        model = BertForMaskedLM(BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
        _start_encoder(model, streams)
        return model
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(**sizes, bos_token_id=streams.separator, eos_token_id=streams.separator, use_cache=False)
    )


def predict(model: PreTrainedModel, inputs: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Return the logits, (asked positions, vocabulary); the head is not run where ``asked`` is false.

    Parameters
    ----------
    inputs, asked : Tensor
        Token ids and a mask, both of shape (windows, tokens).
    """
    states = model.base_model(input_ids=inputs).last_hidden_state[asked]
    return model.cls(states) if isinstance(model, BertForMaskedLM) else model.get_output_embeddings()(states)


def _start_encoder(model: BertForMaskedLM, streams: TokenStreams) -> None:
    """Give an encoder a start from which it leaves the unigram model within a minute.

    A small encoder with the usual random start predicts token frequencies and stays there for thousands of steps,
    because the mask's own vector drowns the context. So the frequencies are given (biases of the head), positions
    begin as sinusoids (Vaswani et al. 2017, section 3.5), and each attention block begins by passing on what it
    attends to: its output projection is the transpose of its value projection. All of it is trained further.
    """
    counts = np.bincount(streams.training, minlength=streams.vocabulary_size) + 1.0
    with torch.no_grad():
        model.cls.predictions.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))
        positions = model.bert.embeddings.position_embeddings.weight
        # A sinusoid's root mean square is sqrt(1/2); it is scaled to that of the other initial weights.
        positions.copy_(math.sqrt(2) * model.config.initializer_range * sinusoids(*positions.shape))
        # All tokens are of the one type: a shared vector would only drown what tells them apart.
        model.bert.embeddings.token_type_embeddings.weight.zero_()
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight.copy_(layer.attention.self.value.weight.T)


def sinusoids(n_positions: int, width: int) -> torch.Tensor:
    """Return position vectors, (positions, width): sines in even columns, cosines in odd ones.

    Vaswani et al. 2017, section 3.5: angular frequencies fall from 1 to 1/10000.
    """
    angles = torch.arange(n_positions)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(n_positions, width)
