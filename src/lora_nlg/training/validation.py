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
        model: on `world.device`; left in the mode (train or eval) it was in.
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

    @torch.no_grad()
    def __call__(self) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """`loss`, the mean over all target tokens, and its perplexity `ppl`; no texts. Every rank takes its share."""
        model, world = self.model, self.world
        was_training = model.training
        model.eval()
        # Accumulated in fp64 on the device: the result doesn't depend on how batches are dealt to ranks.
        sums = torch.zeros(2, dtype=torch.float64, device=world.device)
        for examples in self.batches[world.rank :: world.size]:
            batch = make_batch(examples).to(world.device)
            if len(batch.targets):
                with autocast(self.dtype, world.device):
                    sums[0] += batch_loss(model, batch, self.loss)
                sums[1] += len(batch.targets)
        model.train(was_training)
        total, count = world.sum_(sums).tolist()
        mean = total / max(count, 1)
        return {"loss": mean, "ppl": math.exp(mean) if mean < 700 else math.inf}, {}

    def describe(self, values: Mapping[str, float]) -> str:
        """See `Validation.describe`."""
        return f"validation loss {values['loss']:.4f}, perplexity {values['ppl']:.2f}"
