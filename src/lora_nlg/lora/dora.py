"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, https://arxiv.org/abs/2402.09353).

The adapted weight is m · V/‖V‖ with V = W + B·A·scaling: a direction that LoRA changes, and a magnitude m for each
output, trained on its own. As the paper's section 4.3 advises, ‖V‖ is a constant in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.lora.layers import Factors, LoRASpec, MergedLinear


class DoRALinear(MergedLinear):
    """`MergedLinear` with a magnitude for each adapted output: `lora_magnitude`, shape (outputs of adapted parts,).

    Args:
        in_features, out_features, parts, bias: as `MergedLinear`.
    """

    lora_magnitude: nn.Parameter

    def __init__(
        self, in_features: int, out_features: int, parts: Sequence[LoRASpec | None], bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, parts, bias=bias)
        self.lora_magnitude = nn.Parameter(self.weight.new_zeros(self.lora_B.shape[0]))
        self.reset_lora_parameters()

    @torch.no_grad()
    def reset_lora_parameters(self) -> None:
        """A and B as LoRA's, the magnitude that of the base's rows: the update starts at zero."""
        super().reset_lora_parameters()
        if hasattr(self, "lora_magnitude"):  # not yet while the parent class builds itself
            self.lora_magnitude.copy_(torch.cat(self._norms()))

    def _norms(self) -> list[Tensor]:
        """‖V‖ of every adapted row by part, without building V.

        ‖w + s·bA‖² = ‖w‖² + 2s·b·(A w) + s²·b·(A Aᵀ)·b, for a row w of W and b of B.
        """
        norms = []
        for first, last, A, B, scaling in super().factors():
            W = self.weight[first:last].float()
            A, B = A.to(W.device), B.to(W.device)  # a new layer draws them on the CPU, whatever the base is on
            cross = (W @ A.t() * B).sum(1)
            square = ((B @ (A @ A.t())) * B).sum(1)
            norms.append((W.square().sum(1) + 2 * scaling * cross + scaling**2 * square).clamp_min(0).sqrt())
        return norms

    def factors(self) -> list[Factors]:
        """DoRA's update is no product of two matrices.

        Raises:
            InputError: always.
        """
        raise InputError("DoRA's update isn't low-rank, so this format can't hold it; convert it --to merged")

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """m·V/‖V‖ − W, shape (out_features, in_features)."""
        delta = torch.zeros_like(self.weight)
        row = 0
        for first, last, A, B, scaling in super().factors():
            W = self.weight[first:last].float()
            V = W + (B @ A) * scaling
            magnitude = self.lora_magnitude[row : row + last - first]
            delta[first:last] = (V * (magnitude / V.norm(dim=1))[:, None] - W).to(delta.dtype)
            row += last - first
        return delta

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.merged:
            return F.linear(x, self.weight, self.bias)
        base = F.linear(x, self.weight)
        branch = F.dropout(x, self.dropout, self.training)
        with torch.no_grad():
            norms = self._norms()
        columns = list(base.split(self.out_features // len(self.parts), dim=-1))
        row = 0
        for norm, (first, last, A, B, scaling) in zip(norms, super().factors(), strict=True):
            index = first // (last - first)
            low = F.linear(F.linear(branch, A), B) * scaling
            scale = self.lora_magnitude[row : row + last - first] / norm
            columns[index] = (columns[index] + low) * scale.to(base.dtype)
            row += last - first
        y = torch.cat(columns, dim=-1)
        return y if self.bias is None else y + self.bias.to(y.dtype)
