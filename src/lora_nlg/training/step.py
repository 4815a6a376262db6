"""One forward pass of a batch to its summed loss, and validation over many batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from lora_nlg.batching import Batch, Example, make_batch
from lora_nlg.distributed import World
from lora_nlg.dtypes import named_dtype
from lora_nlg.gpt2 import GPT2, FlatAttention
from lora_nlg.lora import lora_layers
from lora_nlg.training.loss import TargetLoss


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


def autocast(dtype: str, device: torch.device) -> AbstractContextManager[object]:
    """The context the forward pass runs in."""
    return nullcontext() if dtype == "fp32" else torch.autocast(device.type, named_dtype(dtype))


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


def seed_step(seed: int, step: int, rank: int, micro_batch: int) -> None:
    """Seed dropout as a function of where in the run we are, so that resuming needs no generator state."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}/{micro_batch}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def update_norms(model: nn.Module) -> dict[str, float]:
    """The Frobenius norm of every LoRA layer's update, by layer name."""
    return {name: layer.update_norm() for name, layer in lora_layers(model).items()}
