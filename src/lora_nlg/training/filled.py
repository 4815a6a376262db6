"""What is done with a filled batch, so that it can be a CUDA graph: add its gradient, or its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_nlg.batching import Batch, FilledBatch
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2, FilledAttention
from lora_nlg.training.graphs import GraphedCalls, GraphMode
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.settings import OptimisationSettings
from lora_nlg.training.state import TrainingState
from lora_nlg.training.step import EagerStep, precision


def filled_losses(model: GPT2, batch: FilledBatch, loss: TargetLoss) -> Tensor:
    """The summed loss of each of a batch's M parts, in one pass.

    Args:
        model: adapted or not.
        batch: on the model's device.
        loss: how targets are scored.

    Returns:
        Shape (M,), fp32.
    """
    shape, parts = batch.shape, batch.parts()
    attention = FilledAttention(parts.ends, shape.longest, shape.parts * shape.tokens)
    hidden = model(parts.tokens, parts.positions, attention, parts.target_rows)
    return loss(hidden, parts.targets, model.head_weight, parts.weights)


class FilledStep(EagerStep):
    """A step on filled batches, the gradient of each a CUDA graph where it can be; see `Step`.

    The rest of the step is launched one by one: it is short, and the host is ahead of the device by then.

    Args:
        model, state, settings, world: as `EagerStep`'s.
        cuda_graph: see `graphs.GraphMode`. Default: `auto`.
    """

    def __init__(
        self,
        model: GPT2,
        state: TrainingState,
        settings: OptimisationSettings,
        world: World,
        cuda_graph: GraphMode = "auto",
    ) -> None:
        super().__init__(model, state, settings, world)
        obstacle = ""
        if model.transformer.gradient_checkpointing:
            obstacle = "gradient checkpointing restores the random state, which can't be recorded"
        self.graphed = GraphedCalls(self._add, world.device, cuda_graph, obstacle=obstacle)

    def add_gradient(self, batch: Batch | FilledBatch, denominator: float) -> None:
        """See `EagerStep.add_gradient`; a filled batch holds its denominator itself."""
        assert isinstance(batch, FilledBatch), "the loader fills batches up where this step is taken"
        self.graphed(batch)

    def _add(self, batch: FilledBatch) -> None:
        with precision(self.model, self.settings.dtype, self.world.device):
            total = filled_losses(self.model, batch, self.loss).squeeze(0)  # of its one part
        denominator = batch.parts().denominators[0] + self.settings.denominator_offset
        torch.autograd.backward(self.state.scaler.scale(total / denominator))
        self.state.flat.sums[0] += total.detach()


class FilledLoss:
    """Adds a batch's loss and number of targets to `sums`, shape (2,), fp64.

    Args:
        model: called as it is, in training mode or not.
        loss: how targets are scored.
        dtype: see `prepare_precision`.
        device: the model's.
        mode: see `GraphedCalls`.
    """

    def __init__(self, model: GPT2, loss: TargetLoss, dtype: str, device: torch.device, mode: GraphMode) -> None:
        self.model, self.loss, self.dtype = model, loss, dtype
        # fp64: the result doesn't depend on how batches are dealt to ranks.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self.add = GraphedCalls(self._add, device, mode)

    @torch.no_grad()
    def _add(self, batch: FilledBatch) -> None:
        with precision(self.model, self.dtype, self.sums.device):
            total = filled_losses(self.model, batch, self.loss).squeeze(0)
        self.sums += torch.stack((total, batch.parts().weights.sum()))

    def take(self) -> Tensor:
        """What was added since the last call."""
        taken = self.sums.clone()
        self.sums.zero_()
        return taken
