"""LoRA's relatives: which layer each needs, and the two that are ways of training rather than layers.

Plain LoRA knows nothing of them: `--lora_variant` chooses the class that injection puts in.
"""

from __future__ import annotations

from torch import nn

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


def frozen_projections(model: nn.Module) -> set[str]:
    """LoRA-FA trains only the matrix that starts at zero (Zhang et al. 2023, https://arxiv.org/abs/2308.03303).

    The random projection keeps its values and needs no gradient, so the layer's input isn't kept for the backward
    pass.

    Returns:
        Names of the parameters that stay as drawn.

    Raises:
        InputError: a layer whose A and B both start from the weight (PiSSA), which this would cripple.
    """
    names = set()
    for name, module in model.named_modules():
        if isinstance(module, PiSSALinear):
            raise InputError("LoRA-FA freezes a random A; PiSSA's is the weight's own, choose one of the two")
        if isinstance(module, LoRALayer):
            leaf = "lora_B" if module.zero_started == "lora_A" else "lora_A"
            names.add(f"{name}.{leaf}" if name else leaf)
    return names


def lora_plus_rates(model: nn.Module, ratio: float) -> dict[str, float]:
    """LoRA+: the matrix that starts at zero trains with `ratio` times the rate (Hayou et al. 2024, arXiv:2402.12354).

    Args:
        model: with LoRA layers.
        ratio: λ of the paper; 16 is its advice for language models, 1 changes nothing.

    Returns:
        Parameter name → what its learning rate is multiplied by; those not named keep theirs.

    Raises:
        InputError: the ratio isn't positive.
    """
    if not 0 < ratio < float("inf"):
        raise InputError(f"`lora_plus_ratio` must be above 0, got {ratio}")
    if ratio == 1:
        return {}
    return {
        f"{name}.{layer.zero_started}": ratio for name, layer in model.named_modules() if isinstance(layer, LoRALayer)
    }
