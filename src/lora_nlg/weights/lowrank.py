"""An adapter free of any file's layout: what every foreign format is read into and written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, TARGETS, lora_targets, target_names, targets_of
from lora_nlg.lora import LoRASpec, inject, lora_layers, lora_state_dict
from lora_nlg.methods import LoRA
from lora_nlg.weights.adapter import AdapterInfo, BaseInfo, TokenizerInfo
from lora_nlg.weights.tensor_files import unfit


@dataclass(frozen=True)
class Part:
    """The update B·A·scaling of one target in one module.

    Attributes:
        target: its name (q, k, v, o, fc, proj, wte).
        A: shape (r, D_in); of an embedding (r, V).
        B: shape (D_out of the part, r); of an embedding (D, r).
        scaling: what the product is multiplied by.
    """

    target: str
    A: Tensor
    B: Tensor
    scaling: float


@dataclass
class LowRank:
    """A LoRA adapter for a GPT-2.

    Attributes:
        parts: module name -> its adapted parts, q before k before v.
        dropout: that of the branch in training, where known.
        bias: which biases were trained with it: `none`, `lora_only` or `all`.
        biases: their values by parameter name.
    """

    parts: dict[str, list[Part]]
    dropout: float = 0.0
    bias: str = "none"
    biases: Mapping[str, Tensor] = field(default_factory=dict)

    def specs(self) -> dict[str, LoRASpec]:
        """Target name -> rank and alpha under the rule alpha/r, in the order of `TARGETS`.

        Raises:
            InputError: a target has another rank or scaling in one block than in another, or is in some blocks only.
        """
        found: dict[str, LoRASpec] = {}
        for module, parts in self.parts.items():
            for part in parts:
                r = part.A.shape[0]
                spec = LoRASpec(r, part.scaling * r, self.dropout)
                if found.setdefault(part.target, spec) != spec:
                    raise InputError(
                        f"{part.target} has r={spec.r}, scaling {part.scaling:g} in {module}, other values elsewhere; "
                        "adapters with a rank or alpha for each block are not supported"
                    )
        self._check_blocks(found)
        return {name: found[name] for name in TARGETS if name in found}

    def _check_blocks(self, targets: Iterable[str]) -> None:
        blocks: dict[str, set[int]] = {target: set() for target in targets if target != "wte"}
        for module, parts in self.parts.items():
            for part in parts:
                if part.target in blocks:
                    blocks[part.target].add(int(module.split(".")[2]))
        last = max((max(found) for found in blocks.values()), default=0)
        for target, found in blocks.items():
            if len(found) != last + 1:
                absent = min(set(range(last + 1)) - found) if last < 10**6 else "others"
                raise InputError(
                    f"{target} is adapted in block {max(found)} and not in {absent}; adapters of part of the blocks "
                    "are not supported"
                )


def extract(model: GPT2, bias: str = "none") -> LowRank:
    """Copy the adapter out of a model, fp32, on the CPU.

    Args:
        model: a GPT-2 with LoRA layers.
        bias: which biases were trained with it.

    Raises:
        InputError: no LoRA layers, or an update that is no product of two matrices (DoRA).
    """
    specs = targets_of(model, model.config)
    if not specs:
        raise InputError("the model has no LoRA layers; it can only be converted to a whole model (`to` merged)")
    parts = {}
    for module, layer in lora_layers(model).items():
        names = [name for name in target_names(module) if name in specs]
        if not (factors := layer.factors()):
            raise InputError(
                f"the {layer.variant} update isn't low-rank, so this format can't hold it; convert it to a whole model "
                "(`to` merged)"
            )
        parts[module] = [
            Part(name, _copy(own.A), _copy(own.B), own.scaling) for name, own in zip(names, factors, strict=True)
        ]
    state = lora_state_dict(model, bias)
    biases = {name: _copy(value) for name, value in state.items() if name.endswith(".bias")}
    return LowRank(parts, next(iter(specs.values())).dropout, bias, biases)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)


@torch.no_grad()
def insert(
    model: GPT2, adapter: LowRank, base: BaseInfo | None = None, tokenizer: TokenizerInfo | None = None
) -> AdapterInfo:
    """Give a base the LoRA layers of an adapter, in place.

    Args:
        model: the base.
        adapter: what to insert.
        base: what the base is, for the description returned. Default: not said.
        tokenizer: the vocabulary it goes with, for the description. Default: not said.

    Returns:
        The description `save_adapter` needs.

    Raises:
        InputError: blocks, shapes or biases that don't fit the base; all of them are named.
    """
    specs = adapter.specs()
    targets = lora_targets(model.config, specs)
    problems = [f"no {module}" for module in targets if module not in adapter.parts]
    problems += [f"{module} is not in the base" for module in adapter.parts if module not in targets]
    inject(model, targets)
    layers = lora_layers(model)
    for module, parts in adapter.parts.items():
        if module not in layers:
            continue
        names = [name for name in target_names(module) if name in specs]
        if [part.target for part in parts] != names:
            problems.append(f"{module} has {', '.join(part.target for part in parts)}, others {', '.join(names)}")
            continue
        for part, own in zip(parts, layers[module].factors(), strict=True):
            for letter, got, wanted in (("A", part.A, own.A), ("B", part.B, own.B)):
                if got.shape != wanted.shape:
                    shapes = f"{tuple(got.shape)}, the base needs {tuple(wanted.shape)}"
                    problems.append(f"{module} {part.target}: {letter} is {shapes}")
    problems += [reason for name, value in adapter.biases.items() if (reason := unfit(name, value))]
    own_biases = {name: value for name, value in model.named_parameters() if name in adapter.biases}
    problems += [f"{name} is not in the base" for name in adapter.biases if name not in own_biases]
    problems += [
        f"{name} is {tuple(adapter.biases[name].shape)}, the base needs {tuple(own.shape)}"
        for name, own in own_biases.items()
        if own.shape != adapter.biases[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise InputError(f"the adapter doesn't fit the base: {shown}")
    for module, parts in adapter.parts.items():
        layers[module].set_factors([(part.A, part.B) for part in parts])
    for name, parameter in own_biases.items():
        parameter.copy_(adapter.biases[name])
    return AdapterInfo(LoRA(specs, bias=adapter.bias), base, tokenizer)


def check_pair(module: str, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """A and B of a foreign file, fp32, once it is sure that they are matrices of weights.

    Raises:
        InputError: another number of dimensions, another number type, values that are not finite, or no rank.
    """
    for letter, tensor in (("A", A), ("B", B)):
        if reason := unfit(f"{module}: {letter}", tensor):
            raise InputError(reason)
        if tensor.dim() != 2 or not tensor.numel():
            raise InputError(
                f"{module}: {letter} is {tuple(tensor.shape)}; it must be a matrix with a rank of at least 1"
            )
    return A.float(), B.float()


def common_scaling(adapter: LowRank) -> tuple[int, float]:
    """The largest rank and the alpha that give every part the scaling of the first, under alpha/r.

    Formats with one rank and one alpha store the rest in B: see `rescaled_B`.
    """
    parts = [part for parts in adapter.parts.values() for part in parts]
    r = max(part.A.shape[0] for part in parts)
    return r, parts[0].scaling * r


def rescaled_B(part: Part, scaling: float) -> Tensor:
    """B such that B·A·`scaling` is the part's update; B itself, untouched, where the scaling agrees."""
    return part.B if part.scaling == scaling else part.B * (part.scaling / scaling)
