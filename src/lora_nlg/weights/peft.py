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

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, write_json
from lora_nlg.gpt2 import GPT2, target_names
from lora_nlg.lora.pissa import principal_factors
from lora_nlg.methods.peft import PREFIX, check_modules
from lora_nlg.weights.lowrank import LowRank, Part, check_pair, rescaled_B
from lora_nlg.weights.peft_options import LoRAOptions, read_options
from lora_nlg.weights.tensor_files import read_tensors, save_tensors

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")


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
        embedding = target_names(module) == ("wte",)
        names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
        tensors |= {f"{PREFIX}{module}.{name}": value for name, value in zip(names, (A, B), strict=True)}
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
    names = target_names(module)
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


def read_peft(folder: str | Path, base: GPT2 | None = None) -> tuple[LowRank, str]:
    """Read a PEFT LoRA adapter for a GPT-2.

    A block-structured B comes back as the parts it was made of; any other B of c_attn becomes updates of q, k and v
    that share A's values.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).
        base: what it is for. A PiSSA adapter is relative to the base without its principal part, as PEFT makes it; with
            the base the part taken off is added to the update, which has twice the rank then. Default: it is left out.

    Returns:
        The adapter, and what it names as its base.

    Raises:
        InputError: not a LoRA adapter, one that computes something else than plain LoRA, or keys of another model.
    """
    folder = Path(folder)
    options = read_options(read_json(folder / CONFIG), str(folder / CONFIG))
    file = find_peft_weights(folder)
    pairs = _pairs(read_tensors(file), file)
    _check_modules(options, pairs, folder)
    if options.pissa and base is not None:
        pairs = {name: _without_principal_part(name, *pair, options, base) for name, pair in pairs.items()}
    blocks: dict[str, list[list[bool]]] = {}
    for module, (A, B) in pairs.items():
        used = _used_ranks(B, len(target_names(module)), A.shape[0])
        known = blocks.setdefault(_leaf(module), used)
        if len(known[0]) != len(used[0]):
            raise InputError(
                f"{folder}: {module} has r={len(used[0])}, other blocks r={len(known[0])}; adapters with a rank for "
                "each block are not supported; merge it in PEFT (merge_and_unload)"
            )
        blocks[_leaf(module)] = [[a or b for a, b in zip(x, y, strict=True)] for x, y in zip(known, used, strict=True)]
    parts = {
        module: _parted(module, A, B, blocks[_leaf(module)], options.scaling(module))
        for module, (A, B) in pairs.items()
    }
    return LowRank(parts, options.dropout), options.base


def find_peft_weights(folder: Path) -> Path:
    """The file with a PEFT adapter's tensors.

    Raises:
        InputError: there is none.
    """
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder} holds none of {', '.join(WEIGHTS)}")
    return file


def is_pissa(folder: str | Path) -> bool:
    """Whether an adapter that `read_peft` takes needs its base to be read whole."""
    return read_options(read_json(Path(folder) / CONFIG), str(folder)).pissa


def _leaf(module: str) -> str:
    return re.sub(r"\.h\.\d+\.", ".", module)


def _check_modules(options: LoRAOptions, pairs: Mapping[str, tuple[Tensor, Tensor]], folder: Path) -> None:
    """Compare what PEFT would adapt with what the file holds, and the ranks it would give with those of the file.

    Raises:
        InputError: PEFT would ignore a tensor of the file, draw one it lacks, or refuse its shape.
    """
    check_modules(pairs, options.adapts, str(folder))
    for module, (A, _) in pairs.items():
        if (r := options.rank(module)) != A.shape[0]:
            raise InputError(f"{folder}: {module} has r={A.shape[0]}, {CONFIG} says {r}; they don't belong together")


def _without_principal_part(
    module: str, A: Tensor, B: Tensor, options: LoRAOptions, base: GPT2
) -> tuple[Tensor, Tensor]:
    """B·A − B₀·A₀ as one product, with the A₀ and B₀ that PEFT takes off the base's weight."""
    if target_names(module) == ("wte",):  # PEFT takes nothing off an embedding
        return A, B
    try:
        weight = base.get_parameter(f"{module}.weight").detach()
    except AttributeError:
        raise InputError(f"{module} is not in the base") from None
    r, scaling = options.rank(module), options.scaling(module)
    if B.shape[0] != weight.shape[0] or A.shape[1] != weight.shape[1] or r > min(weight.shape):
        raise InputError(f"{module}: A {tuple(A.shape)} and B {tuple(B.shape)} don't fit the base")
    start_A, start_B = principal_factors(weight, r, scaling)
    return torch.cat([A, start_A]), torch.cat([B, -start_B], dim=1)


def _pairs(tensors: Mapping[str, Tensor], file: Path) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?", name)
        if match is None:
            raise InputError(f"{file} holds {name}, which is no LoRA weight of a GPT-2's layer")
        pair = found.setdefault(match[1], {})
        if match[2] in pair:
            raise InputError(f"{file} holds {match[2]} of {match[1]} twice")
        pair[match[2]] = tensor
    if not found:
        raise InputError(f"{file} holds no tensors")
    pairs = {}
    for module, pair in found.items():
        parts = len(target_names(module))
        if pair.keys() != {"A", "B"}:
            raise InputError(f"{file}: A or B of {module} is missing")
        try:
            A, B = check_pair(module, pair["A"], pair["B"])
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        if A.shape[0] != B.shape[1] or B.shape[0] % parts:
            raise InputError(f"{file}: A {tuple(A.shape)} and B {tuple(B.shape)} of {module} don't belong together")
        pairs[module] = A, B
    return pairs


def _used_ranks(B: Tensor, n_parts: int, r: int) -> list[list[bool]]:
    """For every part, which ranks it uses; where B is zero throughout (an untrained adapter), all of them."""
    if not B.any():
        return [[True] * r] * n_parts
    return [part.any(0).tolist() for part in B.chunk(n_parts)]


def _parted(module: str, A: Tensor, B: Tensor, used: list[list[bool]], scaling: float) -> list[Part]:
    parts = []
    for name, B_p, ranks in zip(target_names(module), B.chunk(len(used)), used, strict=True):
        if any(ranks):
            parts.append(Part(name, A[ranks].clone(), B_p[:, ranks].clone(), scaling))
    return parts
