"""The predecessor's own training curves, replayed.

Recorded from the NLG example of microsoft/LoRA on the CPU in fp32 with torch 2.13 (the data's README says how):
batch i is rows i·B … i·B+B−1, wrapping. Its losses carry its denominator, Σ mask + 1e-4.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_nlg.batching import make_example
from lora_nlg.gpt2 import lora_targets
from lora_nlg.lora import LoRASpec, inject, load_lora_state_dict, mark_only_lora_as_trainable, pack_frozen
from lora_nlg.training import Schedule
from lora_nlg.weights.base import load_base

from .conftest import Run


def flag(flags: str, name: str) -> float:
    words = flags.split()
    return float(words[words.index(name) + 1])


@pytest.mark.parametrize("name", ["linear_smooth", "constant_alpha128", "r1_jlm"])
def test_curve_and_adapter(name: str, shared_golden: Path, train: Callable[..., Run]) -> None:
    record = json.loads((shared_golden / f"train_{name}.json").read_text())
    tensors = load_file(shared_golden / f"train_{name}.safetensors")
    model = load_base(shared_golden / "base.safetensors")
    spec = LoRASpec(record["r"], record["alpha"])
    inject(model, lora_targets(model.config, {"q": spec, "v": spec}))
    mark_only_lora_as_trainable(model)
    load_lora_state_dict(model, {k.removeprefix("initial."): v for k, v in tensors.items() if k.startswith("initial.")})
    pack_frozen(model)  # as the command does
    examples = [
        make_example(str(i), context, completion[:-1], completion[-1], record["objective"], 160)
        for i, (context, completion) in enumerate(record["rows"])
    ]
    flags, steps = record["flags"], record["steps"]
    scheduler = flags.split()[flags.split().index("--scheduler") + 1]
    run = train(
        model,
        examples,
        max_step=steps,
        batch=record["batch_size"],
        shuffle=False,
        optimizer="adamw_lora",
        schedule=Schedule(scheduler, flag(flags, "--lr"), steps, int(flag(flags, "--warmup_step"))),
        adam_beta2=flag(flags, "--adam_beta2"),
        weight_decay=flag(flags, "--weight_decay"),
        correct_bias="--correct_bias" in flags,
        label_smooth=record["label_smooth"],
    )
    rates = [line["lr"] for line in run.lines if line["kind"] == "train"]
    assert rates == pytest.approx(record["lrs"], rel=1e-9, abs=1e-12)
    assert run.losses == pytest.approx(record["losses"], abs=1e-5)
    final = {k.removeprefix("final."): v for k, v in tensors.items() if k.startswith("final.")}
    assert final.keys() == run.adapter.keys()
    for key, value in final.items():
        moved = (value - tensors[f"initial.{key}"]).norm() / value.norm()
        assert moved > 1e-3, "the recorded run must have trained"
        assert (run.adapter[key] - value).norm() / value.norm() < 1e-4, key


def test_torch_adamw_differs(shared_golden: Path) -> None:
    """The comparison above can fail: torch's AdamW gives another adapter (1.7e-4 after 20 steps, by the record)."""
    from lora_nlg.training import AdamWLoRA

    torch.manual_seed(0)
    gradients = torch.randn(20, 1000) * 1e-3
    ends = []
    for optimizer_class in (AdamWLoRA, torch.optim.AdamW):
        value = torch.nn.Parameter(torch.zeros(1000))
        optimizer = optimizer_class([value], lr=2e-4, eps=1e-6, weight_decay=0.01)
        for gradient in gradients:
            value.grad = gradient.clone()
            optimizer.step()
        ends.append(value.detach())
    assert 1e-6 < (ends[0] - ends[1]).abs().max() < 1e-3
