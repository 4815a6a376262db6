"""PEFT LoRA adapters for GPT-2 (`adapter_config.json` + `adapter_model.safetensors`), in and out.

PEFT sees the fused c_attn as one layer: A is (R, D), B is (3·D, R). An update of its parts alone is the special case
of a block-structured B, and so is ours: with ranks r_p, R = Σ r_p, A stacks the A_p, and B holds B_p in the rows of
part p and the columns of its ranks. PEFT multiplies by alpha/R, so alpha is scaling·R. Example: q and v with r = 4,
alpha = 128 (scaling 32) become R = 8, alpha = 256, B's k rows zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, write_json
from lora_nlg.gpt2 import part_names
from lora_nlg.weights.base import read_tensors, save_tensors
from lora_nlg.weights.lowrank import LowRank, Part, rescaled_B

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "modules_to_save": "fully trained modules",
    "lora_bias": "a bias in B",
    "megatron_config": "megatron",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "parameters instead of modules",
}


def write_peft(folder: str | Path, adapter: LowRank, base_path: str = "") -> Path:
    """Write an adapter that `PeftModel.from_pretrained` runs on the same base.

    Args:
        folder: made if absent.
        adapter: what to write.
        base_path: what `adapter_config.json` names as the base. Default: nothing.

    Returns:
        The path of `adapter_model.safetensors`.

    Raises:
        InputError: biases were trained too; PEFT keeps those in another way.
    """
    if adapter.biases:
        raise InputError("the adapter has trained biases, which this export doesn't carry; export it `to` merged")
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for module, parts in adapter.parts.items():
        A, B, scaling = _joined(module, parts)
        embedding = part_names(module) == ("wte",)
        names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
        tensors |= {f"{_PREFIX}{module}.{name}": value for name, value in zip(names, (A, B), strict=True)}
        leaf = re.sub(r"^transformer\.(h\.\d+\.)?", "", module)
        ranks[leaf], alphas[leaf] = A.shape[0], scaling * A.shape[0]
    first = next(iter(ranks))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_path or None,
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "lora_dropout": adapter.dropout,
        "target_modules": list(ranks),
        "rank_pattern": {_pattern(leaf): r for leaf, r in ranks.items() if r != ranks[first]},
        "alpha_pattern": {_pattern(leaf): alpha for leaf, alpha in alphas.items() if alpha != alphas[first]},
        "fan_in_fan_out": any(leaf != "wte" for leaf in ranks),
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
    file = Path(folder) / WEIGHTS[0]
    save_tensors(file, tensors, {"format": "pt"})
    write_json(Path(folder) / CONFIG, config)
    return file


def _pattern(leaf: str) -> str:
    return re.escape(leaf)


def _joined(module: str, parts: list[Part]) -> tuple[Tensor, Tensor, float]:
    names = part_names(module)
    scaling = parts[0].scaling
    if len(names) == 1:
        return parts[0].A, parts[0].B, scaling
    width, R = parts[0].B.shape[0], sum(part.A.shape[0] for part in parts)
    B = torch.zeros(len(names) * width, R)
    column = 0
    for part in parts:
        row, r = names.index(part.target) * width, part.A.shape[0]
        B[row : row + width, column : column + r] = rescaled_B(part, scaling)
        column += r
    return torch.cat([part.A for part in parts]), B, scaling


def read_peft(folder: str | Path) -> tuple[LowRank, str]:
    """Read a PEFT LoRA adapter for a GPT-2.

    A block-structured B comes back as the parts it was made of; any other B of c_attn becomes updates of q, k and v
    that share A's values.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).

    Returns:
        The adapter, and what it names as its base.

    Raises:
        InputError: not a LoRA adapter, one with parts this project has no counterpart for, or keys of another model.
    """
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{folder} is a PEFT adapter of type {config.get('peft_type')}, not LORA")
    extras = [name for key, name in _UNSUPPORTED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        extras.append(f"trained biases ({config['bias']})")
    if extras:
        raise InputError(f"{folder} has {', '.join(extras)}, which can't be imported; merge it in PEFT instead")
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder} holds none of {', '.join(WEIGHTS)}")
    pairs = _pairs(read_tensors(file), file)
    blocks: dict[str, list[list[bool]]] = {}
    for module, (A, B) in pairs.items():
        used = _used_ranks(B, len(part_names(module)), A.shape[0])
        leaf = re.sub(r"\.h\.\d+\.", ".", module)
        known = blocks.setdefault(leaf, used)
        blocks[leaf] = [[a or b for a, b in zip(x, y, strict=True)] for x, y in zip(known, used, strict=True)]
    parts = {}
    for module, (A, B) in pairs.items():
        used = blocks[re.sub(r"\.h\.\d+\.", ".", module)]
        parts[module] = _parted(module, A, B, used, _scaling(module, A.shape[0], config))
    return LowRank(parts, float(config.get("lora_dropout") or 0.0)), str(config.get("base_model_name_or_path") or "")


def _pairs(tensors: Mapping[str, Tensor], file: Path) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?", name)
        if match is None:
            raise InputError(f"{file} holds {name}, which is no LoRA weight of a GPT-2's layer")
        found.setdefault(match[1], {})[match[2]] = tensor.float()
    for module, pair in found.items():
        part_names(module)
        if pair.keys() != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise InputError(f"{file}: A and B of {module} don't belong together")
    return {module: (pair["A"], pair["B"]) for module, pair in found.items()}


def _used_ranks(B: Tensor, n_parts: int, r: int) -> list[list[bool]]:
    """For every part, which ranks it uses; where B is zero throughout (an untrained adapter), all of them."""
    if not B.any():
        return [[True] * r] * n_parts
    return [part.any(0).tolist() for part in B.chunk(n_parts)]


def _parted(module: str, A: Tensor, B: Tensor, used: list[list[bool]], scaling: float) -> list[Part]:
    parts = []
    for name, B_p, ranks in zip(part_names(module), B.chunk(len(used)), used, strict=True):
        if any(ranks):
            parts.append(Part(name, A[ranks].clone(), B_p[:, ranks].clone(), scaling))
    return parts


def _scaling(module: str, r: int, config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):  # PEFT's own rule
            alpha = value
            break
    return float(alpha / r**0.5 if config.get("use_rslora") else alpha / r)
