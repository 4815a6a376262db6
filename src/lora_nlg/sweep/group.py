"""A group of members in training: the frozen base with N adapters in it, one optimiser, and its state on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.files import parse_json
from lora_nlg.gpt2 import GPT2, lora_targets
from lora_nlg.lora import FusedLinear, inject, lora_layers, pack_frozen, strip
from lora_nlg.lora.batched import BatchedLinear, Rows
from lora_nlg.sweep.grid import Member
from lora_nlg.sweep.optimizer import RowAdamW
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.training import MOMENTS, Best
from lora_nlg.training.step import prepare_precision
from lora_nlg.weights.tensor_files import read_tensors, save_tensors


@dataclass
class Group:
    """Members in training: the shared base with N adapters in it, and one optimiser over all of them.

    Attributes:
        members: who they are.
        model: a copy of the base, sharing its weights, with `BatchedLinear` layers.
        rows: whose rows are whose.
        parameters: the layers' `lora_A` and `lora_B`, views of `value`.
        value, gradient: all trainable numbers and their gradients, shape (N, K), a row a member.
        optimizer: over `value`.
        settings: what they share.
        means: the mean losses of the last step, shape (N,).
        best_value: each member's row of `value` at its best validation.
        bests: each member's best validation.
        step: steps taken.
        pending: the mean losses of steps that haven't been read back.
        losses: those that have, a row a step.
        validations: steps validated after, and the members' losses then.
    """

    members: Sequence[Member]
    model: GPT2
    rows: Rows
    parameters: list[nn.Parameter]
    value: Tensor
    gradient: Tensor
    optimizer: RowAdamW
    settings: SweepSettings
    means: Tensor
    best_value: Tensor
    bests: list[Best]
    step: int = 0
    pending: list[Tensor] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    validations: list[tuple[int, list[float]]] = field(default_factory=list)

    def note_validation(self, losses: list[float]) -> None:
        """Keep what is the best so far."""
        self.validations.append((self.step, losses))
        for n, loss in enumerate(losses):
            if self.bests[n].update(loss, self.step):
                self.best_value[n].copy_(self.value[n])


def member_model(base: GPT2, member: Member) -> GPT2:
    """The base adapted for one member, as the trainer would; shares the base's weights."""
    model = strip(base)
    torch.manual_seed(member.seed)
    return inject(model, lora_targets(base.config, member.specs()))


def make_group(base: GPT2, members: Sequence[Member], settings: SweepSettings) -> Group:
    """Put N adapters of equal targets and dropout on one base.

    Raises:
        InputError: they differ in either.
    """
    device = base.head_weight.device
    rows = Rows([torch.Generator(device) for _ in members] if members[0].dropout > 0 else ())
    model = strip(base)
    adapters = [lora_layers(member_model(base, member)) for member in members]
    if any(adapter.keys() != adapters[0].keys() for adapter in adapters):
        raise InputError("adapters trained together must adapt the same parts")
    for name in adapters[0]:
        layers = [adapter[name] for adapter in adapters]
        model.set_submodule(name, BatchedLinear([layer for layer in layers if isinstance(layer, FusedLinear)], rows))
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in parameter_name)
    if settings.dtype != "fp32":
        model = deepcopy(model, {id(rows): rows})  # the base's own weights stay as they are; layers share their rows
        prepare_precision(model, settings.dtype)
    pack_frozen(model)
    for module in model.modules():
        if isinstance(module, BatchedLinear):
            module.pack_weight()
    value, parameters = _flatten(model)
    gradient = torch.zeros_like(value)
    optimizer = RowAdamW(value, gradient, (0.9, settings.adam_beta2), settings.adam_epsilon, settings.weight_decay)
    means = torch.zeros(len(members), device=device)
    bests = [Best() for _ in members]
    return Group(
        members, model.train(), rows, parameters, value, gradient, optimizer, settings, means,
        torch.zeros_like(value), bests,
    )  # fmt: skip


def _flatten(model: GPT2) -> tuple[Tensor, list[nn.Parameter]]:
    """Move all adapters into one (N, K) buffer, of which the layers' parameters become views."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    value = torch.cat([parameter.detach().flatten(1) for parameter in parameters], dim=1)
    for parameter, part in zip(parameters, value.split([p[0].numel() for p in parameters], dim=1), strict=True):
        parameter.data = part.unflatten(1, parameter.shape[1:])
    return value, parameters


def extract(group: Group, base: GPT2, best: bool = False) -> list[GPT2]:
    """For each member the base with its adapter, as the trainer would leave it.

    Args:
        group: the members.
        base: what they were trained on.
        best: the adapters of the best validations in place of the last ones.
    """
    last = group.value.clone()
    if best:
        group.value.copy_(group.best_value)
    models = []
    for n, member in enumerate(group.members):
        model = member_model(base, member)
        for name, layer in lora_layers(model).items():
            batched = group.model.get_submodule(name)
            assert isinstance(batched, BatchedLinear) and isinstance(layer, FusedLinear), "made by make_group"
            batched.copy_out(n, layer)
        models.append(model.eval())
    group.value.copy_(last)
    return models


@torch.no_grad()
def update_size(model: GPT2) -> dict[str, float]:
    """Frobenius norms of the updates, averaged over adapted weights: absolute, and relative to the weight's own."""
    absolute, relative = [], []
    for layer in lora_layers(model).values():
        for own in layer.factors():
            absolute.append(float(own.squared_norm().sqrt()))
            relative.append(absolute[-1] / float(layer.weight[own.columns].norm()))
    return {
        "update_norm": sum(absolute) / len(absolute),
        "relative_update": sum(relative) / len(relative),
    }


def group_id(members: Sequence[Member]) -> str:
    """What a group's files are called: without a member that diverged, it is another group."""
    return "group-" + hashlib.sha256("\n".join(member.name for member in members).encode()).hexdigest()[:12]


def save_group(group: Group, path: Path) -> None:
    """Write a group's state."""
    tensors = {"value": group.value, "best_value": group.best_value}
    tensors |= {key: getattr(group.optimizer, key) for key in MOMENTS}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    state = {
        "step": group.step,
        "losses": group.losses,
        "validations": group.validations,
        "bests": [asdict(best) for best in group.bests],
    }
    save_tensors(path, tensors, {"group": json.dumps(state)})


@torch.no_grad()
def restore_group(group: Group, path: Path) -> None:
    """Read a group's state.

    Raises:
        InputError: the file is damaged, or of another group.
    """
    tensors = read_tensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = parse_json(file.metadata()["group"], str(path))
        group.step, group.losses = state["step"], state["losses"]
        group.validations = [(step, losses) for step, losses in state["validations"]]
        group.bests = [Best(**best) for best in state["bests"]]
        group.value.copy_(tensors["value"])
        group.best_value.copy_(tensors["best_value"])
        for key in MOMENTS:
            getattr(group.optimizer, key).copy_(tensors[key])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is no state of this sweep ({type(error).__name__}); delete it to begin anew"
        ) from None
