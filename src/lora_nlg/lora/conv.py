"""LoRA for convolutions (Hu et al. 2021 adapt linear layers; the convolution's layout is microsoft's loralib's).

For a kernel of n equal sizes k, `lora_A` is (r·k, in·k) and `lora_B` is (out/groups·kⁿ⁻¹, r·k); their product has
as many elements as the weight (out, in/groups, k, …) and is reshaped to it. loralib uses kⁿ⁻¹ = k for every n, which
fits Conv2d, and Conv1d and Conv3d only with k = 1; where it fits, the layers here equal its layers.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.lora.layers import LoRALayer
from lora_nlg.lora.spec import LoRASpec

_KINDS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class _ConvLoRA(LoRALayer):
    """What the convolutions share; each is also a torch convolution."""

    kernel_size: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int
    bias: Tensor | None

    def _add_lora(self, spec: LoRASpec) -> None:
        k = self.kernel_size[0]
        if any(size != k for size in self.kernel_size):
            raise InputError(f"LoRA adapts convolutions with equal kernel sizes, got {self.kernel_size}")
        self.specs, self.scaling, self.dropout = (spec,), spec.scaling, spec.dropout
        rows = self.out_channels // self.groups * k ** (len(self.kernel_size) - 1)
        self.lora_A = nn.Parameter(self.weight.new_zeros(spec.r * k, self.in_channels * k))
        self.lora_B = nn.Parameter(self.weight.new_zeros(rows, spec.r * k))
        self.reset_lora_parameters()

    def reset_lora_parameters(self) -> None:
        """A from Kaiming-uniform (a = √5), B zero: the update starts at zero."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def delta_weight(self) -> Tensor:
        """B·A·scaling in the shape of `weight`."""
        return ((self.lora_B @ self.lora_A).view(self.weight.shape) * self.scaling).to(self.update_dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, …) -> (N, out, …). The reshaped product has no low-rank form, so it is built; kernels are small."""
        if self.merged:
            return self._convolve(x, self.weight, self.bias)
        delta = self.delta_weight().to(self.weight.dtype)
        if not self.training or self.dropout == 0:
            return self._convolve(x, self.weight + delta, self.bias)
        y = self._convolve(x, self.weight, self.bias)
        return y + self._convolve(F.dropout(x, self.dropout), delta, None)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        torch_convolution: Any = self._conv_forward  # the torch layer's, with its stride and padding
        y: Tensor = torch_convolution(x, weight, bias)
        return y


class Conv1d(_ConvLoRA, nn.Conv1d):
    """`nn.Conv1d` with a low-rank update. Args: a `LoRASpec`, then those of `nn.Conv1d`."""

    def __init__(self, spec: LoRASpec, *args: Any, **kwargs: Any) -> None:
        nn.Conv1d.__init__(self, *args, **kwargs)
        self._add_lora(spec)


class Conv2d(_ConvLoRA, nn.Conv2d):
    """`nn.Conv2d` with a low-rank update. Args: a `LoRASpec`, then those of `nn.Conv2d`."""

    def __init__(self, spec: LoRASpec, *args: Any, **kwargs: Any) -> None:
        nn.Conv2d.__init__(self, *args, **kwargs)
        self._add_lora(spec)


class Conv3d(_ConvLoRA, nn.Conv3d):
    """`nn.Conv3d` with a low-rank update. Args: a `LoRASpec`, then those of `nn.Conv3d`."""

    def __init__(self, spec: LoRASpec, *args: Any, **kwargs: Any) -> None:
        nn.Conv3d.__init__(self, *args, **kwargs)
        self._add_lora(spec)


def adapted_convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, spec: LoRASpec) -> LoRALayer:
    """The LoRA counterpart of a convolution, with weights of its own yet to be set."""
    kinds = {1: Conv1d, 2: Conv2d, 3: Conv3d}
    return kinds[len(layer.kernel_size)](spec, **_arguments(layer))


def plain_convolution(layer: nn.Module) -> nn.Module:
    """The torch layer a LoRA convolution is the counterpart of, with weights of its own yet to be set."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d), "LoRA convolutions are torch convolutions"
    return _KINDS[len(layer.kernel_size)](**_arguments(layer))


def _arguments(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {**{name: getattr(layer, name) for name in names}, "bias": layer.bias is not None}
