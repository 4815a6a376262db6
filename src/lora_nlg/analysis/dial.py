"""The dial: a trained model with its update multiplied, W + f·ΔW for a factor f; 0 is the base, 1 as trained.

Since ΔW = (alpha/r)·B·A, that is the run with f times its alpha. Each factor is folded once into plain weights, which
everything is then measured with; or, with plain LoRA, several factors are adapters on one base in one forward pass.
DoRA's update is not linear in alpha: it is ΔW that is multiplied, not alpha. Of a model that was trained as a whole,
every parameter p becomes p_base + f·(p − p_base).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import FusedLinear, Linear, adapted_layers, strip
from lora_nlg.lora.batched import BatchedLinear, Rows

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
AT_ONCE = 8
"""Most factors in one forward pass: each has its own hidden states and logits in memory."""


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
    _require_finite(factor)
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


def _require_finite(factor: float) -> None:
    if not math.isfinite(factor):
        raise InputError(f"`scales` must be finite, got {factor}")


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


def is_plain_lora(model: GPT2) -> bool:
    """Whether every update is a product B·A added to a linear layer, so that `at_factors` takes the model."""
    layers = adapted_layers(model).values()
    return bool(layers) and all(type(layer) in (FusedLinear, Linear) for layer in layers)


@torch.no_grad()
def at_factors(model: GPT2, factors: Sequence[float]) -> tuple[GPT2, Rows]:
    """The model with its update multiplied by each of N factors: N adapters on its base, which is shared.

    Args:
        model: with plain LoRA, see `is_plain_lora`; stays as it is.
        factors: any finite numbers.

    Returns:
        The model, whose stream holds the rows of each factor in turn, and whose rows are whose.

    Raises:
        InputError: a factor that isn't finite.
    """
    for factor in factors:
        _require_finite(factor)
    together, rows = strip(model), Rows()
    for name, layer in adapted_layers(model).items():
        assert isinstance(layer, FusedLinear), "plain LoRA"
        batched = BatchedLinear([layer] * len(factors), rows)
        # f·(B·A) is (f·B)·A.
        batched.lora_B.mul_(batched.lora_B.new_tensor(factors)[:, None, None, None])
        together.set_submodule(name, batched)
    return together.eval(), rows


def turn_together(
    model: GPT2, factors: Iterable[float], measure: Callable[[GPT2, Rows, int], Iterable[Mapping[str, float]]]
) -> list[dict[str, Any]]:
    """`turn` for plain LoRA, several factors at once.

    Args:
        model, factors: as for `at_factors`.
        measure: N adapters on one base, whose rows are whose, N -> values by name for each of them.
    """
    ordered, points = sorted(set(factors)), []
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        values = measure(*at_factors(model, some), len(some))
        points += [{"factor": factor, **own} for factor, own in zip(some, values, strict=True)]
    return points


def best_factor(points: Iterable[Mapping[str, Any]], name: str, lowest: bool) -> float:
    """The factor at which a measure is best; of equal ones the one nearest to 1. NaN where it is finite nowhere."""
    finite = [point for point in points if math.isfinite(point.get(name, math.nan))]
    sign = 1 if lowest else -1
    best = min(finite, key=lambda point: (sign * point[name], abs(point["factor"] - 1)), default={"factor": math.nan})
    return float(best["factor"])
