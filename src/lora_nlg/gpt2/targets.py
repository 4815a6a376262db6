"""Where LoRA goes in a GPT-2: the names people type (q, k, v, o, fc, proj, wte) -> layers and their parts."""

from __future__ import annotations

from collections.abc import Mapping

from lora_nlg.errors import InputError
from lora_nlg.gpt2.config import GPT2Config
from lora_nlg.lora import LoRASpec
from lora_nlg.lora.inject import Target

QKV = ("q", "k", "v")
LAYERS = {"o": "attn.c_proj", "fc": "mlp.c_fc", "proj": "mlp.c_proj"}
TARGETS = (*QKV, *LAYERS, "wte")


def lora_targets(config: GPT2Config, specs: Mapping[str, LoRASpec]) -> dict[str, Target]:
    """Module names and specs for `lora.inject`, in the order of the blocks.

    Args:
        config: the model's shape.
        specs: target name -> how it is adapted. q, k and v are parts of one fused layer.

    Raises:
        InputError: no target, or an unknown one.
    """
    if not specs:
        raise InputError(f"no LoRA target given; choose from {', '.join(TARGETS)}")
    if unknown := [name for name in specs if name not in TARGETS]:
        raise InputError(f"unknown LoRA target {', '.join(unknown)}; choose from {', '.join(TARGETS)}")
    targets: dict[str, Target] = {"transformer.wte": specs["wte"]} if "wte" in specs else {}
    for i in range(config.n_layer):
        block = f"transformer.h.{i}"
        if any(name in specs for name in QKV):
            targets[f"{block}.attn.c_attn"] = [specs.get(name) for name in QKV]
        for name, layer in LAYERS.items():
            if name in specs:
                targets[f"{block}.{layer}"] = specs[name]
    return targets
