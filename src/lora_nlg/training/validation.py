"""Validation: measures a run is judged by. The loss is here; by generation, see `decoding.validation`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from lora_nlg.batching import Example, make_batch
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.step import autocast, batch_loss


class Validation(Protocol):
    """Something that scores the model as it is; called on every rank, it gives all of them the same."""

    @property
    def kind(self) -> str:
        """The kind of its lines in the record."""
        ...

    def __call__(self) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """Values by name, the measure it is judged by among them, and generated texts by context, if any."""
        ...

    def describe(self, values: Mapping[str, float]) -> str:
        """Its values in words."""
        ...


@dataclass(frozen=True)
class LossValidation:
    """Validation by the loss on a data set.

    Attributes:
        model: on `world.device`.
        batches: see `validation_batches`; the same on all ranks.
        dtype: see `prepare_precision`.
        world: ranks to share the work with.
        loss: without smoothing, so that perplexity means what it says.
    """

    model: GPT2
    batches: Sequence[Sequence[Example]]
    dtype: str
    world: World
    loss: TargetLoss
    kind = "valid"

    def __call__(self) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """`loss` and `ppl` (see `validation_loss`); no texts."""
        return validation_loss(self.model, self.batches, self.dtype, self.world, self.loss), {}

    def describe(self, values: Mapping[str, float]) -> str:
        """See `Validation.describe`."""
        return f"validation loss {values['loss']:.4f}, perplexity {values['ppl']:.2f}"


@torch.no_grad()
def validation_loss(
    model: GPT2, batches: Sequence[Sequence[Example]], dtype: str, world: World, loss: TargetLoss
) -> dict[str, float]:
    """Loss per target token over a data set, every rank taking its share.

    Args:
        model: left in the mode (train or eval) it was in.
        batches: see `validation_batches`; the same on all ranks.
        dtype: see `prepare_precision`.
        world: ranks to share the work with.
        loss: without smoothing, so that perplexity means what it says.

    Returns:
        `loss` (mean over all target tokens) and `ppl`, equal on all ranks.
    """
    was_training = model.training
    model.eval()
    # Accumulated in fp64 on the device: the result doesn't depend on how batches are dealt to ranks.
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    for examples in batches[world.rank :: world.size]:
        batch = make_batch(examples).to(world.device)
        if len(batch.targets):
            with autocast(dtype, world.device):
                sums[0] += batch_loss(model, batch, loss)
            sums[1] += len(batch.targets)
    model.train(was_training)
    total, count = world.sum_(sums).tolist()
    mean = total / max(count, 1)
    return {"loss": mean, "ppl": math.exp(mean) if mean < 700 else math.inf}
