"""Train a group of adapters together: one forward pass, one backward pass, an optimiser each.

Every member sees the batches, the initialisation and the dropout it would have alone (`lora-nlg train` with its
flags), because each of these is a function of its seed; only the order of additions inside a product differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from tqdm import tqdm

from lora_nlg.batching import Batch, Example, Sampler, make_batch, validation_batches
from lora_nlg.gpt2 import GPT2, FlatAttention, lora_targets
from lora_nlg.lora import FusedLinear, inject, lora_layers, pack_frozen, strip
from lora_nlg.lora.batched import BatchedLinear, Rows
from lora_nlg.sweep.grid import Member
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.training import Schedule
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.optim import MOMENTS, make_optimizer
from lora_nlg.training.step import seed_step
from lora_nlg.weights.base import read_tensors, save_tensors


class Diverged(Exception):
    """A member's loss is no longer finite."""

    def __init__(self, index: int, step: int) -> None:
        super().__init__(f"member {index} diverged at step {step}")
        self.index, self.step = index, step


@dataclass
class Group:
    """Members in training: the shared base with N adapters in it, and N optimisers over one buffer.

    Attributes:
        members: who they are.
        model: a copy of the base, sharing its weights, with `BatchedLinear` layers.
        rows: whose rows are whose.
        parameters: the layers' `lora_A` and `lora_B`, views of `value`.
        value, gradient: all trainable numbers and their gradients, shape (N, K), a row a member.
        optimizer: a parameter group for each member.
    """

    members: Sequence[Member]
    model: GPT2
    rows: Rows
    parameters: list[nn.Parameter]
    value: Tensor
    gradient: Tensor
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)


def member_model(base: GPT2, member: Member, settings: SweepSettings) -> GPT2:
    """The base adapted for one member, as the trainer would; shares the base's weights."""
    model = strip(base)
    torch.manual_seed(member.seed)
    specs = dict.fromkeys(settings.targets, member.spec(settings.lora_dropout))
    return inject(model, lora_targets(base.config, specs))


def make_group(base: GPT2, members: Sequence[Member], settings: SweepSettings) -> Group:
    """Put N adapters on one base.

    Raises:
        InputError: settings out of range.
    """
    rows, model = Rows(), strip(base)
    adapters = [lora_layers(member_model(base, member, settings)) for member in members]
    for name in adapters[0]:
        layers = [adapter[name] for adapter in adapters]
        model.set_submodule(name, BatchedLinear([layer for layer in layers if isinstance(layer, FusedLinear)], rows))
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in parameter_name)
    pack_frozen(model)
    value, parameters = _flatten(model)
    gradient = torch.zeros_like(value)
    flat = [nn.Parameter(row) for row in value]
    for member_parameter, grad in zip(flat, gradient, strict=True):
        member_parameter.grad = grad
    optimizer = make_optimizer(
        "adamw",
        [{"params": [member_parameter]} for member_parameter in flat],
        (0.9, settings.adam_beta2),
        settings.adam_epsilon,
        settings.weight_decay,
    )
    return Group(members, model.train(), rows, parameters, value, gradient, optimizer)


