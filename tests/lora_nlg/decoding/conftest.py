"""Small random models whose next-token distributions are peaked, so that hypotheses end and beams compete."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2


def random_model(seed: int, vocab_size: int = 40, n_positions: int = 64, sharpness: float = 0.4) -> GPT2:
    """A 2-layer GPT-2; a larger `sharpness` gives more peaked distributions."""
    torch.manual_seed(seed)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=vocab_size, n_positions=n_positions))
    model.reset_parameters()
    with torch.no_grad():
        model.transformer.wte.weight.normal_(0, sharpness)
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and ".h." in name and "ln" not in name:
                parameter.mul_(6)
    return model.eval()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., GPT2]:
    return random_model
