"""One optimiser step, from a global batch to changed parameters.

The gradient of a step is that of the mean loss over the target tokens of the whole global batch: every micro-batch
adds its sum divided by the global count, and one all-reduce adds up the ranks. Dropout is seeded by the step, so
after it the run is a pure function of (configuration, step, parameters, optimiser moments).
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from lora_nlg.batching import Batch, FilledBatch, StepData
from lora_nlg.distributed import World
from lora_nlg.dtypes import named_dtype
from lora_nlg.gpt2 import GPT2, FlatAttention, base_names
from lora_nlg.lora import adapted_layers
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.settings import OptimisationSettings
from lora_nlg.training.state import TrainingState


class Step(Protocol):
    """A way to take optimiser steps.

    Attributes:
        state: what they change.
    """

    state: TrainingState

    def __call__(self, data: StepData, rate: float, stop: bool = False) -> Tensor:
        """Take a step; nothing here waits for the device.

        Args:
            data: this rank's batches.
            rate: the learning rate.
            stop: tell all ranks that this one was asked to end. Default: False.

        Returns:
            The loss of the global batch, its gradient's norm before clipping, and the number of ranks asked to end:
            shape (3,), fp32, on the device.
        """
        ...


class EagerStep:
    """A step as torch runs it operation by operation; see `Step`.

    Args:
        model: on `world.device`, with `prepare_precision` done.
        state: its trainable parameters and their optimiser.
        settings: smoothing, clipping, number type and seed.
        world: the ranks that share the batch.
    """

    def __init__(self, model: GPT2, state: TrainingState, settings: OptimisationSettings, world: World) -> None:
        self.model, self.state, self.settings, self.world = model, state, settings, world
        self.loss = TargetLoss(settings.label_smooth)

    def __call__(self, data: StepData, rate: float, stop: bool = False) -> Tensor:
        """See `Step.__call__`."""
        settings, world = self.settings, self.world
        flat, optimizer, scaler = self.state.flat, self.state.optimizer, self.state.scaler
        for group in optimizer.param_groups:
            group["lr"] = rate
        flat.clear()
        denominator = max(data.n_targets, 1) + settings.denominator_offset
        for number, batch in enumerate(data.micro_batches):
            seed_step(settings.random_seed, data.step, world.rank, number)
            self.add_gradient(batch, denominator)
        if stop:
            flat.sums[1] += 1
        world.sum_(flat.reduced)
        scaler.unscale_(optimizer)
        norm = torch.linalg.vector_norm(flat.gradient)
        if settings.grad_clip > 0:
            flat.gradient.mul_((settings.grad_clip / (norm + 1e-6)).clamp_(max=1.0))
        scaler.step(optimizer)
        scaler.update()
        return torch.stack((flat.sums[0] / denominator, norm, flat.sums[1]))

    def add_gradient(self, batch: Batch | FilledBatch, denominator: float) -> None:
        """Add a micro-batch's loss to the sum of losses, and its share of the mean's gradient to the gradient."""
        assert isinstance(batch, Batch), "filled batches are `FilledStep`'s"
        with precision(self.model, self.settings.dtype, self.world.device):
            total = batch_loss(self.model, batch.to(self.world.device), self.loss)
        torch.autograd.backward(self.state.scaler.scale(total / denominator))
        self.state.flat.sums[0] += total.detach()


def prepare_precision(model: nn.Module, dtype: str) -> None:
    """Hold frozen weights in the type that is computed in; trainable parameters stay fp32.

    So does the rest of a layer norm that has a trainable parameter: its kernel wants weight and bias in one type.

    Args:
        model: with `requires_grad` set on what trains; changed in place.
        dtype: `fp32`, `bf16` or `fp16`.

    Raises:
        InputError: another name.
    """
    held = named_dtype(dtype)
    if dtype == "fp32":
        return
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.LayerNorm) and any(parameter.requires_grad for parameter in own):
            continue
        for parameter in own:
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(held)


def precision(model: GPT2, dtype: str, device: torch.device) -> AbstractContextManager[object]:
    """The context a forward pass of this model runs in: autocast where operands of several types meet.

    With a frozen base in the type computed in, only what a method put in is of another, and it casts its parameters
    itself. On CUDA autocast would only add its own casts then, around each layer norm; on the CPU it chooses kernels.
    """
    own = base_names(model.config)
    mixed = device.type == "cpu" or any(p.requires_grad and name in own for name, p in model.named_parameters())
    return torch.autocast(device.type, named_dtype(dtype)) if mixed and dtype != "fp32" else nullcontext()


def batch_loss(model: GPT2, batch: Batch, loss: TargetLoss) -> Tensor:
    """The sum of a batch's losses over its target positions.

    Args:
        model: adapted or not.
        batch: on the model's device.
        loss: how targets are scored.

    Returns:
        A scalar, fp32.
    """
    attention = FlatAttention(batch.lengths, batch.tokens.device)
    hidden = model(batch.tokens, batch.positions, attention, batch.target_rows)
    return loss(hidden, batch.targets, model.head_weight)


def seed_step(seed: int, step: int, rank: int, micro_batch: int) -> None:
    """Seed dropout as a function of where in the run we are, so that resuming needs no generator state."""
    torch.manual_seed(dropout_seed(seed, step, rank, micro_batch))


def dropout_seed(seed: int, step: int, rank: int, micro_batch: int) -> int:
    """The seed of a micro-batch's dropout."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}/{micro_batch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def update_norms(model: nn.Module) -> dict[str, float]:
    """The Frobenius norm of every adapted layer's update, by layer name."""
    norms = {name: layer.update_norm() for name, layer in adapted_layers(model).items()}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True)) if norms else {}
