"""FT-Top2: the last blocks train and nothing below them, as Li & Liang 2021 (https://arxiv.org/abs/2101.00190) compare.

The backward pass ends at the lowest block that trains: what is below needs no gradient, so none is computed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class Top2(Method):
    """The last blocks."""

    name: ClassVar[str] = "top2"
    title: ClassVar[str] = "fine-tuning of the last blocks"

    top_blocks: int = 2
    """Blocks to train, counted from the last."""
    top_ln_f: bool = False
    """Train the final layer norm too."""

    def __post_init__(self) -> None:
        if self.top_blocks < 1:
            raise InputError(f"`top_blocks` must be at least 1, got {self.top_blocks}")

    def base_trained(self, model: GPT2) -> Collection[str]:
        """Everything in those blocks."""
        blocks = model.config.n_layer
        if self.top_blocks > blocks:
            raise InputError(f"`top_blocks` is {self.top_blocks}, the model has {blocks} blocks")
        parts = [f"transformer.h.{block}." for block in range(blocks - self.top_blocks, blocks)]
        parts += ["transformer.ln_f."] if self.top_ln_f else []
        return [name for name, _ in model.named_parameters() if name.startswith(tuple(parts))]

    @property
    def keeps_base(self) -> bool:
        """No: its last blocks are the trained ones."""
        return False
