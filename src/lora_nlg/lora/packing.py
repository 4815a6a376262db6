"""Lay the frozen weights of an adapted model out for the CPU (`lora_nlg.frozen`)."""

from __future__ import annotations

from torch import Tensor, nn

from lora_nlg.frozen import PackedLinear
from lora_nlg.lora.adapted import AdaptedLayer
from lora_nlg.onednn import can_pack


def pack_frozen(model: nn.Module) -> nn.Module:
    """Pack every frozen linear weight of a model that is on its device and in its type; in place.

    Layers whose weight trains are left alone, and so is the weight of anything but a linear layer. Plain layers are
    replaced by `PackedLinear`; adapted layers pack their own (`AdaptedLayer.pack_weight`).

    Returns:
        The same model.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or module.weight.requires_grad or not can_pack(module.weight):
            continue
        if isinstance(module, AdaptedLayer):
            module.pack_weight()
        elif type(module) is nn.Linear and not _is_shared(model, module.weight):
            model.set_submodule(name, PackedLinear(module))
    return model


def _is_shared(model: nn.Module, weight: Tensor) -> bool:
    """Whether another module holds the same weight (a head tied to an embedding: its user decides how to pack it)."""
    owners = [m for m in model.modules() if any(p is weight for p in m.parameters(recurse=False))]
    return len(owners) > 1
