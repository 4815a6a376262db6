"""PiSSA: start from the principal singular vectors (Meng et al. 2024, https://arxiv.org/abs/2404.02948).

A and B start as the top r of the weight's singular value decomposition, and what they start as is taken off the
weight. Here the base stays as it is and the update is B·A − B₀·A₀: the same function and the same gradients, while
the base keeps its hash, merging stays exact and an adapter still belongs to the base it was trained on. Dropout acts
on B·A alone: what was taken off the weight stays off.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.lora.functional import lora_linear
from lora_nlg.lora.layers import FusedLinear
from lora_nlg.lora.spec import Factors, slices_of


def principal_factors(weight: Tensor, r: int, scaling: float) -> tuple[Tensor, Tensor]:
    """A (r, D_in) and B (D_out, r) whose product times the scaling is a weight's principal part of rank r."""
    U, S, V = torch.linalg.svd(weight.float(), full_matrices=False)
    root = (S[:r] / scaling).sqrt()
    return root[:, None] * V[:r], U[:, :r] * root


class PiSSALinear(FusedLinear):
    """`FusedLinear` that trains the weight's principal part.

    Args:
        in_features, out_features, specs, bias: as `FusedLinear`.

    Attributes:
        lora_A_init, lora_B_init: what A and B started from; saved with the adapter, never trained.
    """

    variant = "pissa"
    lora_A_init: Tensor
    lora_B_init: Tensor

    def add_lora_parameters(self) -> None:
        """A and B as LoRA's, and what they started from."""
        super().add_lora_parameters()
        self.register_buffer("lora_A_init", torch.zeros_like(self.lora_A.detach()))
        self.register_buffer("lora_B_init", torch.zeros_like(self.lora_B.detach()))
        self._stacked_slices = slices_of(self.specs, self.width, 2 * self.R)

    @torch.no_grad()
    def reset_lora_parameters(self) -> None:
        """Each part's top singular vectors: W ≈ U·S·V, A = √(S/s)·V, B = U·√(S/s) with s the scaling."""
        super().reset_lora_parameters()
        if self.weight.is_meta:  # a weight yet to be set has no singular vectors
            return
        for columns, A, B, scaling in self.trained_factors():
            start_A, start_B = principal_factors(self.weight[columns], A.shape[0], scaling)
            A.copy_(start_A)
            B.copy_(start_B)
        self.lora_A_init.copy_(self.lora_A)
        self.lora_B_init.copy_(self.lora_B)

    def _stacked(self) -> tuple[Tensor, Tensor]:
        """A and B of twice the rank whose product is B·A − B₀·A₀, laid out as `FusedLinear`'s."""
        P, D = len(self.slices), self.in_features
        A = torch.cat([self.lora_A.view(P, self.R, D), self.lora_A_init.view(P, self.R, D)], dim=1)
        return A.view(-1, D), torch.cat([self.lora_B, -self.lora_B_init], dim=1)

    def factors(self) -> list[Factors]:
        """The update B·A − B₀·A₀ as plain LoRA of twice the rank."""
        started = [part.factors(self.lora_A_init, self.lora_B_init) for part in self.slices]
        return [
            Factors(columns, torch.cat([A, start.A]), torch.cat([B, -start.B], dim=1), scaling)
            for (columns, A, B, scaling), start in zip(self.trained_factors(), started, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.merged:
            return F.linear(x, self.weight, self.bias)
        if not self.training or self.dropout == 0:
            A, B = self._stacked()
            return lora_linear(x, self.weight, self.bias, A, B, self._stacked_slices, matmul=self.matmul)
        y = super().forward(x)
        # In the columns of the adapted parts, −s·(x A₀ᵀ) B₀ᵀ.
        low = F.linear(x, self.lora_A_init.to(x.dtype))
        for part in self.slices:
            start = F.linear(low[..., part.ranks], self.lora_B_init[part.rows].to(x.dtype))
            y[..., part.columns] -= (start * part.scaling).to(y.dtype)
        return y
