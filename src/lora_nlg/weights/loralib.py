"""Checkpoints of microsoft/LoRA's NLG example (`model.*.pt`), in and out.

Such a file is a torch pickle, `{"model_state_dict": {…}}` or the inner mapping alone, its keys with or without
`module.` (saved under DDP). Mid-run files hold LoRA weights only, end-of-run files the base too, in Hugging Face's
layout. Rank can be read off the shapes; alpha is stored nowhere and must be known. loralib stacks the A of the
adapted parts of a fused layer, (P·r, D), and their B, (P·D, r); which parts those are is not stored either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write
from lora_nlg.gpt2 import GPT2, target_names
from lora_nlg.gpt2.targets import QKV
from lora_nlg.weights.base import canonical_names, released_tensors
from lora_nlg.weights.lowrank import LowRank, Part, check_pair, common_scaling, rescaled_B
from lora_nlg.weights.tensor_files import read_any, unwrap, unwrapped_names

DEFAULT_PARTS = {2: ("q", "v"), 3: QKV}
"""Parts of the fused layer that the number of stacked A most likely means: the example adapts q and v."""


@dataclass
class LoralibCheckpoint:
    """What such a file holds.

    Attributes:
        lora: `transformer.….lora_A` and `lora_B`.
        base: the base's tensors under Hugging Face's names; empty in a LoRA-only file.
        biases: biases saved with a LoRA-only file.
        wrapped: the key the state dict was under, or nothing.
        ddp: whether the keys began with `module.`.
    """

    lora: dict[str, Tensor]
    base: dict[str, Tensor]
    biases: dict[str, Tensor]
    wrapped: str
    ddp: bool

    @property
    def full(self) -> bool:
        """Whether the base is in the file."""
        return bool(self.base)


def read_loralib(path: str | Path) -> LoralibCheckpoint:
    """Read a checkpoint of the predecessor.

    Raises:
        InputError: not a state dict, or one without LoRA weights.
    """
    value = read_any(path)
    try:
        stored, wrapped = unwrap(value)
        named = {
            name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": tensor
            for name, tensor in unwrapped_names(stored).items()
        }
        lora = {name: tensor for name, tensor in named.items() if name.rpartition(".")[2] in ("lora_A", "lora_B")}
        rest = canonical_names({name: tensor for name, tensor in named.items() if name not in lora})
    except InputError as error:
        raise InputError(f"{path} is not a loralib checkpoint: {error}") from None
    if not lora:
        raise InputError(f"{path} holds no lora_A or lora_B; `lora-nlg inspect {path}` says what it is")
    ddp = all(name.startswith("module.") for name in stored)
    if any(name.endswith(".weight") for name in rest):
        return LoralibCheckpoint(lora, rest, {}, wrapped, ddp)
    return LoralibCheckpoint(lora, {}, rest, wrapped, ddp)


def from_loralib(
    checkpoint: LoralibCheckpoint, alpha: float, fused: Sequence[str] | None = None, dropout: float = 0.0
) -> LowRank:
    """The adapter in a checkpoint.

    Args:
        checkpoint: as read.
        alpha: what it was trained with (the example's README trains with 32, its default is 128).
        fused: which of q, k, v are adapted. Default: q and v if two are, all if three are.
        dropout: what it was trained with; of no effect unless training continues. Default: 0.

    Raises:
        InputError: unpaired or misshapen matrices, or a number of parts that `fused` doesn't explain.
    """
    parts: dict[str, list[Part]] = {}
    modules = sorted({name.rpartition(".")[0] for name in checkpoint.lora}, key=_natural)
    for module in modules:
        missing = [f"{module}.{leaf}" for leaf in ("lora_A", "lora_B") if f"{module}.{leaf}" not in checkpoint.lora]
        if missing:
            raise InputError(f"{missing[0]} is missing, though its partner is there")
        names: Sequence[str] = target_names(module)
        A, B, count = matrices(checkpoint, module)
        r = B.shape[1]
        if len(names) > 1:
            names = _fused_parts(count, fused, module)
        parts[module] = [
            Part(name, A_p, B_p, alpha / r)
            for name, A_p, B_p in zip(names, A.chunk(count), B.chunk(count), strict=True)
        ]
    return LowRank(parts, dropout, _bias_mode(checkpoint.biases, parts), checkpoint.biases)


def matrices(checkpoint: LoralibCheckpoint, module: str) -> tuple[Tensor, Tensor, int]:
    """The A and B of a module as stored, fp32, and how many parts of a fused layer they stack.

    Raises:
        InputError: they are no weights, or don't belong together.
    """
    A, B = check_pair(module, *(checkpoint.lora[f"{module}.{leaf}"] for leaf in ("lora_A", "lora_B")))
    count = A.shape[0] // B.shape[1]
    if not count or A.shape[0] % B.shape[1] or B.shape[0] % count or (len(target_names(module)) == 1 and count != 1):
        raise InputError(f"{module}: lora_A {tuple(A.shape)} and lora_B {tuple(B.shape)} don't belong together")
    return A, B, count


def _fused_parts(count: int, given: Sequence[str] | None, module: str) -> Sequence[str]:
    chosen = DEFAULT_PARTS.get(count) if given is None else [name for name in QKV if name in given]
    if chosen is None or len(chosen) != count:
        got = f"`lora_targets` names {', '.join(chosen)}" if chosen else "the file doesn't say which"
        raise InputError(f"{module} has {count} adapted part(s) of q, k, v; {got}; name them with `lora_targets`")
    return chosen


def _bias_mode(biases: Mapping[str, Tensor], parts: Mapping[str, Any]) -> str:
    if not biases:
        return "none"
    return "lora_only" if {name.rpartition(".")[0] for name in biases} <= set(parts) else "all"


def _natural(name: str) -> list[Any]:
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in name.split(".")]


def loralib_tensors(adapter: LowRank) -> tuple[dict[str, Tensor], int, float]:
    """An adapter under loralib's names, which know one rank and one alpha.

    Smaller ranks are padded with zeros, other scalings go into B.

    Returns:
        The tensors, the rank and the alpha to give its programs.
    """
    r, alpha = common_scaling(adapter)
    tensors: dict[str, Tensor] = {}
    for module, parts in adapter.parts.items():
        missing = [r - part.A.shape[0] for part in parts]
        tensors[f"{module}.lora_A"] = torch.cat(
            [F.pad(part.A, (0, 0, 0, pad)) for part, pad in zip(parts, missing, strict=True)]
        )
        tensors[f"{module}.lora_B"] = torch.cat(
            [F.pad(rescaled_B(part, alpha / r), (0, pad)) for part, pad in zip(parts, missing, strict=True)]
        )
    return {**tensors, **adapter.biases}, r, alpha


def write_loralib(path: str | Path, adapter: LowRank, base: GPT2 | None = None) -> tuple[int, float]:
    """Write a `model.*.pt` that the predecessor's programs load.

    Args:
        path: the file.
        adapter: what to write.
        base: the base without LoRA, to write a full checkpoint as at the end of its runs. Default: LoRA only.

    Returns:
        The rank and alpha to give its programs.
    """
    tensors, r, alpha = loralib_tensors(adapter)
    if base is not None:
        full = released_tensors(base)
        tensors = {**full, "lm_head.decoder.weight": full["transformer.wte.weight"], **tensors}
    with atomic_write(path, "wb") as file:
        torch.save({"model_state_dict": tensors}, file)
    return r, alpha
