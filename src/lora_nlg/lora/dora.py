"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, https://arxiv.org/abs/2402.09353).

The adapted weight is m · V/‖V‖ with V = W + B·A·scaling: a direction that LoRA changes, and a magnitude m for each
output, trained on its own. As the paper's section 4.3 advises, ‖V‖ is a constant in the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.lora.layers import FusedLinear
from lora_nlg.lora.spec import Factors


class DoRALinear(FusedLinear):
    """`FusedLinear` with a magnitude for each adapted output: `lora_magnitude`, shape (P*width,) as `lora_B`'s rows.

    Args:
        in_features, out_features, specs, bias: as `FusedLinear`.
    """

    variant = "dora"
    lora_magnitude: nn.Parameter

    def add_lora_parameters(self) -> None:
        """A and B as LoRA's, and the magnitude."""
        super().add_lora_parameters()
        self.lora_magnitude = nn.Parameter(self.weight.new_zeros(self.lora_B.shape[0]))

    @torch.no_grad()
    def reset_lora_parameters(self) -> None:
        """A and B as LoRA's, the magnitude that of the base's rows: the update starts at zero."""
        super().reset_lora_parameters()
        self.lora_magnitude.copy_(torch.cat(self._norms()))

    def _norms(self) -> list[Tensor]:
        """‖V‖ of every adapted row by part, without building V.

        ‖w + s·bA‖² = ‖w‖² + 2s·b·(A w) + s²·b·(A Aᵀ)·b, for a row w of W and b of B.
        """
        norms = []
        for columns, A, B, scaling in self.trained_factors():
            W = self.weight[columns].float()
            A, B = A.to(W.device), B.to(W.device)  # a new layer draws them on the CPU, whatever the base is on
            cross = (W @ A.t() * B).sum(1)
            square = ((B @ (A @ A.t())) * B).sum(1)
            norms.append((W.square().sum(1) + 2 * scaling * cross + scaling**2 * square).clamp_min(0).sqrt())
        return norms

    def factors(self) -> list[Factors]:
        """None: the update is no product of two matrices."""
        return []

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """m·V/‖V‖ − W, shape (out_features, in_features)."""
        delta = torch.zeros_like(self.weight, dtype=self.update_dtype)
        for part, own in zip(self.slices, self.trained_factors(), strict=True):
            W = self.weight[part.columns].float()
            V = W + own.product()
            magnitude = self.lora_magnitude[part.rows]
            delta[part.columns] = (V * (magnitude / V.norm(dim=1))[:, None] - W).to(delta.dtype)
        return delta

    def pack_weight(self) -> None:
        """Nothing: the forward pass wants the product without the bias, from the weight itself."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.merged:
            return F.linear(x, self.weight, self.bias)
        base = F.linear(x, self.weight)
        branch = F.dropout(x, self.dropout, self.training)
        with torch.no_grad():
            norms = self._norms()
        parts = list(base.split(self.width, dim=-1))
        for part, own, norm in zip(self.slices, self.trained_factors(), norms, strict=True):
            index = part.columns.start // self.width
            low = F.linear(F.linear(branch, own.A.to(x.dtype)), own.B.to(x.dtype)) * own.scaling
            scale = self.lora_magnitude[part.rows] / norm
            parts[index] = (parts[index] + low) * scale.to(base.dtype)
        y = torch.cat(parts, dim=-1)
        return y if self.bias is None else y + self.bias.to(y.dtype)
