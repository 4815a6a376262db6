"""What is done with a filled batch, so that it can be a CUDA graph: add its gradient, or its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_nlg.batching import FilledBatch
from lora_nlg.gpt2 import GPT2, FilledAttention
from lora_nlg.training.graphs import GraphedCalls
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.optim import FlatParameters
from lora_nlg.training.step import precision


def filled_losses(model: GPT2, batch: FilledBatch, loss: TargetLoss) -> list[Tensor]:
    """The summed loss of each of a batch's M parts.

    Args:
        model: adapted or not.
        batch: on the model's device.
        loss: how targets are scored.

    Returns:
        M scalars, fp32.
    """
    shape, parts = batch.shape, batch.parts()
    attention = FilledAttention(parts.ends, shape.longest, shape.parts * shape.tokens)
    hidden = model(parts.tokens, parts.positions, attention, parts.target_rows)
    pieces = zip(hidden.split(shape.targets), parts.targets.split(shape.targets), parts.weights, strict=True)
    return [loss(states, targets, model.head_weight, weights) for states, targets, weights in pieces]


class FilledGradient:
    """Adds the gradient of a batch's mean loss to the flat gradient, and its summed loss to the flat sums.

    Args:
        model: on its device, with `prepare_precision` done.
        flat: its trainable parameters.
        loss: of training.
        scaler: scales the loss in fp16.
        dtype: see `prepare_precision`.
        offset: added to a batch's denominator. Default: 0.
    """

    def __init__(
        self,
        model: GPT2,
        flat: FlatParameters,
        loss: TargetLoss,
        scaler: torch.amp.GradScaler,
        dtype: str,
        offset: float = 0.0,
    ) -> None:
        self.model, self.flat, self.loss, self.scaler, self.dtype = model, flat, loss, scaler, dtype
        self.offset = offset

    def __call__(self, batch: FilledBatch) -> None:
        """Add a batch of one part, on the model's device."""
        with precision(self.model, self.dtype, self.flat.value.device):
            (total,) = filled_losses(self.model, batch, self.loss)
        denominator = batch.parts().denominators[0] + self.offset
        torch.autograd.backward(self.scaler.scale(total / denominator))
        self.flat.sums[0] += total.detach()

    @property
    def obstacle(self) -> str:
        """Why it can't be a CUDA graph, if so."""
        if self.model.transformer.gradient_checkpointing:
            return "gradient checkpointing restores the random state, which can't be recorded"
        return ""


class FilledLoss:
    """Adds a batch's loss and number of targets to `sums`, shape (2,), fp64.

    Args:
        model, loss, dtype: as `FilledGradient`'s; the model is called as it is, in training mode or not.
        device: the model's.
        mode: see `GraphedCalls`.
    """

    def __init__(self, model: GPT2, loss: TargetLoss, dtype: str, device: torch.device, mode: str) -> None:
        self.model, self.loss, self.dtype = model, loss, dtype
        # fp64: the result doesn't depend on how batches are dealt to ranks.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.add = GraphedCalls(self._add, device, mode)

    @torch.no_grad()
    def _add(self, batch: FilledBatch) -> None:
        with precision(self.model, self.dtype, self.sums.device):
            (total,) = filled_losses(self.model, batch, self.loss)
        self.sums += torch.stack((total, batch.parts().weights.sum()))

    def take(self) -> Tensor:
        """What was added since the last call."""
        taken = self.sums.clone()
        self.sums.zero_()
        return taken
