"""Validation: measures a run is judged by. The loss is here; by generation, see `decoding.validation`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from lora_nlg.batching import Batch, Example, fill_up, make_batch
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.progress import progress_bar
from lora_nlg.training.filled import FilledLoss
from lora_nlg.training.graphs import GraphMode
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.step import batch_loss, precision


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
        cuda_graph: see `graphs.GraphMode`. Default: `auto`.
    """

    model: GPT2
    batches: Sequence[Sequence[Example]]
    dtype: str
    world: World
    loss: TargetLoss
    cuda_graph: GraphMode = "auto"
    kind = "valid"

    @torch.no_grad()
    def __call__(self) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """`loss`, the mean over all target tokens, and its perplexity `ppl`; no texts. Every rank takes its share."""
        model, world = self.model, self.world
        was_training = model.training
        model.eval()
        own = self.batches[world.rank :: world.size]
        with progress_bar(own, desc="validate", unit="batch", leave=False, disable=not world.is_main) as bar:
            batches = (make_batch(examples) for examples in bar)
            sums = self._sums(batch for batch in batches if len(batch.targets))
        model.train(was_training)
        total, count = world.sum_(sums).tolist()
        if not count:
            raise InputError("validation has no token to predict: nothing to select a model by")
        mean = total / count
        return {"loss": mean, "ppl": math.exp(mean) if mean < 700 else math.inf}, {}

    def _sums(self, batches: Iterable[Batch]) -> Tensor:
        """The sum of the batches' losses, and of their targets, shape (2,)."""
        device = self.world.device
        if device.type == "cuda":
            most = max(len(examples) for examples in self.batches)
            for batch in batches:
                self._filled.add(fill_up([batch], [1], most).pin_memory())
            return self._filled.take()
        # Accumulated in fp64: the result doesn't depend on how batches are dealt to ranks.
        sums = torch.zeros(2, dtype=torch.float64)
        for batch in batches:
            with precision(self.model, self.dtype, device):
                sums[0] += batch_loss(self.model, batch, self.loss)
            sums[1] += len(batch.targets)
        return sums

    @cached_property
    def _filled(self) -> FilledLoss:
        return FilledLoss(self.model, self.loss, self.dtype, self.world.device, self.cuda_graph)

    def describe(self, values: Mapping[str, float]) -> str:
        """See `Validation.describe`."""
        return f"validation loss {values['loss']:.4f}, perplexity {values['ppl']:.2f}"
