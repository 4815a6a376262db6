"""Adapters of Houlsby et al. 2019: a bottleneck on what attention and the MLP give, before each is added."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, Bottleneck
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class AdapterH(Method):
    """Adapter-H."""

    name: ClassVar[str] = "adapter_h"
    title: ClassVar[str] = "Adapter-H (Houlsby et al. 2019)"

    adapter_h_dim: int = 112
    """Width m of the bottlenecks, two a block."""
    adapter_h_activation: Literal["relu", "gelu"] = "relu"
    """relu, or gelu in its tanh form, as the authors' own code has it."""
    adapter_h_layer_norms: bool = False
    """Train the blocks' layer norms with them, as the authors do; the LoRA paper's counts leave these out."""

    def __post_init__(self) -> None:
        if self.adapter_h_dim < 1:
            raise InputError(f"`adapter_h_dim` must be at least 1, got {self.adapter_h_dim}")

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Put one behind each sub-layer; near the identity at first."""
        for block in model.transformer.h:
            block.after_attn, block.after_mlp = (
                Bottleneck(model.config.n_embd, self.adapter_h_dim, self.adapter_h_activation) for _ in range(2)
            )

    def base_trained(self, model: GPT2) -> Collection[str]:
        """The blocks' layer norms, if asked for."""
        if not self.adapter_h_layer_norms:
            return ()
        blocks, norms, leaves = range(model.config.n_layer), ("ln_1", "ln_2"), ("weight", "bias")
        return [f"transformer.h.{i}.{norm}.{leaf}" for i in blocks for norm in norms for leaf in leaves]

    @property
    def keeps_base(self) -> bool:
        """Unless its layer norms train."""
        return not self.adapter_h_layer_norms
