"""Where LoRA goes in a GPT-2: the names people type (q, k, v, o, fc, proj, wte) <-> layers and their parts.

On the command line targets are a list, each with its own rank or alpha if it should differ from the run's:
`q,v` or `q:r=8,v:r=2:alpha=64,fc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2.config import GPT2Config
from lora_nlg.lora import LoRASpec, lora_layers
from lora_nlg.lora.inject import Target

QKV, C_ATTN = ("q", "k", "v"), "attn.c_attn"
"""The parts of the fused layer, and its name within a block."""
LAYERS = {"o": "attn.c_proj", "fc": "mlp.c_fc", "proj": "mlp.c_proj"}
TARGETS = (*QKV, *LAYERS, "wte")
_ELSEWHERE = {
    "c_attn": "q,k,v", "qkv": "q,k,v", "qkv_proj": "q,k,v", "query_key_value": "q,k,v",
    "all-linear": "q,k,v,o,fc,proj",
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "query": "q", "key": "k", "value": "v",
    "wq": "q", "wk": "k", "wv": "v",
    "c_proj": "o (attn.c_proj) or proj (mlp.c_proj)", "o_proj": "o", "out_proj": "o", "wo": "o", "dense": "o",
    "c_fc": "fc", "fc1": "fc", "up_proj": "fc", "fc_in": "fc", "fc2": "proj", "down_proj": "proj", "fc_out": "proj",
    "embed_tokens": "wte", "embedding": "wte",
}  # fmt: skip
"""What Hugging Face's GPT-2, other models and PEFT call these layers."""
_SETTINGS: dict[str, Callable[[str], Any]] = {"r": int, "alpha": float}
_BLOCK_LAYER = re.compile(r"transformer\.h\.\d+\.(.+)")


def parse_targets(text: str, default: LoRASpec) -> dict[str, LoRASpec]:
    """The value of `--lora_targets`.

    Example: with a default of r = 4 and alpha = 128, `q:r=8,v` adapts q with rank 8 and v with rank 4, both with
    alpha 128; `q:r=8:alpha=16` sets both.

    Args:
        text: target names separated by commas, each followed by `:r=N` or `:alpha=X` where it differs.
        default: rank, alpha, dropout and scaling rule of the run.

    Returns:
        Target name -> how it is adapted, in the order of `TARGETS`.

    Raises:
        InputError: no target, an unknown or repeated one, or a setting other than r and alpha.
    """
    specs: dict[str, LoRASpec] = {}
    for item in text.split(","):
        name, *settings = (part.strip() for part in item.split(":"))
        if name not in TARGETS:
            raise InputError(
                f"unknown LoRA target {name!r} in {text!r}; {_meant(name)}choose from {', '.join(TARGETS)}, e.g. q,v"
            )
        if name in specs:
            raise InputError(f"LoRA target {name} is given twice in {text!r}")
        spec = default
        for setting in settings:
            key, _, value = setting.partition("=")
            try:
                spec = replace(spec, **{key: _SETTINGS[key](value)})
            except (KeyError, ValueError) as error:
                reason = f": {error}" if isinstance(error, InputError) else ""
                raise InputError(
                    f"{setting!r} in {text!r} is not r=WHOLE NUMBER or alpha=NUMBER, as in q:r=8:alpha=16{reason}"
                ) from None
        specs[name] = spec
    return {name: specs[name] for name in TARGETS if name in specs}


def _meant(name: str) -> str:
    """What a name of another program means here, for a message; nothing where none is near."""
    leaf = name.lower().rpartition(".")[2]
    target = _ELSEWHERE.get(leaf) or next((near for near in TARGETS if leaf == near), "")
    return f"{name} is {target} here; " if target else ""


def targets_of(model: nn.Module, config: GPT2Config) -> dict[str, LoRASpec]:
    """How a model is adapted: the inverse of `lora_targets`.

    Args:
        model: a GPT-2 with or without LoRA layers.
        config: its shape.

    Returns:
        Target name -> spec, in the order of `TARGETS`; empty without LoRA.

    Raises:
        InputError: the blocks are not adapted alike, so that target names can't say where LoRA is.
    """
    found: dict[str, set[LoRASpec]] = {}
    layers = lora_layers(model)
    for module, layer in layers.items():
        for target, spec in zip(target_names(module), layer.specs, strict=True):
            if spec is not None:
                found.setdefault(target, set()).add(spec)
    specs = {name: next(iter(found[name])) for name in TARGETS if name in found}
    alike = all(len(specs_of_target) == 1 for specs_of_target in found.values())
    if layers and not (alike and set(lora_targets(config, specs)) == set(layers)):
        raise InputError("the model's blocks are not adapted alike; target names can't describe such an adapter")
    return specs


def target_names(module: str) -> tuple[str, ...]:
    """The target names of a layer's parts: (q, k, v) for `transformer.h.0.attn.c_attn`, (o,) for `….attn.c_proj`.

    Raises:
        InputError: the module is none of a GPT-2's that LoRA adapts.
    """
    if module == "transformer.wte":
        return ("wte",)
    block = _BLOCK_LAYER.fullmatch(module)
    leaf = block[1] if block else ""
    if leaf == C_ATTN:
        return QKV
    for target, path in LAYERS.items():
        if leaf == path:
            return (target,)
    raise InputError(f"{module} is no layer of a GPT-2 that LoRA adapts here; those are {', '.join(TARGETS)}")


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
            targets[f"{block}.{C_ATTN}"] = [specs.get(name) for name in QKV]
        for name, layer in LAYERS.items():
            if name in specs:
                targets[f"{block}.{layer}"] = specs[name]
    return targets
