"""Modules of a method that isn't ours, behind sub-layers and blocks: the form for inference computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2
from lora_nlg.gpt2.inference import InferenceGPT2

CONFIG = GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=60, n_positions=32)


class Gate(nn.Module):
    """y·σ(W·LN(y) + b), with a layer norm and a vector beside the linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((width,), 2.0))

    def forward(self, y: Tensor) -> Tensor:
        return y * self.scale * torch.sigmoid(self.linear(self.norm(y)))


def logits(model: GPT2 | InferenceGPT2, lengths: list[int], tokens: Tensor) -> Tensor:
    positions = torch.cat([torch.arange(length) for length in lengths])
    with torch.no_grad():
        return model.logits(model.forward(tokens, positions, FlatAttention(lengths)))[:, :60]


@pytest.mark.parametrize("place", ["after_attn", "after_mlp", "after_block"])
def test_inference_computes_what_the_model_does(place: str) -> None:
    torch.manual_seed(0)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    tokens = torch.randint(60, (11,))
    plain = logits(model, [7, 4], tokens)
    for block in model.transformer.h:
        setattr(block, place, Gate(CONFIG.n_embd))
    expected, inference = logits(model, [7, 4], tokens), InferenceGPT2(model)
    found = logits(inference, [7, 4], tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-3
    # Bit for bit whatever a sequence is computed with, as decoding promises.
    assert torch.equal(found[7:], logits(inference, [4], tokens[7:]))
    assert all(
        layer.weight.requires_grad for layer in (block.get_submodule(place).linear for block in model.transformer.h)
    )
