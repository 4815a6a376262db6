"""Bottleneck adapters: small residual networks in a frozen block.

`y + U·σ(D·LN(y) + b_D) + b_U`, D from the model's width to a small one and U back. Houlsby et al. 2019
("Parameter-Efficient Transfer Learning for NLP") put one on each sub-layer's output, without a layer norm of its own;
Lin et al. 2020 ("Exploring Versatile Generative Language Model Via Parameter-Efficient Transfer Learning") put one
behind the block, with one.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_nlg.errors import InputError

Activation = Literal["relu", "gelu"]


class Bottleneck(nn.Module):
    """y + U·σ(D·LN(y) + b_D) + b_U.

    Its products are of the type of y; its parameters, which train, may be of a wider one.

    Args:
        width: of y, the model's.
        size: inner width m.
        activation: relu, or gelu in its tanh form.
        layer_norm: the epsilon of a layer norm of its own. Default: None, no layer norm.

    Raises:
        InputError: the size is below 1, or another activation.
    """

    ln: nn.LayerNorm | None

    def __init__(self, width: int, size: int, activation: Activation = "relu", layer_norm: float | None = None) -> None:
        super().__init__()
        if size < 1:
            raise InputError(f"the bottleneck's size must be at least 1, got {size}")
        if activation not in get_args(Activation):
            raise InputError(f"the activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        self.activation = activation
        self.ln = None if layer_norm is None else nn.LayerNorm(width, eps=layer_norm)
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, up_std: float = 0.02) -> None:
        """D from N(0, 0.02), U from N(0, `up_std`), biases zero; of 0, the network starts as the identity."""
        for layer, std in ((self.down, 0.02), (self.up, up_std)):
            layer.weight.normal_(0.0, std)
            layer.bias.zero_()

    def forward(self, y: Tensor) -> Tensor:
        """(T, width) -> (T, width)."""
        x = y
        if self.ln is not None:
            x = self.ln(y.to(self.ln.weight.dtype)).to(y.dtype)
        x = _linear(self.down, x)
        return y + _linear(self.up, F.relu(x) if self.activation == "relu" else F.gelu(x, approximate="tanh"))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
