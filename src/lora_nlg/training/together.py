"""Losses of several adapters on one base in one forward pass (`lora.batched`): in training, and to be told apart by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lora_nlg.batching import Batch, Example, FilledBatch, fill_up, make_batch
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention
from lora_nlg.lora.batched import Rows
from lora_nlg.training.filled import filled_losses
from lora_nlg.training.graphs import GraphedCalls, GraphMode
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.step import precision


def losses_together(
    model: GPT2, rows: Rows, batches: FilledBatch | Sequence[Batch], loss: TargetLoss, dtype: str
) -> Tensor:
    """The summed loss of each adapter's batch.

    Args:
        model: with N adapters in `BatchedLinear` layers.
        rows: the layers'.
        batches: one for each adapter, filled up on CUDA.
        loss: how targets are scored.
        dtype: see `prepare_precision`.

    Returns:
        Shape (N,), fp32.
    """
    device = model.head_weight.device
    with precision(model, dtype, device):
        if isinstance(batches, FilledBatch):
            shape = batches.shape
            rows.set([shape.tokens] * shape.parts, [shape.targets] * shape.parts, device=device)
            return filled_losses(model, batches, loss)
        lengths = [length for batch in batches for length in batch.lengths]
        counts, n_targets = [sum(batch.lengths) for batch in batches], [len(batch.targets) for batch in batches]
        rows.set(counts, n_targets, device=device)
        tokens = torch.cat([batch.tokens for batch in batches]).to(device)
        positions = torch.cat([batch.positions for batch in batches]).to(device)
        starts = [sum(counts[:n]) for n in range(len(counts))]
        targets = torch.cat([batch.target_rows + start for batch, start in zip(batches, starts, strict=True)])
        hidden = model(tokens, positions, FlatAttention(lengths, device), targets.to(device))
        losses = [
            loss(states, batch.targets.to(device), model.head_weight)
            for states, batch in zip(hidden.split(n_targets), batches, strict=True)
        ]
        return torch.stack(losses)


@torch.no_grad()
def validate_together(
    model: GPT2,
    rows: Rows,
    n_adapters: int,
    batches: Sequence[Sequence[Example]],
    dtype: str = "fp32",
    cuda_graph: GraphMode = "auto",
) -> list[float]:
    """Mean loss of a target token for each of several adapters on the same examples; see `LossValidation` for one.

    Args:
        model: with N adapters in `BatchedLinear` layers; left in the mode (train or eval) it was in.
        rows: the layers'.
        n_adapters: N.
        batches: see `validation_batches`.
        dtype: see `prepare_precision`. Default: fp32.
        cuda_graph: see `graphs.GraphMode`. Default: `auto`.

    Raises:
        InputError: there is no target.
    """
    device, was_training = model.head_weight.device, model.training
    loss, count = TargetLoss(), 0
    sums = torch.zeros(n_adapters, dtype=torch.float64, device=device)

    def add(filled: FilledBatch | Sequence[Batch]) -> None:
        sums.add_(losses_together(model, rows, filled, loss, dtype))

    graphed = GraphedCalls(add, device, cuda_graph)
    model.eval()
    for examples in batches:
        batch = make_batch(examples)
        count += len(batch.targets)
        if device.type == "cuda":
            graphed(fill_up([batch] * n_adapters, [1] * n_adapters).pin_memory())
        else:
            add([batch] * n_adapters)
    model.train(was_training)
    if not count:
        raise InputError("validation has no token to predict: nothing to tell adapters apart by")
    return [float(value) for value in (sums / count).tolist()]
