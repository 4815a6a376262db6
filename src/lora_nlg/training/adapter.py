"""How a base becomes what is trained: the adapter put in, the rest frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, lora_targets, parse_targets
from lora_nlg.lora import LoRASpec, freeze_projections, inject, mark_only_lora_as_trainable


@dataclass(frozen=True)
class AdapterSettings:
    """The adapter."""

    lora_dim: int = 4
    """Rank r; 0 trains the whole model."""
    lora_alpha: float = 128.0
    """Numerator of the scaling alpha/r (the paper's E2E recipe: 32)."""
    lora_dropout: float = 0.0
    """Dropout on the input of the low-rank branch."""
    lora_targets: str = "q,v"
    """What to adapt, comma-separated: q, k, v, o, fc, proj, wte; `q:r=8:alpha=16,v` sets one apart."""
    lora_scaling: Literal["alpha/r", "rslora", "none"] = "alpha/r"
    """alpha/r, rslora (alpha/sqrt r) or none."""
    lora_bias: Literal["none", "all", "lora_only"] = "none"
    """Biases trained with the adapter: none, all or lora_only."""
    lora_variant: Literal["lora", "dora", "pissa"] = "lora"
    """lora, dora (trained magnitudes) or pissa (starts from the weight's principal part)."""
    lora_plus_ratio: float = 1.0
    """LoRA+: times the learning rate of the matrix that starts at zero; its authors advise 16."""
    lora_freeze_a: bool = False
    """LoRA-FA: keep the random A as drawn and train B alone."""

    def __post_init__(self) -> None:
        if self.lora_dim < 0:
            raise InputError(f"`lora_dim` must be at least 0, got {self.lora_dim}")
        if not self.lora_plus_ratio > 0:
            raise InputError(f"`lora_plus_ratio` must be above 0, got {self.lora_plus_ratio}")

    def specs(self) -> dict[str, LoRASpec]:
        """Target name -> how it is adapted; empty for rank 0."""
        if self.lora_dim == 0:
            return {}
        spec = LoRASpec(self.lora_dim, self.lora_alpha, self.lora_dropout, self.lora_scaling)
        return parse_targets(self.lora_targets, spec)


def adapt(model: GPT2, settings: AdapterSettings, seed: int) -> None:
    """Put the adapter in and set `requires_grad` on what trains, in place.

    Args:
        model: the base.
        settings: of rank 0: all of the model trains.
        seed: of the adapter's random start.
    """
    if not (specs := settings.specs()):
        model.requires_grad_(True)
        return
    torch.manual_seed(seed)
    inject(model, lora_targets(model.config, specs), settings.lora_variant)
    mark_only_lora_as_trainable(model, settings.lora_bias)
    if settings.lora_freeze_a:
        freeze_projections(model)
