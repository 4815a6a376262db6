"""A 50-step loss curve against transformers' GPT-2 whose c_attn is loralib's MergedLinear (q and v).

Same base, same initial adapter, same batches, dropout 0, torch's AdamW on both sides; the other side pads, computes
all logits and takes torch's cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lora_nlg.batching import Example, Sampler
from lora_nlg.lora import lora_state_dict
from lora_nlg.training import Schedule
from lora_nlg.weights.base import save_base

from .conftest import CONFIG, Run, random_examples, tiny_model

STEPS, BATCH, LR, DECAY, SMOOTH = 50, 8, 2e-2, 0.01, 0.1


def reference_losses(folder: Path, initial: dict[str, torch.Tensor], examples: list[Example]) -> list[float]:
    """Train transformers + loralib on the same batches."""
    loralib = pytest.importorskip("loralib")
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).train()
    for i, block in enumerate(model.transformer.h):
        conv = block.attn.c_attn
        layer = loralib.MergedLinear(
            CONFIG.n_embd, 3 * CONFIG.n_embd, r=3, lora_alpha=8, enable_lora=[True, False, True], fan_in_fan_out=True
        )
        layer.weight.data, layer.bias.data = conv.weight.data.clone(), conv.bias.data.clone()
        name = f"transformer.h.{i}.attn.c_attn"
        layer.lora_A.data = initial[f"{name}.lora_A"].clone()
        layer.lora_B.data = initial[f"{name}.lora_B"].clone()
        block.attn.c_attn = layer
    loralib.mark_only_lora_as_trainable(model)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], eps=1e-6, weight_decay=DECAY, betas=(0.9, 0.999)
    )
    schedule = Schedule("linear", LR, STEPS, 5)
    sampler = Sampler([example.n_inputs for example in examples], BATCH, 5)
    losses = []
    for step in range(STEPS):
        chosen = [examples[i] for i in sampler.batch(step)]
        width = max(len(example.tokens) for example in chosen)
        tokens = torch.tensor([[*example.tokens, *[0] * (width - len(example.tokens))] for example in chosen])
        labels = tokens.clone()
        for row, example in zip(labels, chosen, strict=True):
            row[: example.first_target] = -100
            row[len(example.tokens) :] = -100
        logits = model(tokens).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), label_smoothing=SMOOTH
        )
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fifty_steps(tmp_path: Path, train: Callable[..., Run]) -> None:
    model = tiny_model()
    initial = {name: value.clone() for name, value in lora_state_dict(model).items()}
    examples = random_examples(24)
    base = tiny_model()
    from lora_nlg.lora import fold

    for name, parameter in base.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()  # folded, this is the base alone
    save_base(fold(base), tmp_path / "base")
    expected = reference_losses(tmp_path / "base", initial, examples)
    run = train(
        model, examples, max_step=STEPS, batch=BATCH, weight_decay=DECAY, label_smooth=SMOOTH,
        schedule=Schedule("linear", LR, STEPS, 5),
    )  # fmt: skip
    assert run.losses == pytest.approx(expected, abs=1e-4)
    assert abs(run.losses[0] - expected[0]) < 1e-5
    last, first = sum(expected[-10:]), sum(expected[:10])
    assert last < first - 0.5, "the run must have learned something"
