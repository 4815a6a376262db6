"""PiSSA: start from the principal singular vectors (Meng et al. 2024, https://arxiv.org/abs/2404.02948).

A and B start as the top r of the weight's singular value decomposition, and what they start as is taken off the
weight. Here the base stays as it is and the update is B·A − B₀·A₀: the same function and the same gradients, while
the base keeps its hash, merging stays exact and an adapter still belongs to the base it was trained on. Dropout acts
on B·A alone: what was taken off the weight stays off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.lora.functional import lora_linear
from lora_nlg.lora.layers import Factors, LoRASpec, MergedLinear


class PiSSALinear(MergedLinear):
    """`MergedLinear` that trains the weight's principal part.

    Args:
        in_features, out_features, parts, bias: as `MergedLinear`.

    Attributes:
        lora_A_init, lora_B_init: what A and B started from; saved with the adapter, never trained.
    """

    lora_A_init: Tensor
    lora_B_init: Tensor

    def __init__(
        self, in_features: int, out_features: int, parts: Sequence[LoRASpec | None], bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, parts, bias=bias)
        self.register_buffer("lora_A_init", torch.zeros_like(self.lora_A.detach()))
        self.register_buffer("lora_B_init", torch.zeros_like(self.lora_B.detach()))

    @torch.no_grad()
    def reset_lora_parameters(self) -> None:
        """Each part's top singular vectors: W ≈ U·S·V, A = √(S/s)·V, B = U·√(S/s) with s the scaling."""
        super().reset_lora_parameters()
        if not hasattr(self, "lora_A_init") or self.weight.is_meta:
            return
        for first, last, A, B, scaling in super().factors():
            U, S, V = torch.linalg.svd(self.weight[first:last].float(), full_matrices=False)
            r = A.shape[0]
            root = (S[:r] / scaling).sqrt()
            A.copy_(root[:, None] * V[:r])
            B.copy_(U[:, :r] * root)
        self.lora_A_init.copy_(self.lora_A)
        self.lora_B_init.copy_(self.lora_B)

    def _stacked(self) -> tuple[Tensor, Tensor]:
        """A and B of twice the rank whose product is B·A − B₀·A₀, laid out as `MergedLinear`'s."""
        n, D = len(self.slices), self.in_features
        A = torch.cat([self.lora_A.view(n, self.R, D), self.lora_A_init.view(n, self.R, D)], dim=1)
        return A.view(-1, D), torch.cat([self.lora_B, -self.lora_B_init], dim=1)

    def factors(self) -> list[Factors]:
        """The update as plain LoRA of twice the rank."""
        found: list[Factors] = []
        row = 0
        for first, last, A, B, scaling in super().factors():
            r, part = A.shape[0], len(found)
            A_init = self.lora_A_init[part * self.R : part * self.R + r]
            B_init = self.lora_B_init[row : row + last - first, :r]
            found.append(Factors(first, last, torch.cat([A, A_init]), torch.cat([B, -B_init], dim=1), scaling))
            row += last - first
        return found

    def delta_weight(self) -> Tensor:
        """(B·A − B₀·A₀)·scaling, shape (out_features, in_features)."""
        delta = torch.zeros_like(self.weight)
        for first, last, A, B, scaling in self.factors():
            delta[first:last] = ((B @ A) * scaling).to(delta.dtype)
        return delta

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.merged:
            return F.linear(x, self.weight, self.bias)
        if not self.training or self.dropout == 0:
            A, B = self._stacked()
            return lora_linear(x, self.weight, self.bias, A, B, self.slices, product=self.product)
        y = lora_linear(
            x, self.weight, self.bias, self.lora_A, self.lora_B, self.slices, self.dropout, True, self.product
        )
        # In the columns of the adapted parts, −s·(x A₀ᵀ) B₀ᵀ.
        low = F.linear(x, self.lora_A_init.to(x.dtype)).split(self.R, dim=-1)
        start = self.lora_B_init.split(self.out_features // len(self.parts))
        for (first, last, scaling), low_p, B_p in zip(self.slices, low, start, strict=True):
            y[..., first:last] -= (F.linear(low_p, B_p.to(low_p.dtype)) * scaling).to(y.dtype)
        return y
