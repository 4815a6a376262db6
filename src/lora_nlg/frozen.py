"""Products with frozen weights, in the layout the CPU multiplies fastest.

A frozen weight is multiplied by thousands of times and never changes, so on the CPU it is laid out once for oneDNN
(y = x Wᵀ) and once transposed (grad_x = grad W), at the cost of two copies (`lora_nlg.onednn` says what that gains).
The second is made when a gradient first comes: below the lowest layer that trains none does.
Elsewhere (CUDA, other builds of torch) the products are torch's usual ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.onednn import PackedWeight, can_pack

PACKED_ROWS = 425
"""Rows the layout is chosen for: a batch of 8 E2E examples."""


class FrozenMatmul:
    """x Wᵀ and grad W for a weight that doesn't change.

    Args:
        weight: shape (D_out, D_in), frozen; later changes to it are not seen.
        pack: False keeps to torch's usual products. Default: True.
    """

    def __init__(self, weight: Tensor, pack: bool = True) -> None:
        self.weight = weight.detach()
        self._forward: PackedWeight | None = None
        self._backward: PackedWeight | None = None
        if pack and can_pack(self.weight):
            self._forward = PackedWeight(self.weight, PACKED_ROWS)

    @property
    def dtype(self) -> torch.dtype:
        """The weight's type: what inputs must have."""
        return self.weight.dtype

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(T, D_in) -> (T, D_out): x Wᵀ + bias."""
        if self._forward is None:
            return F.linear(x, self.weight, bias)
        return self._forward.linear(x, bias)

    def forward_wide(self, x: Tensor) -> Tensor:
        """x Wᵀ as the device sums it: in fp32 on CUDA whatever the type of its factors, else in their type."""
        if x.is_cuda and x.dtype != torch.float32:
            return torch.mm(x, self.weight.t(), out_dtype=torch.float32)
        return self.forward(x)

    def backward(self, grad: Tensor) -> Tensor:
        """(T, D_out) -> (T, D_in): grad W."""
        if self._forward is None:
            return grad @ self.weight
        if self._backward is None:
            self._backward = PackedWeight(self.weight.t().contiguous(), PACKED_ROWS)
        return self._backward.linear(grad.contiguous())


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, matmul: FrozenMatmul) -> Tensor:
        ctx.matmul, ctx.dtype = matmul, x.dtype
        return matmul.forward(x.to(matmul.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        needs_x, needs_bias, _ = ctx.needs_input_grad
        return (
            ctx.matmul.backward(grad).to(ctx.dtype) if needs_x else None,
            grad.sum(0, dtype=torch.float32) if needs_bias else None,
            None,
        )


def frozen_linear(x: Tensor, bias: Tensor | None, matmul: FrozenMatmul) -> Tensor:
    """x Wᵀ + bias for a frozen W; (T, D_in) -> (T, D_out), with gradients for x and bias."""
    y: Tensor = _FrozenLinear.apply(x, bias, matmul)
    return y


class PackedLinear(nn.Linear):
    """A linear layer whose weight is frozen and packed; its parameters are those of the layer it replaces."""

    def __init__(self, layer: nn.Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self.matmul = FrozenMatmul(layer.weight)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        bias = None if self.bias is None else self.bias.to(self.matmul.dtype)
        y = frozen_linear(x.reshape(-1, x.shape[-1]), bias, self.matmul)
        return y.view(*x.shape[:-1], -1)
