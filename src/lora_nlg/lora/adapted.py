"""What every layer with an update of its weight shares, however the update is formed: merging, and undoing it exactly.

LoRA's layers (`layers.py`) are of this kind; so are those of methods that scale a weight instead of adding to it, for
which `AdaptedLinear` has what they share beyond that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.frozen import FrozenMatmul, frozen_linear


class AdaptedLayer(nn.Module):
    """A torch layer whose frozen `weight` is used with an update.

    A subclass is also a torch layer with a `weight`; it implements `delta_weight` and, if the bias changes with the
    weight, `merged_bias`.
    """

    weight: Tensor
    _base: tuple[Tensor, nn.Parameter | None] | None = None

    def delta_weight(self) -> Tensor:
        """The update in the shape and layout of `weight`, of `update_dtype`."""
        raise TypeError(f"{type(self).__name__} does not define delta_weight")

    def merged_bias(self) -> Tensor | None:
        """`bias` as it is used with the update: as it stands, for most methods."""
        return getattr(self, "bias", None)

    @property
    def update_dtype(self) -> torch.dtype:
        """fp32 also where `weight` is held in less: 16 bits would round most of a small update away."""
        return torch.promote_types(self.weight.dtype, torch.float32)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """`weight` with the update, of `update_dtype`.

        Raises:
            InputError: it would not be finite.
        """
        if self.merged:
            return self.weight
        merged = self.weight + self.delta_weight()
        if not torch.isfinite(merged).all():
            raise InputError("the merged weight is not finite: the adapter has diverged; use an earlier snapshot")
        return merged

    @torch.no_grad()
    def lost_in(self, dtype: torch.dtype) -> float:
        """The part of the update that is lost when the merged weight is rounded to a type: ‖rounded − exact‖/‖exact‖.

        The base's own rounding doesn't count: what is rounded is W and W + Δ, and their difference is looked at.
        """
        delta = self.delta_weight()
        rounded = (self.weight + delta).to(dtype).to(delta.dtype) - self.weight.to(dtype).to(delta.dtype)
        norm = float(delta.norm())
        return float((rounded - delta).norm()) / norm if norm else 0.0

    @torch.no_grad()
    def update_norm(self) -> Tensor:
        """The Frobenius norm of the update: a scalar, on its device."""
        return self.delta_weight().double().square().sum().sqrt()

    def pack_weight(self) -> None:
        """Lay the frozen weight out for the CPU; nothing to do for a layer that has no use for it."""

    @property
    def merged(self) -> bool:
        """Whether `weight` holds the update."""
        return self._base is not None

    @torch.no_grad()
    def merge(self) -> None:
        """Put the update into `weight`; the forward pass is then the base layer's. Merging twice is merging once.

        Raises:
            InputError: the merged weight would not be finite.
        """
        if self.merged:
            return
        merged, bias = self.merged_weight().to(self.weight.dtype), self.merged_bias()
        own_bias = getattr(self, "bias", None)
        # A new parameter, not an in-place sum: unmerging is exact, and a head tied to the base weight keeps it.
        # Kept in __dict__, since a registered parameter would enter the state dict.
        self.__dict__["_base"] = (self.weight, own_bias)
        self.weight = nn.Parameter(merged, requires_grad=False)
        if bias is not own_bias and bias is not None:
            self.register_parameter("bias", nn.Parameter(bias.detach().to(merged.dtype), requires_grad=False))

    def unmerge(self) -> None:
        """Restore `weight` and `bias` to their values before `merge`, bit for bit."""
        if self._base is None:
            return
        weight, bias = self._base
        self.weight = weight
        if bias is not None:
            self.register_parameter("bias", bias)
        del self.__dict__["_base"]


class AdaptedLinear(nn.Linear, AdaptedLayer):
    """A linear layer in place of a plain one, whose parameters it shares; `product` is what the plain one computes.

    Args:
        layer: what it replaces.

    Attributes:
        matmul: products with the frozen weight, once `pack_weight` was called.
    """

    matmul: FrozenMatmul | None = None

    def __init__(self, layer: nn.Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self.train(layer.training)

    def add_vector(self, name: str, size: int, start: float = 0.0) -> None:
        """Register a trained vector, fp32, on the weight's device."""
        vector = torch.full((size,), start, dtype=torch.float32, device=self.weight.device)
        self.register_parameter(name, nn.Parameter(vector))

    def pack_weight(self) -> None:
        """Multiply with a packed copy of the frozen weight from now on."""
        self.matmul = FrozenMatmul(self.weight)

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ + bias, (..., in_features) -> (..., out_features)."""
        if self.matmul is None or self.merged:
            return F.linear(x, self.weight, self.bias)
        bias = None if self.bias is None else self.bias.to(self.matmul.dtype)
        return frozen_linear(x.reshape(-1, x.shape[-1]), bias, self.matmul).view(*x.shape[:-1], -1)


def linear_layer(module: nn.Module, name: str) -> nn.Linear:
    """A linear layer of a module by name.

    Raises:
        InputError: it is of another kind.
    """
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise InputError(f"layer {name!r} is a {type(layer).__name__}, not a linear one")
    return layer
