"""torch.compile of the model: the eager model's gradients, and no compiling anew for every batch's lengths."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from lora_nlg.gpt2 import FlatAttention, empty_gpt2, lora_targets, named_config
from lora_nlg.lora import LoRASpec, inject, mark_only_lora_as_trainable

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")


def test_a_compiled_model_has_eager_gradients_for_batches_of_all_lengths() -> None:
    torch.manual_seed(0)
    model = empty_gpt2(named_config("gpt2.nano", n_layer=2, n_embd=32, n_head=2, vocab_size=99, n_positions=64))
    model.reset_parameters()
    inject(model, lora_targets(model.config, {"q": LoRASpec(2, 4.0), "v": LoRASpec(2, 4.0)}))
    mark_only_lora_as_trainable(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data.normal_()

    def gradients(lengths: list[int]) -> list[torch.Tensor]:
        tokens = torch.arange(sum(lengths)) % 99
        positions = torch.cat([torch.arange(length) for length in lengths])
        hidden = model(tokens, positions, FlatAttention(lengths), torch.arange(0, sum(lengths), 2))
        return list(torch.autograd.grad(hidden.square().mean(), trained))

    batches = [[7, 3], [5, 9], [12, 4, 6], [8, 8], [30, 1, 2], [11, 13, 17, 19]]
    eager = [gradients(lengths) for lengths in batches]
    model.compile_blocks()
    graphs = []
    for lengths, expected in zip(batches, eager, strict=True):
        torch.testing.assert_close(gradients(lengths), expected, rtol=1e-4, atol=1e-5)
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[2] == graphs[-1], f"compiled anew: {graphs}"
