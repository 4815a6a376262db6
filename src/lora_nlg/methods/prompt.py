"""Prompt tuning (Lester et al. 2021), the LoRA paper's PreEmbed: embeddings before the input, in `gpt2/prefix.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, PromptPrefix
from lora_nlg.gpt2.prefix import random_tokens, stand_before
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class PromptTuning(Method):
    """Prompt tuning."""

    name: ClassVar[str] = "prompt"
    title: ClassVar[str] = "prompt tuning (Lester et al. 2021)"

    prompt_length: int = 20
    """Embeddings l before the input, copies of as many random tokens' at first; as many fewer positions are left for
    text."""

    def __post_init__(self) -> None:
        if self.prompt_length < 1:
            raise InputError(f"`prompt_length` must be at least 1, got {self.prompt_length}")

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Put it before every sequence; what it makes of each layer is worked out once a batch."""
        if initialise:
            prefix = PromptPrefix.of_tokens(model.transformer, random_tokens(model.config, self.prompt_length))
        else:
            prefix = PromptPrefix(torch.zeros(self.prompt_length, model.config.n_embd))
        stand_before(model, prefix)
