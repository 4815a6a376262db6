"""Validation: the loss on a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lora_nlg.batching import Example, fill_up, make_batch
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2
from lora_nlg.training.filled import FilledLoss
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.step import batch_loss, precision


@torch.no_grad()
def validation_loss(
    model: GPT2,
    batches: Sequence[Sequence[Example]],
    dtype: str,
    world: World,
    loss: TargetLoss,
    filled: FilledLoss | None = None,
) -> dict[str, float]:
    """Loss per target token over a data set, every rank taking its share.

    Args:
        model: left in the mode (train or eval) it was in.
        batches: see `validation_batches`; the same on all ranks.
        dtype: see `prepare_precision`.
        world: ranks to share the work with.
        loss: without smoothing, so that perplexity means what it says.
        filled: adds up filled batches' losses, where those are wanted: on CUDA.

    Returns:
        `loss` (mean over all target tokens) and `ppl`, equal on all ranks.
    """
    was_training = model.training
    model.eval()
    # Accumulated in fp64 on the device: the result doesn't depend on how batches are dealt to ranks.
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    most = max((len(examples) for examples in batches), default=0)
    for examples in batches[world.rank :: world.size]:
        batch = make_batch(examples)
        if not len(batch.targets):
            continue
        if filled is not None:
            filled.add(fill_up([batch], [1], most).pin_memory())
            continue
        with precision(model, dtype, world.device):
            sums[0] += batch_loss(model, batch.to(world.device), loss)
        sums[1] += len(batch.targets)
    if filled is not None:
        sums += filled.take()
    model.train(was_training)
    total, count = world.sum_(sums).tolist()
    mean = total / max(count, 1)
    return {"loss": mean, "ppl": math.exp(mean) if mean < 700 else math.inf}
