"""How a weight is adapted: rank and scaling (Hu et al. 2021, section 4.1), and where in a layer the update lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lora_nlg.errors import InputError

SCALING_RULES = {
    "alpha/r": lambda alpha, r: alpha / r,
    "rslora": lambda alpha, r: alpha / math.sqrt(r),  # Kalajdzievski 2023, https://arxiv.org/abs/2312.03732
    "none": lambda alpha, r: 1.0,
}


@dataclass(frozen=True)
class LoRASpec:
    """How one weight (or one part of a fused weight) is adapted.

    Attributes:
        r: rank of the update.
        alpha: numerator of the scaling.
        dropout: probability of zeroing an input of the low-rank branch.
        rule: `alpha/r` (Hu et al.), `rslora` (alpha/√r) or `none` (1).

    Raises:
        InputError: r < 1, alpha not positive and finite, dropout outside [0, 1), or an unknown rule.
    """

    r: int = 4
    alpha: float = 128.0
    dropout: float = 0.0
    rule: str = "alpha/r"

    def __post_init__(self) -> None:
        if self.r < 1:
            raise InputError(f"the rank r must be at least 1, got {self.r}")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"alpha must be a positive number, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"LoRA dropout must be at least 0 and below 1, got {self.dropout}")
        if self.rule not in SCALING_RULES:
            raise InputError(f"unknown scaling rule {self.rule!r}; choose from {', '.join(SCALING_RULES)}")

    @property
    def scaling(self) -> float:
        """What B·A is multiplied by."""
        return float(SCALING_RULES[self.rule](self.alpha, self.r))


class Factors(NamedTuple):
    """One low-rank update, without padding: B·A·scaling is added to the rows `columns` of the weight.

    Shapes: A (r, D_in) and B (number of `columns`, r); for an embedding A (r, V) and B (D, r), added transposed.
    """

    columns: slice
    A: Tensor
    B: Tensor
    scaling: float

    def product(self) -> Tensor:
        """B·A·scaling."""
        return (self.B @ self.A) * self.scaling

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (number of `columns`, r), S (r,) and V (D_in, r) with U·diag(S)·Vᵀ = B·A·scaling, fp64; S falls.

        Nothing of the weight's size is built: with B = Q_B·R_B and Aᵀ = Q_A·R_A it is that of R_B·R_Aᵀ, r by r.
        """
        Q_B, R_B = torch.linalg.qr(self.B.double())
        Q_A, R_A = torch.linalg.qr(self.A.double().t())
        U, S, Vh = torch.linalg.svd(R_B @ R_A.t() * self.scaling, full_matrices=False)
        return Q_B @ U, S, Q_A @ Vh.t()

    def balanced(self) -> Factors:
        """The same product from an A with orthogonal rows and a B with orthogonal columns of equal lengths, scaling 1.

        Rounding the two loses little of the product then, also where it is the difference of two greater ones (PiSSA).
        """
        U, S, V = self.svd()
        root = S.sqrt()
        return Factors(self.columns, (V * root).t().to(self.A.dtype), (U * root).to(self.B.dtype), 1.0)

    def squared_norm(self) -> Tensor:
        """‖B·A·scaling‖², a scalar, fp64: the trace of (BᵀB)(AAᵀ), so that nothing of the weight's size is built."""
        # fp64: PiSSA's update is a difference, and in fp32 its square would be mostly rounding.
        A, B = self.A.double(), self.B.double()
        return (((B.t() @ B) * (A @ A.t())).sum() * self.scaling**2).clamp_min(0)


@dataclass(frozen=True)
class Slice:
    """Where the update of one adapted part lies in a fused layer and in its `lora_A` and `lora_B`.

    Attributes:
        columns: output columns of the layer, which are rows of its weight.
        rows: rows of `lora_B`.
        ranks: rows of `lora_A`, which are columns of x·Aᵀ; as many for each part as the largest rank.
        r: the part's own rank: its first rows of `ranks` that are in use, the rest being zero.
        scaling: what B·A is multiplied by.
    """

    columns: slice
    rows: slice
    ranks: slice
    r: int
    scaling: float

    def factors(self, lora_A: Tensor, lora_B: Tensor) -> Factors:
        """The part's own A and B: views of matrices laid out as a layer's."""
        return Factors(self.columns, lora_A[self.ranks][: self.r], lora_B[self.rows, : self.r], self.scaling)


def slices_of(specs: Sequence[LoRASpec | None], width: int, R: int) -> tuple[Slice, ...]:
    """The slices of the adapted parts, in order.

    Example: q, k, v of width 768 with specs (r = 4, None, r = 2) and R = 4 are two slices: q has columns 0:768, rows
    0:768 and ranks 0:4; v has columns 1536:2304, rows 768:1536 and ranks 4:8, of which 4:6 are in use.

    Args:
        specs: one for each part of the layer; None is a part that isn't adapted.
        width: output columns of a part.
        R: rows of `lora_A` for each adapted part.
    """
    adapted = [(part, spec) for part, spec in enumerate(specs) if spec is not None]

    def span(index: int, size: int) -> slice:
        return slice(index * size, (index + 1) * size)

    return tuple(
        Slice(span(part, width), span(p, width), span(p, R), spec.r, spec.scaling)
        for p, (part, spec) in enumerate(adapted)
    )
