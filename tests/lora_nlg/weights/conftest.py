"""A small base, a vocabulary, random adapters (never zero) and the logits they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2, lora_targets, parse_targets
from lora_nlg.lora import FusedLinear, LoRASpec, inject
from lora_nlg.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece
from lora_nlg.weights import load_base, save_base

CONFIG = GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=420, n_positions=64)


def random_base(config: GPT2Config = CONFIG, seed: int = 0) -> GPT2:
    torch.manual_seed(seed)
    model = empty_gpt2(config)
    model.reset_parameters()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of 2 layers and width 48, as a Hugging Face folder. Not to be written to."""
    folder = tmp_path_factory.mktemp("base")
    save_base(random_base(), folder)
    return folder


@pytest.fixture(scope="session")
def vocabulary() -> SentencePieceTokenizer:
    words = ["name", "Blue", "Spice", "Type", "pub", "area", "riverside", "near", "is", "a"]
    texts = [f" {first} : {second} {third}" for first in words for second in words for third in words]
    return train_sentencepiece(texts, 330)


@pytest.fixture
def adapted(base_folder: Path) -> Callable[..., GPT2]:
    """`adapted("q:r=2,v", seed=1, alpha=16)`: the base with a random adapter that changes its logits."""

    def build(targets: str = "q,v", seed: int = 1, rule: str = "alpha/r", alpha: float = 16.0) -> GPT2:
        model = load_base(base_folder)
        specs = parse_targets(targets, LoRASpec(4, alpha, 0.1, rule))
        inject(model, lora_targets(model.config, specs))
        randomise(model, seed)
        return model.eval()

    return build


def randomise(model: GPT2, seed: int = 1) -> None:
    """Random values in every adapter parameter; padding of unequal ranks stays zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("lora_"):
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
            if isinstance(module, FusedLinear):
                for part in module.slices:
                    module.lora_A[part.ranks][part.r :] = 0
                    module.lora_B[part.rows, part.r :] = 0


@pytest.fixture(scope="session")
def logits() -> Callable[[GPT2], Tensor]:
    """Logits of two fixed sequences, shape (30, V)."""
    torch.manual_seed(9)
    tokens = torch.randint(0, CONFIG.vocab_size, (30,))
    positions = torch.cat([torch.arange(19), torch.arange(11)])

    @torch.no_grad()
    def run(model: GPT2) -> Tensor:
        return model.logits(model(tokens, positions, FlatAttention([19, 11])))

    return run
