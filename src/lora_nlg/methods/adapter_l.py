"""Adapters of Lin et al. 2020: one bottleneck behind each block, with a layer norm of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, Bottleneck
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class AdapterL(Method):
    """Adapter-L."""

    name: ClassVar[str] = "adapter_l"
    title: ClassVar[str] = "Adapter-L (Lin et al. 2020)"

    adapter_l_dim: int = 224
    """Width m of the bottlenecks, one a block."""

    def __post_init__(self) -> None:
        if self.adapter_l_dim < 1:
            raise InputError(f"`adapter_l_dim` must be at least 1, got {self.adapter_l_dim}")

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Put one behind each block; near the identity at first."""
        for block in model.transformer.h:
            block.after_block = Bottleneck(model.config.n_embd, self.adapter_l_dim, layer_norm=1e-5)