def _flatten(model: GPT2) -> tuple[Tensor, list[nn.Parameter]]:
    """Move all adapters into one (N, K) buffer, of which the layers' parameters become views."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    value = torch.cat([parameter.detach().flatten(1) for parameter in parameters], dim=1)
    for parameter, part in zip(parameters, value.split([p[0].numel() for p in parameters], dim=1), strict=True):
        parameter.data = part.unflatten(1, parameter.shape[1:])
    return value, parameters


def train_group(
    base: GPT2,
    members: Sequence[Member],
    train: Sequence[Example],
    valid: Sequence[Example],
    settings: SweepSettings,
    folder: Path | None = None,
    bar: tqdm | None = None,
) -> tuple[list[dict[str, Any]], list[GPT2]]:
    """Train members together and validate them.

    A member that diverges is reported as such, and the others train again without it.

    Args:
        base: the frozen base, on the device to train on.
        members: the group.
        train, valid: examples.
        settings: what they share.
        folder: where to keep the state of an unfinished group (`snapshot_file`); it stays there for the caller to
            remove. Default: nowhere.
        bar: advanced by one for each member and step.

    Returns:
        A result for each member (see `results.py`), and for each the base with its adapter.
    """
    group = make_group(base, members, settings)
    snapshot = None if folder is None else snapshot_file(folder, members)
    if snapshot is not None and snapshot.is_file():
        _restore(group, snapshot)
    if bar is not None:
        bar.update(group.step * len(members))
    schedules = [Schedule(settings.scheduler, member.lr, settings.max_step, settings.warmup_step) for member in members]
    lengths = [example.n_inputs for example in train]
    samplers = {member.seed: Sampler(lengths, settings.train_batch_size, member.seed) for member in members}
    loss = TargetLoss(settings.label_smooth)
    try:
        while group.step < settings.max_step:
            batches = {
                seed: make_batch([train[i] for i in sampler.batch(group.step)]) for seed, sampler in samplers.items()
            }
            rates = [schedule(group.step) for schedule in schedules]
            _step(group, [batches[member.seed] for member in members], rates, loss, settings)
            if bar is not None:
                bar.update(len(members))
            if snapshot is not None and group.step % settings.save_interval == 0:
                _save(group, snapshot)
    except Diverged as error:
        rest = [member for n, member in enumerate(members) if n != error.index]
        lost = {**members[error.index].to_json(), "diverged": True, "steps": error.step}
        if bar is not None:
            bar.update((settings.max_step - group.step) * len(members) - len(rest) * settings.max_step)
        results, models = train_group(base, rest, train, valid, settings, folder, bar) if rest else ([], [])
        broken = member_model(base, members[error.index], settings)
        results.insert(error.index, lost)
        models.insert(error.index, broken)
        return results, models
    validation = validate(group, valid, settings)
    models = [extract(group, base, n, settings) for n in range(len(members))]
    results = []
    for n, member in enumerate(members):
        tail = group.losses[-20:]
        results.append(
            {
                **member.to_json(),
                "diverged": False,
                "steps": group.step,
                "valid_loss": validation[n],
                "train_loss": sum(row[n] for row in tail) / len(tail),
                **update_size(models[n]),
            }
        )
    return results, models


def _step(
    group: Group, batches: Sequence[Batch], rates: Sequence[float], loss: TargetLoss, settings: SweepSettings
) -> None:
    device = group.value.device
    if settings.lora_dropout > 0:
        group.rows.seed([partial(seed_step, member.seed, group.step + 1, 0, 0) for member in group.members], device)
    sums = _member_losses(group, batches, loss)
    means = [total / max(len(batch.targets), 1) for total, batch in zip(sums, batches, strict=True)]
    gradients = torch.autograd.grad(torch.stack(means).sum(), group.parameters)
    torch.cat([gradient.flatten(1) for gradient in gradients], dim=1, out=group.gradient)
    numbers = torch.stack([mean.detach() for mean in means]).tolist()
    for n, number in enumerate(numbers):
        if not number < float("inf"):
            raise Diverged(n, group.step + 1)
    if settings.grad_clip > 0:
        norms = group.gradient.norm(dim=1, keepdim=True)
        group.gradient.mul_((settings.grad_clip / (norms + 1e-6)).clamp_(max=1.0))
    for rate, parameters in zip(rates, group.optimizer.param_groups, strict=True):
        parameters["lr"] = rate
    group.optimizer.step()
    group.losses.append(numbers)
    group.step += 1


def _member_losses(group: Group, batches: Sequence[Batch], loss: TargetLoss) -> list[Tensor]:
    """The summed loss of each member's batch, in one forward pass over all of them."""
    device = group.value.device
    lengths = [length for batch in batches for length in batch.lengths]
    counts, n_targets = [sum(batch.lengths) for batch in batches], [len(batch.targets) for batch in batches]
    group.rows.set(counts, n_targets, device=device)
    tokens = torch.cat([batch.tokens for batch in batches]).to(device)
    positions = torch.cat([batch.positions for batch in batches]).to(device)
    starts = [sum(counts[:n]) for n in range(len(counts))]
    rows = torch.cat([batch.target_rows + start for batch, start in zip(batches, starts, strict=True)]).to(device)
    hidden = group.model(tokens, positions, FlatAttention(lengths, device), rows)
    return [
        loss(states, batch.targets.to(device), group.model.head_weight)
        for states, batch in zip(hidden.split(n_targets), batches, strict=True)
    ]


@torch.no_grad()
def validate(group: Group, valid: Sequence[Example], settings: SweepSettings) -> list[float]:
    """Mean loss of a target token on the validation examples, for each member."""
    group.model.eval()
    loss, N, count = TargetLoss(), len(group.members), 0
    sums = torch.zeros(N, dtype=torch.float64)
    for examples in validation_batches(valid, settings.valid_batch_size):
        batch = make_batch(examples)
        sums += torch.stack(_member_losses(group, [batch] * N, loss)).double().cpu()
        count += len(batch.targets)
    group.model.train()
    return (sums / max(count, 1)).tolist()


def extract(group: Group, base: GPT2, n: int, settings: SweepSettings) -> GPT2:
    """The base with one member's adapter, as the trainer would leave it."""
    model = member_model(base, group.members[n], settings)
    for name, layer in lora_layers(model).items():
        batched = group.model.get_submodule(name)
        assert isinstance(batched, BatchedLinear) and isinstance(layer, FusedLinear), "made by make_group"
        batched.copy_out(n, layer)
    return model.eval()


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


def snapshot_file(folder: Path, members: Sequence[Member]) -> Path:
    """Where the state of a group lies: without a member that diverged, it is another group."""
    digest = hashlib.sha256("\n".join(member.name for member in members).encode()).hexdigest()
    return folder / f"group-{digest[:12]}.safetensors"


def _save(group: Group, path: Path) -> None:
    tensors = {"value": group.value}
    for n, parameters in enumerate(group.optimizer.param_groups):
        state = group.optimizer.state[parameters["params"][0]]
        tensors |= {f"{key}/{n}": state[key] for key in MOMENTS}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    state = {"step": group.step, "losses": group.losses}
    save_tensors(path, tensors, {"group": json.dumps(state)})


@torch.no_grad()
def _restore(group: Group, path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["group"])
    tensors = read_tensors(path)
    group.step, group.losses = state["step"], state["losses"]
    group.value.copy_(tensors["value"])
    for n, parameters in enumerate(group.optimizer.param_groups):
        parameter = parameters["params"][0]
        step = torch.tensor(float(group.step), device=parameter.device if parameter.is_cuda else "cpu")
        moments = {key: tensors[f"{key}/{n}"].to(parameter.device) for key in MOMENTS}
        group.optimizer.state[parameter] = {"step": step, **moments}
