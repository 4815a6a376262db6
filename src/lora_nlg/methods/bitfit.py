"""BitFit: the biases train and nothing else (Ben Zaken et al. 2021, https://arxiv.org/abs/2106.10199)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from lora_nlg.gpt2 import GPT2
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class BitFit(Method):
    """BitFit."""

    name: ClassVar[str] = "bitfit"
    title: ClassVar[str] = "BitFit"

    bitfit_norms: bool = True
    """Train the layer norms' biases too."""

    def base_trained(self, model: GPT2) -> Collection[str]:
        """Every bias. A key's shifts all scores of a query alike, so its gradient is rounding and its value is free."""
        names = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
        return [name for name in names if self.bitfit_norms or "ln_" not in name]

    @property
    def keeps_base(self) -> bool:
        """No: its biases are the trained ones."""
        return False
