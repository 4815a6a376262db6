"""Size and shape of an update: how large it is beside the weight, and over how many directions it spreads.

With the singular values σ_1 ≥ … ≥ σ_n of ΔW:

    ‖ΔW‖_F = √(σ_1² + … + σ_n²), and relative to the weight ‖ΔW‖_F / ‖W‖_F;
    effective rank = exp(−Σ p_i·ln p_i), p_i = σ_i / (σ_1 + … + σ_n)
        (Roy & Vetterli 2007, "The effective rank", EUSIPCO): n where all are equal, 1 where one is all;
    used = effective rank / n, for a LoRA update of rank r the part of its rank that is used;
    directions for 90% = the least k with σ_1² + … + σ_k² ≥ 0.9·‖ΔW‖_F².
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lora_nlg.analysis.updates import Update

SHARE = 0.9
"""Of the squared norm, which `directions_90` hold."""


@dataclass(frozen=True)
class Shape:
    """Size and shape of one update; the definitions stand at the top of the file.

    Attributes:
        norm, weight_norm, relative: ‖ΔW‖_F, ‖W‖_F and their ratio.
        singular_values: of the directions looked at, largest first.
        rank: n, how many directions the update can have.
        effective_rank, used, directions_90: over how many it spreads.
    """

    norm: float
    weight_norm: float
    relative: float
    singular_values: list[float]
    rank: int
    effective_rank: float
    used: float
    directions_90: int


def shape_of(update: Update) -> Shape:
    """Size and shape of an update; one that is zero has no direction, its effective rank is 0."""
    weight_norm = float(update.weight.detach().double().norm())
    spread = effective_rank(update.S)
    return Shape(
        norm=update.norm,
        weight_norm=weight_norm,
        relative=update.norm / weight_norm if weight_norm else float("nan"),
        singular_values=update.S[: update.directions].tolist(),
        rank=len(update.S),
        effective_rank=spread,
        used=spread / len(update.S),
        directions_90=directions_for(update.S, SHARE),
    )


def effective_rank(S: Tensor) -> float:
    """exp of the entropy of the singular values' shares; 0 where all are zero."""
    total = S.sum()
    if not total > 0:
        return 0.0
    shares = S / total
    return float(torch.special.entr(shares).sum().exp())


def directions_for(S: Tensor, share: float) -> int:
    """How many of the largest singular values hold a share of the sum of squares; 0 where all are zero."""
    held = S.square().cumsum(0)
    if not held[-1] > 0:
        return 0
    # Rounding must not ask for one more where the share is met exactly.
    return int((held < (share - 1e-12) * held[-1]).sum()) + 1
