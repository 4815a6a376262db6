"""Prompt tuning (Lester et al. 2021), the LoRA paper's PreEmbed: embeddings before the input, in `gpt2/prefix.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, PromptPrefix
from lora_nlg.gpt2.prefix import random_tokens, stand_before
from lora_nlg.methods.method import Method
from lora_nlg.methods.peft import PeftOptions
from lora_nlg.methods.peft_prompt import PEFT_READ, PEFT_TENSOR, peft_options, peft_rows


@dataclass(frozen=True)
class PromptTuning(Method):
    """Prompt tuning."""

    name: ClassVar[str] = "prompt"
    title: ClassVar[str] = "prompt tuning (Lester et al. 2021)"
    peft: ClassVar[PeftOptions | None] = PeftOptions(
        "PROMPT_TUNING",
        "a prompt of embeddings",
        read=PEFT_READ,
        harmless=("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
        defaults={"modules_to_save": None},
        advice="save it again without that",
    )

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

    def to_peft(self, state: Mapping[str, Tensor], config: GPT2Config) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The embeddings as they are."""
        return peft_options(self.prompt_length, config), {PEFT_TENSOR: state["prefix.embedding"]}

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
    ) -> tuple[Method, dict[str, Tensor]]:
        """The embeddings as they are."""
        assert cls.peft is not None, "declared above"
        embedding, _, _ = peft_rows(cls.peft.reader(config, source), tensors, lambda _, D: D)
        return cls(len(embedding)), {"prefix.embedding": embedding}
