"""The dial: a trained model with its update multiplied, W + f·ΔW for a factor f; 0 is the base, 1 as trained.

Since ΔW = (alpha/r)·B·A, that is the run with f times its alpha. Each factor is folded once into plain weights, which
everything is then measured with. DoRA's update is not linear in alpha: it is ΔW that is multiplied, not alpha. Of a
model that was trained as a whole, every parameter p becomes p_base + f·(p − p_base).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import adapted_layers, strip

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@torch.no_grad()
def at_factor(model: GPT2, factor: float, base: GPT2 | None = None) -> GPT2:
    """The model with its update multiplied, in plain layers; what isn't adapted is shared.

    Args:
        model: with adapted layers, or trained as a whole; stays as it is.
        factor: f, any finite number.
        base: of a model that was trained as a whole. Default: none is needed.

    Raises:
        InputError: a factor that isn't finite, or neither adapted layers nor a base.
    """
    if not math.isfinite(factor):
        raise InputError(f"`scales` must be finite, got {factor}")
    if layers := adapted_layers(model):
        scaled = strip(model)
        for name, layer in layers.items():
            plain = scaled.get_submodule(name)
            weight = layer.weight.to(layer.update_dtype) + factor * layer.delta_weight()
            plain.weight = nn.Parameter(weight, requires_grad=False)
            before, bias = getattr(plain, "bias", None), layer.merged_bias()
            if before is not None and bias is not None and bias is not before:  # (IA)³ scales it with the weight
                plain.bias = nn.Parameter(torch.lerp(before.to(bias), bias, factor), requires_grad=False)
        return scaled.eval()
    if base is None:
        raise InputError("a model without adapted layers has no update to multiply unless its base is given")
    scaled = copy.deepcopy(model)
    for now, before in zip(scaled.parameters(), base.parameters(), strict=True):
        now.copy_(before + factor * (now - before))
    return scaled.eval()


def turn(
    model: GPT2,
    factors: Iterable[float],
    measure: Callable[[GPT2], Mapping[str, float]],
    base: GPT2 | None = None,
) -> list[dict[str, Any]]:
    """Measure a model at every factor.

    Args:
        model, base: as for `at_factor`.
        factors: to multiply the update by.
        measure: a plain model -> values by name.

    Returns:
        For each distinct factor, in ascending order, `factor` and the values.
    """
    return [{"factor": factor, **measure(at_factor(model, factor, base))} for factor in sorted(set(factors))]


def best_factor(points: Iterable[Mapping[str, Any]], name: str, lowest: bool) -> float:
    """The factor at which a measure is best; of equal ones the one nearest to 1. NaN where it is finite nowhere."""
    finite = [point for point in points if math.isfinite(point.get(name, math.nan))]
    sign = 1 if lowest else -1
    best = min(finite, key=lambda point: (sign * point[name], abs(point["factor"] - 1)), default={"factor": math.nan})
    return float(best["factor"])
