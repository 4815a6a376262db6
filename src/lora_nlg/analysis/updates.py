"""The update ΔW of every layer and part of a trained model, by its singular value decomposition.

A part is what LoRA's targets name: q, k, v, o, fc, proj, wte. W and ΔW are written as output × input, so that
y = (W + ΔW)·x; of the embedding, whose input is a token, that is the transposed weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, target_names
from lora_nlg.lora import AdaptedLayer, Embedding, FusedLinear, LoRALayer, adapted_layers
from lora_nlg.lora.spec import Factors

MOST_DIRECTIONS = 64
"""Directions looked at of an update whose rank isn't bounded; the largest rank that the paper looks at."""


@dataclass(frozen=True)
class Update:
    """ΔW = U·diag(S)·Vᵀ of one part of one layer.

    Attributes:
        layer: number of the block; None for the embedding.
        part: the target's name.
        weight: the base's W, shape (D_out, D_in).
        U, S, V: shapes (D_out, n), (n,) and (D_in, n); S falls.
        directions: how many of the n, from the first, are looked at: all of a low-rank update.
        factors: orthonormal directions of the trained A and B, strongest first: the right singular vectors of A and
            the left ones of B. Empty where ΔW is not B·A (DoRA, PiSSA, models trained as a whole).
    """

    layer: int | None
    part: str
    weight: Tensor
    U: Tensor
    S: Tensor
    V: Tensor
    directions: int
    factors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def norm(self) -> float:
        """‖ΔW‖_F, the root of the sum of the squared singular values."""
        return float(self.S.norm())


@torch.no_grad()
def updates_of(model: GPT2) -> list[Update]:
    """The updates of a model with adapted layers, in the order of the blocks.

    Raises:
        InputError: it has none, or values that are not finite.
    """
    found: list[Update] = []
    for name, layer in adapted_layers(model).items():
        try:
            found += _of_layer(name, layer)
        except torch.linalg.LinAlgError as error:
            raise InputError(f"{name}: the update has no singular values: {error}") from None
    if not found:
        raise InputError("the model has no update of a weight: it has no adapted layers")
    return found


def _of_layer(name: str, layer: AdaptedLayer) -> Iterator[Update]:
    if not isinstance(layer, LoRALayer):  # another method's, of any rank
        names, delta = target_names(name), layer.delta_weight()
        parts = zip(names, layer.weight.chunk(len(names)), delta.chunk(len(names)), strict=True)
        yield from (_dense(_block(name), part, W, own, MOST_DIRECTIONS) for part, W, own in parts if own.any())
        return
    targets = [target for target, spec in zip(target_names(name), layer.specs, strict=True) if spec is not None]
    ranks = [spec.r for spec in layer.specs if spec is not None]
    transposed = isinstance(layer, Embedding)
    W = layer.weight.t() if transposed else layer.weight
    low_rank = layer.factors()
    if low_rank:
        plain = layer.variant == "lora"
        for target, own in zip(targets, low_rank, strict=True):
            U, S, V = own.svd()
            directions = _factor_directions(own) if plain else {}
            yield Update(_block(name), target, W[own.columns], U, S, V, len(S), directions)
        return
    assert isinstance(layer, FusedLinear), "an update that is no product is a DoRA layer's"
    delta = layer.delta_weight()
    for target, r, part in zip(targets, ranks, layer.slices, strict=True):
        yield _dense(_block(name), target, W[part.columns], delta[part.columns], r)


def _factor_directions(own: Factors) -> dict[str, Tensor]:
    B, _, _ = torch.linalg.svd(own.B.double(), full_matrices=False)
    _, _, A = torch.linalg.svd(own.A.double(), full_matrices=False)
    return {"A": A.t(), "B": B}


@torch.no_grad()
def updates_between(model: GPT2, base: GPT2) -> list[Update]:
    """The updates of a model that was trained as a whole: trained weight − base weight, for the blocks' linear layers.

    Those that training left as they were are left out: they have no directions.

    Args:
        model: as trained.
        base: what it started from.

    Raises:
        InputError: they differ in shape.
    """
    if model.config != base.config:
        raise InputError("the base is of another size than the model trained from it; give its base")
    found = []
    layers = dict(base.named_modules())
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear) or _block(name) is None:
            continue
        before = layers[name]
        assert isinstance(before, nn.Linear), "models of one configuration have the same layers"
        targets = target_names(name)
        parts = zip(targets, layer.weight.chunk(len(targets)), before.weight.chunk(len(targets)), strict=True)
        found += [
            _dense(_block(name), target, W, now - W, MOST_DIRECTIONS)
            for target, now, W in parts
            if not torch.equal(now, W)
        ]
    return found


def _dense(layer: int | None, part: str, W: Tensor, delta: Tensor, directions: int) -> Update:
    U, S, Vh = torch.linalg.svd(delta.float(), full_matrices=False)
    return Update(layer, part, W, U.double(), S.double(), Vh.t().double(), min(directions, len(S)))


def _block(name: str) -> int | None:
    """The block's number in `transformer.h.3.attn.c_attn`."""
    numbers = [part for part in name.split(".") if part.isdigit()]
    return int(numbers[0]) if numbers else None
