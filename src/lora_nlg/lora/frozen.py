"""Products with frozen weights, in the layout the CPU multiplies fastest.

A frozen weight is multiplied by thousands of times and never changes, so on the CPU it is laid out once for oneDNN
(y = x Wᵀ) and once transposed (grad_x = grad W), at the cost of two copies (`lora_nlg.onednn` says what that gains).
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


class FrozenProduct:
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
            self._backward = PackedWeight(self.weight.t().contiguous(), PACKED_ROWS)

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
        if self._backward is None:
            return grad @ self.weight
        return self._backward.linear(grad.contiguous())


class _PackedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, product: FrozenProduct) -> Tensor:
        ctx.product, ctx.dtype = product, x.dtype
        return product.forward(x.to(product.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        needs_x, needs_bias, _ = ctx.needs_input_grad
        return (
            ctx.product.backward(grad).to(ctx.dtype) if needs_x else None,
            grad.sum(0, dtype=torch.float32) if needs_bias else None,
            None,
        )


def packed_linear(x: Tensor, bias: Tensor | None, product: FrozenProduct) -> Tensor:
    """x Wᵀ + bias for a frozen W; (T, D_in) -> (T, D_out), with gradients for x and bias."""
    y: Tensor = _PackedLinear.apply(x, bias, product)
    return y


class PackedLinear(nn.Linear):
    """A linear layer whose weight is frozen and packed; its parameters are those of the layer it replaces."""

    def __init__(self, layer: nn.Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self.product = FrozenProduct(layer.weight)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        bias = None if self.bias is None else self.bias.to(self.product.dtype)
        y = packed_linear(x.reshape(-1, x.shape[-1]), bias, self.product)
        return y.view(*x.shape[:-1], -1)


def pack_frozen(model: nn.Module) -> nn.Module:
    """Pack every frozen linear weight of a model that is on its device and in its type; in place.

    Layers whose weight trains are left alone, and so is the weight of anything but a linear layer. Plain layers are
    replaced by `PackedLinear`; LoRA layers get a `product`, which their forward pass uses (but DoRA's has no use for
    one).

    Returns:
        The same model.
    """
    from lora_nlg.lora.dora import DoRALinear
    from lora_nlg.lora.layers import MergedLinear

    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or module.weight.requires_grad or not can_pack(module.weight):
            continue
        if isinstance(module, DoRALinear):
            continue
        if isinstance(module, MergedLinear):
            module.product = FrozenProduct(module.weight)
        elif type(module) is nn.Linear and not _is_shared(model, module.weight):
            setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], PackedLinear(module))
    return model


def _is_shared(model: nn.Module, weight: Tensor) -> bool:
    """Whether another module holds the same weight (a head tied to an embedding: its user decides how to pack it)."""
    owners = [m for m in model.modules() if any(p is weight for p in m.parameters(recurse=False))]
    return len(owners) > 1
