"""PEFT adapters of every kind (`adapter_config.json` + `adapter_model.safetensors`), in and out.

LoRA's are read and written by `weights/peft.py`, through the form that loralib's files share; those of another method
by the method itself (`Method.to_peft`, `from_peft`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, write_json
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods import METHODS, LoRA, Method
from lora_nlg.weights.adapter import AdapterInfo, BaseInfo, TokenizerInfo, install
from lora_nlg.weights.lowrank import LowRank, extract, insert
from lora_nlg.weights.peft import CONFIG, WEIGHTS, find_peft_weights, is_pissa, read_peft, write_peft
from lora_nlg.weights.peft_options import OPTIONS
from lora_nlg.weights.tensor_files import read_tensors, save_tensors, unfit

KINDS = {method.peft.peft_type: method for method in METHODS.values() if method.peft is not None}
"""Kind of PEFT adapter → the method that reads it, beside LoRA."""


def save_peft(folder: str | Path, model: GPT2, method: Method, base_path: str = "") -> Path:
    """Write what a method put into a model as an adapter that `PeftModel.from_pretrained` runs on the same base.

    Args:
        folder: made if absent.
        model: a GPT-2 with the method in it.
        method: what it is.
        base_path: what `adapter_config.json` names as the base. Default: nothing.

    Returns:
        The path of `adapter_model.safetensors`.

    Raises:
        InputError: PEFT has nothing that computes the same.
    """
    if isinstance(method, LoRA):
        return write_peft(folder, extract(model, method.bias), base_path)
    method, state = method.stored(model)
    options, tensors = method.to_peft({name: value.detach().cpu() for name, value in state.items()}, model.config)
    kind = type(method).peft
    assert kind is not None, f"{method.name} writes PEFT adapters of a kind"
    file = Path(folder) / WEIGHTS[0]
    save_tensors(file, {name: value.contiguous() for name, value in tensors.items()}, {"format": "pt"})
    config = {
        "peft_type": kind.peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_path or None,
        **options,
        "inference_mode": True,
    }
    write_json(Path(folder) / CONFIG, config)
    return file


def load_peft(
    folder: str | Path, model: GPT2, base: BaseInfo | None = None, tokenizer: TokenizerInfo | None = None
) -> AdapterInfo:
    """Put a PEFT adapter into a base, in place.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).
        model: the base.
        base: what the base is, for the description returned. Default: not said.
        tokenizer: the vocabulary it goes with, for the description. Default: not said.

    Returns:
        The description `save_adapter` needs.

    Raises:
        InputError: an adapter that has no counterpart here, or doesn't fit the base.
    """
    folder = Path(folder)
    if _kind(folder) == OPTIONS.peft_type:
        return insert(model, read_peft(folder, model)[0], base, tokenizer)
    method, state = _read(folder)
    install(model, AdapterInfo(method), state, str(folder))
    return AdapterInfo(method, base, tokenizer)


class Description(NamedTuple):
    """What a PEFT adapter says of itself: facts by name, the base's blocks and width where they show, its base's name.

    The name may be empty.
    """

    facts: dict[str, str]
    shape: tuple[int, int] | None
    base: str


def describe_peft(folder: str | Path) -> Description:
    """Read a PEFT adapter and say what it is.

    Raises:
        InputError: an adapter that has no counterpart here.
    """
    folder = Path(folder)
    if _kind(folder) != OPTIONS.peft_type:
        method, state = _read(folder)
        facts = {**method.facts(), "parameters": f"{sum(value.numel() for value in state.values()):,}"}
        return Description(facts, None, str(read_json(folder / CONFIG).get("base_model_name_or_path") or ""))
    adapter, base = read_peft(folder)
    facts = {name: fact for name, fact in LoRA(adapter.specs()).facts().items() if name.startswith("target ")}
    if is_pissa(folder):
        facts["start"] = "PiSSA: the update is relative to the base without its principal part"
    return Description(facts, _shape(adapter), base)


def _shape(adapter: LowRank) -> tuple[int, int] | None:
    blocks = [int(match[1]) for module in adapter.parts if (match := re.search(r"\.h\.(\d+)\.", module))]
    widths = [
        part.A.shape[1]
        for parts in adapter.parts.values()
        for part in parts
        if part.target in ("q", "k", "v", "o", "fc")
    ]
    return (max(blocks) + 1, widths[0]) if blocks and widths else None


def _kind(folder: Path) -> str:
    config = read_json(folder / CONFIG)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in (OPTIONS.peft_type, *KINDS):
        known = ", ".join([OPTIONS.peft_type, *KINDS])
        raise InputError(
            f"{folder / CONFIG} is a PEFT adapter of type {kind}; those that have a counterpart are {known}"
        )
    return kind


def _read(folder: Path) -> tuple[Method, dict[str, Tensor]]:
    config = read_json(folder / CONFIG)
    file = find_peft_weights(folder)
    tensors = read_tensors(file)
    if problems := [reason for name, value in tensors.items() if (reason := unfit(name, value))]:
        raise InputError(f"{file}: {problems[0]}")
    floats = {name: value.float() for name, value in tensors.items()}
    return KINDS[config["peft_type"]].from_peft(config, floats, str(folder / CONFIG))
