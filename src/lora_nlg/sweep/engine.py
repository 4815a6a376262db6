"""Train a group of adapters together: one forward pass, one backward pass, an optimiser each.

Every member sees the batches, the initialisation and the dropout it would have alone (`lora-nlg train` with its
flags), because each of these is a function of its seed; only the order of additions inside a product differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from tqdm import tqdm

from lora_nlg.batching import Batch, Example, FilledBatch, Sampler, fill_up, make_batch, validation_batches
from lora_nlg.errors import InputError
from lora_nlg.files import parse_json
from lora_nlg.gpt2 import GPT2, FlatAttention, lora_targets
from lora_nlg.lora import FusedLinear, inject, lora_layers, pack_frozen, strip
from lora_nlg.lora.batched import BatchedLinear, Rows
from lora_nlg.sweep.grid import Member
from lora_nlg.sweep.optimizer import RowAdamW
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.training import Schedule, warmup_steps
from lora_nlg.training.filled import filled_losses
from lora_nlg.training.graphs import GraphedCalls
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.optim import MOMENTS
from lora_nlg.training.step import dropout_seed, precision, prepare_precision
from lora_nlg.weights.tensor_files import read_tensors, save_tensors


class Diverged(Exception):
    """A member's loss is no longer finite."""

    def __init__(self, index: int, step: int) -> None:
        super().__init__(f"member {index} diverged at step {step}")
        self.index, self.step = index, step


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
        sums: what validation adds up, shape (N,), fp64.
        step: steps taken.
        pending: the mean losses of steps that haven't been read back.
        losses: those that have, a row a step.
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
    sums: Tensor
    step: int = 0
    pending: list[Tensor] = field(default_factory=list)
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
    device = base.head_weight.device
    rows = Rows([torch.Generator(device) for _ in members] if settings.lora_dropout > 0 else ())
    model = strip(base)
    adapters = [lora_layers(member_model(base, member, settings)) for member in members]
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
    sums = torch.zeros(len(members), dtype=torch.float64, device=device)
    return Group(members, model.train(), rows, parameters, value, gradient, optimizer, settings, means, sums)


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
    rates = _rates(group)
    lengths = [example.n_inputs for example in train]
    samplers = {member.seed: Sampler(lengths, settings.train_batch_size, member.seed) for member in members}
    loss = TargetLoss(settings.label_smooth)
    graphed, device = graphed_gradient(group, loss), group.value.device
    try:
        while group.step < settings.max_step:
            batches = {
                seed: make_batch([train[i] for i in sampler.batch(group.step)]) for seed, sampler in samplers.items()
            }
            group_step(group, [batches[member.seed] for member in members], rates[:, group.step, None], loss, graphed)
            if bar is not None:
                bar.update(len(members))
            saves = group.step % settings.save_interval == 0
            # Reading numbers back waits for a CUDA device.
            if device.type == "cpu" or saves or group.step == settings.max_step:
                _read_losses(group)
            if snapshot is not None and saves:
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


def _rates(group: Group) -> Tensor:
    """Each member's learning rate at each step, shape (N, steps)."""
    settings = group.settings
    warmup = warmup_steps(settings.warmup_step, settings.max_step)
    rates = []
    for member in group.members:
        schedule = Schedule(settings.scheduler, member.lr, settings.max_step, warmup)
        rates.append([schedule(step) for step in range(settings.max_step)])
    return torch.tensor(rates).to(group.value.device)


def graphed_gradient(group: Group, loss: TargetLoss) -> GraphedCalls:
    """What computes a group's gradient on CUDA."""
    work = partial(_backward, group, loss)
    return GraphedCalls(work, group.value.device, group.settings.cuda_graph, group.rows.generators)


def group_step(group: Group, batches: Sequence[Batch], rates: Tensor, loss: TargetLoss, graphed: GraphedCalls) -> None:
    """Take a step with every member.

    Args:
        group: the members.
        batches: each one's.
        rates: each one's learning rate, shape (N, 1).
        loss: how targets are scored.
        graphed: see `graphed_gradient`.
    """
    settings = group.settings
    if group.rows.generators:
        group.rows.seed([dropout_seed(member.seed, group.step + 1, 0, 0) for member in group.members])
    if group.value.is_cuda:
        graphed(fill_up(batches, [max(len(batch.targets), 1) for batch in batches]).pin_memory())
    else:
        _backward(group, loss, batches)
    if settings.grad_clip > 0:
        norms = group.gradient.norm(dim=1, keepdim=True)
        group.gradient.mul_((settings.grad_clip / (norms + 1e-6)).clamp_(max=1.0))
    group.step += 1
    group.optimizer.step(group.step, rates)
    group.pending.append(group.means.clone())


