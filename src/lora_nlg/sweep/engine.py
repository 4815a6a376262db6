"""Train a group of adapters together: one forward pass, one backward pass, an optimiser each.

Every member sees the batches, the initialisation and the dropout it would have alone (`lora-nlg train` with its
flags), because each of these is a function of its seed; only the order of additions inside a product differs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lora_nlg.batching import Batch, Example, FilledBatch, Sampler, fill_up, make_batch, validation_batches
from lora_nlg.gpt2 import GPT2
from lora_nlg.sweep.grid import Member
from lora_nlg.sweep.group import Group, extract, group_id, make_group, restore_group, save_group, update_size
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.training import Schedule, warmup_steps
from lora_nlg.training.graphs import GraphedCalls
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.step import dropout_seed
from lora_nlg.training.together import losses_together, validate_together

log = logging.getLogger(__name__)
TAIL = 20
"""Steps whose mean is the training loss reported."""


class Diverged(Exception):
    """A member's loss is no longer finite."""

    def __init__(self, index: int, step: int) -> None:
        super().__init__(f"member {index} diverged at step {step}")
        self.index, self.step = index, step


@dataclass(frozen=True)
class Trained:
    """What became of a member.

    Attributes:
        row: its result, see `results.py`; of one that diverged its values and the step.
        model: the base with its adapter after the last step; None for one that diverged.
        best: with the adapter of the best validation.
        log: the lines of its `metrics.jsonl`.
    """

    row: dict[str, Any]
    model: GPT2 | None = None
    best: GPT2 | None = None
    log: Sequence[dict[str, Any]] = ()


def train_group(
    base: GPT2,
    members: Sequence[Member],
    train: Sequence[Example],
    valid: Sequence[Example],
    settings: SweepSettings,
    folder: Path | None = None,
    bar: tqdm[Any] | None = None,
) -> list[Trained]:
    """Train members together and validate them.

    A member that diverges is reported as such, and the others train again without it.

    Args:
        base: the frozen base, on the device to train on.
        members: the group, of equal targets and dropout.
        train, valid: examples.
        settings: what they share.
        folder: where to keep the state of an unfinished group (`snapshot_file`); it stays there for the caller to
            remove. Default: nowhere.
        bar: advanced by one for each member and step.

    Returns:
        What became of each member.
    """
    group = make_group(base, members, settings)
    snapshot = None if folder is None else snapshot_file(folder, members)
    if snapshot is not None and snapshot.is_file():
        restore_group(group, snapshot)
        log.info("a group of %d goes on after step %d", len(members), group.step)
    if bar is not None:
        bar.update(group.step * len(members))
    try:
        _fit(group, train, valid, snapshot, bar)
    except Diverged as error:
        rest = [member for n, member in enumerate(members) if n != error.index]
        lost = Trained({**members[error.index].to_json(), "diverged": True, "steps": error.step})
        if bar is not None:
            bar.update((settings.max_step - group.step) * len(members) - len(rest) * settings.max_step)
        found = train_group(base, rest, train, valid, settings, folder, bar) if rest else []
        return [*found[: error.index], lost, *found[error.index :]]
    last, best, rates = extract(group, base), extract(group, base, best=True), _rates(group)
    return [Trained(_row(group, n, model), model, best[n], _log(group, n, rates[n])) for n, model in enumerate(last)]


def _fit(
    group: Group, train: Sequence[Example], valid: Sequence[Example], snapshot: Path | None, bar: tqdm[Any] | None
) -> None:
    """Take the steps that are left, validate and save where it is due.

    Raises:
        Diverged: a member's loss is no longer finite.
    """
    members, settings = group.members, group.settings
    lengths = [example.n_inputs for example in train]
    samplers = {member.seed: Sampler(lengths, settings.train_batch_size, member.seed) for member in members}
    loss, rates = TargetLoss(settings.label_smooth), torch.tensor(_rates(group), device=group.value.device)
    graphed = graphed_gradient(group, loss)
    to_validate = validation_batches(valid, settings.valid_batch_size)
    while group.step < settings.max_step:
        batches = {
            seed: make_batch([train[i] for i in sampler.batch(group.step)]) for seed, sampler in samplers.items()
        }
        group_step(group, [batches[member.seed] for member in members], rates[:, group.step, None], loss, graphed)
        if bar is not None:
            bar.update(len(members))
        is_last = group.step == settings.max_step
        validates = is_last or group.step % settings.eval_interval == 0
        saves = is_last or group.step % settings.save_interval == 0
        # Reading numbers back waits for a CUDA device.
        if group.value.device.type == "cpu" or validates or saves:
            _read_losses(group)
        if validates:
            losses = validate_together(
                group.model, group.rows, len(members), to_validate, settings.dtype, settings.cuda_graph
            )
            _require_finite(losses, group.step)
            group.note_validation(losses)
        if snapshot is not None and saves:
            save_group(group, snapshot)


def snapshot_file(folder: Path, members: Sequence[Member]) -> Path:
    """Where the state of a group lies."""
    return folder / f"{group_id(members)}.safetensors"


def _row(group: Group, n: int, model: GPT2) -> dict[str, Any]:
    """A member's result."""
    tail, best = group.losses[-TAIL:], group.bests[n]
    return {
        **group.members[n].to_json(),
        "parameters": sum(value.numel() for name, value in model.named_parameters() if "lora_" in name),
        "diverged": False,
        "steps": group.step,
        "train_loss": sum(row[n] for row in tail) / len(tail),
        "valid_loss": group.validations[-1][1][n],
        "best_loss": best.value,
        "best_step": best.step,
        **update_size(model),
    }


def _log(group: Group, n: int, rates: Sequence[float]) -> list[dict[str, Any]]:
    """A member's losses as lines of `metrics.jsonl`."""
    validations = {step: losses[n] for step, losses in group.validations}
    lines: list[dict[str, Any]] = []
    for step, losses in enumerate(group.losses, start=1):
        lines.append({"kind": "train", "step": step, "loss": losses[n], "lr": rates[step - 1]})
        if (loss := validations.get(step)) is not None:
            lines.append(
                {"kind": "valid", "step": step, "loss": loss, "ppl": math.exp(loss) if loss < 700 else math.inf}
            )
    return lines


def _rates(group: Group) -> list[list[float]]:
    """Each member's learning rate at each step, a row a member."""
    settings = group.settings
    warmup = warmup_steps(settings.warmup_step, settings.max_step)
    schedules = [Schedule(settings.scheduler, member.lr, settings.max_step, warmup) for member in group.members]
    return [[schedule(step) for step in range(settings.max_step)] for schedule in schedules]


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
    sums = losses_together(group.model, group.rows, batches, loss, group.settings.dtype)
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
        _require_finite(numbers, step)
        group.losses.append(numbers)


def _require_finite(losses: Sequence[float], step: int) -> None:
    for n, loss in enumerate(losses):
        if not loss < math.inf:
            raise Diverged(n, step)
