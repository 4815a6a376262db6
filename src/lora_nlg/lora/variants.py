"""LoRA's relatives: which layer each needs, and the two that are ways of training rather than layers.

Plain LoRA knows nothing of them: `--lora_variant` chooses the class that injection puts in.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.lora.dora import DoRALinear
from lora_nlg.lora.layers import FusedLinear, LoRALayer
from lora_nlg.lora.pissa import PiSSALinear

VARIANTS = {kind.variant: kind for kind in (FusedLinear, DoRALinear, PiSSALinear)}
"""How the update of a linear layer is formed."""


def check_variant(variant: str) -> str:
    """The name, checked.

    Raises:
        InputError: no such variant.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown LoRA variant {variant!r}; choose from {', '.join(VARIANTS)}")
    return variant


def variant_of(model: nn.Module) -> str:
    """The variant of a model's LoRA layers; `lora` without any.

    Raises:
        InputError: layers of more than one.
    """
    names = {module.variant for module in model.modules() if isinstance(module, LoRALayer)}
    if len(names) > 1:
        raise InputError(f"the model mixes {', '.join(sorted(names))}; an adapter file holds one variant")
    return names.pop() if names else "lora"


def freeze_projections(model: nn.Module) -> None:
    """LoRA-FA: train only the matrix that starts at zero (Zhang et al. 2023, https://arxiv.org/abs/2308.03303).

    The random projection keeps its values and needs no gradient, so the layer's input isn't kept for the backward
    pass. Call it after `mark_only_lora_as_trainable`.

    Raises:
        InputError: a layer whose A and B both start from the weight (PiSSA), which this would cripple.
    """
    for module in model.modules():
        if isinstance(module, PiSSALinear):
            raise InputError("LoRA-FA freezes a random A; PiSSA's is the weight's own, choose one of the two")
        if isinstance(module, LoRALayer):
            frozen = "lora_B" if module.zero_started == "lora_A" else "lora_A"
            getattr(module, frozen).requires_grad_(False)


def lora_plus_(
    optimizer: torch.optim.Optimizer, value: nn.Parameter, pieces: Mapping[str, Tensor], model: nn.Module, ratio: float
) -> None:
    """LoRA+: train the matrix that starts at zero with `ratio` times the rate (Hayou et al. 2024, arXiv:2402.12354).

    torch's AdamW takes a step linear in its rate, so the step of those entries is multiplied after it was taken
    (with `adamw_lora`, whose decay follows the update, that differs by a term in rate²·decay). The optimiser, its state
    and snapshots stay what they are without LoRA+.

    Args:
        optimizer: over `value`; hooks are added to it.
        value: the flat parameter.
        pieces: parameter name -> its view of `value`.
        model: whose layers say which matrix starts at zero.
        ratio: λ of the paper; 16 is its advice for language models, 1 changes nothing.

    Raises:
        InputError: the ratio isn't positive.
    """
    if not 0 < ratio < float("inf"):
        raise InputError(f"`lora_plus_ratio` must be above 0, got {ratio}")
    layers = dict(model.named_modules())
    owners = {name: layers.get(name.rpartition(".")[0]) for name in pieces}
    faster = [
        piece
        for name, piece in pieces.items()
        if isinstance(layer := owners[name], LoRALayer) and name.endswith(f".{layer.zero_started}")
    ]
    before: list[Tensor] = []

    def remember(*_: object) -> None:
        before[:] = [piece.clone() for piece in faster]

    def lengthen(*_: object) -> None:
        with torch.no_grad():
            for piece, old in zip(faster, before, strict=True):
                torch.lerp(old, piece, ratio, out=piece)

    assert all(piece.data_ptr() >= value.data_ptr() for piece in pieces.values()), "pieces must be views of value"
    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(lengthen)