def _backward(group: Group, loss: TargetLoss, batches: FilledBatch | Sequence[Batch]) -> None:
    """Put the gradient of each member's mean loss, and the losses, where they belong."""
    sums = _member_losses(group, batches, loss)
    means = sums / _counts(group, batches)
    gradients = torch.autograd.grad(means.sum(), group.parameters)
    torch.cat([gradient.flatten(1) for gradient in gradients], dim=1, out=group.gradient)
    group.means.copy_(means.detach())


def _counts(group: Group, batches: FilledBatch | Sequence[Batch]) -> Tensor:
    """Each member's number of targets, at least 1, shape (N,)."""
    if isinstance(batches, FilledBatch):
        return batches.parts().denominators
    return group.value.new_tensor([max(len(batch.targets), 1) for batch in batches])


def _read_losses(group: Group) -> None:
    """Note the losses of the steps since the last call.

    Raises:
        Diverged: a loss isn't finite.
    """
    pending, group.pending = group.pending, []
    for step, numbers in enumerate(torch.stack(pending).tolist(), group.step - len(pending) + 1):
        for n, number in enumerate(numbers):
            if not number < float("inf"):
                raise Diverged(n, step)
        group.losses.append(numbers)


def _member_losses(group: Group, batches: FilledBatch | Sequence[Batch], loss: TargetLoss) -> Tensor:
    """The summed loss of each member's batch, shape (N,), in one forward pass over all of them."""
    device = group.value.device
    with precision(group.model, group.settings.dtype, device):
        if isinstance(batches, FilledBatch):
            shape = batches.shape
            group.rows.set([shape.tokens] * shape.parts, [shape.targets] * shape.parts, device=device)
            return filled_losses(group.model, batches, loss)
        lengths = [length for batch in batches for length in batch.lengths]
        counts, n_targets = [sum(batch.lengths) for batch in batches], [len(batch.targets) for batch in batches]
        group.rows.set(counts, n_targets, device=device)
        tokens = torch.cat([batch.tokens for batch in batches]).to(device)
        positions = torch.cat([batch.positions for batch in batches]).to(device)
        starts = [sum(counts[:n]) for n in range(len(counts))]
        rows = torch.cat([batch.target_rows + start for batch, start in zip(batches, starts, strict=True)]).to(device)
        hidden = group.model(tokens, positions, FlatAttention(lengths, device), rows)
        losses = [
            loss(states, batch.targets.to(device), group.model.head_weight)
            for states, batch in zip(hidden.split(n_targets), batches, strict=True)
        ]
        return torch.stack(losses)


@torch.no_grad()
def validate(group: Group, valid: Sequence[Example], settings: SweepSettings) -> list[float]:
    """Mean loss of a target token on the validation examples, for each member."""
    group.model.eval()
    loss, N, device = TargetLoss(), len(group.members), group.value.device
    group.sums.zero_()
    graphed = GraphedCalls(partial(_add_losses, group, loss), device, settings.cuda_graph)
    count = 0
    for examples in validation_batches(valid, settings.valid_batch_size):
        batch = make_batch(examples)
        count += len(batch.targets)
        if device.type == "cuda":
            graphed(fill_up([batch] * N, [1] * N).pin_memory())
        else:
            _add_losses(group, loss, [batch] * N)
    group.model.train()
    return (group.sums / max(count, 1)).tolist()


@torch.no_grad()
def _add_losses(group: Group, loss: TargetLoss, batches: FilledBatch | Sequence[Batch]) -> None:
    group.sums += _member_losses(group, batches, loss)


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
    for key in MOMENTS:
        tensors |= {f"{key}/{n}": row for n, row in enumerate(getattr(group.optimizer, key))}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    state = {"step": group.step, "losses": group.losses}
    save_tensors(path, tensors, {"group": json.dumps(state)})


@torch.no_grad()
def _restore(group: Group, path: Path) -> None:
    tensors = read_tensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = parse_json(file.metadata()["group"], str(path))
        group.step, group.losses = state["step"], state["losses"]
        group.value.copy_(tensors["value"])
        for key in MOMENTS:
            for n, row in enumerate(getattr(group.optimizer, key)):
                row.copy_(tensors[f"{key}/{n}"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is no state of this sweep ({type(error).__name__}); delete it to begin anew"
        ) from None
