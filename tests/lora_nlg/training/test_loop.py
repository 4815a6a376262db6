"""The loop: what a step computes, and that resuming continues it bit for bit. All in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_nlg.batching import make_batch, validation_batches
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention
from lora_nlg.training import FlatParameters, LossValidation, TargetLoss, batch_loss
from lora_nlg.training.snapshots import load_snapshot

from .conftest import Run, random_examples, tiny_model

Train = Callable[..., Run]


def assert_same_run(one: Run, other: Run) -> None:
    assert one.losses == other.losses
    for key, value in one.adapter.items():
        assert torch.equal(value, other.adapter[key]), key
    state, other_state = (run.state.optimizer.state[run.state.flat.value] for run in (one, other))
    for key in ("step", "exp_avg", "exp_avg_sq"):
        assert torch.equal(state[key], other_state[key]), key


def test_first_loss_is_the_mean_over_the_batch(train: Train) -> None:
    """Against a loop over single examples with torch's own cross-entropy on all logits."""
    examples = random_examples(8)
    run = train(tiny_model(), examples, max_step=1, label_smooth=0.1)
    model, total, count = tiny_model(), 0.0, 0
    for example in examples:
        tokens = torch.tensor(example.tokens)
        hidden = model(tokens[:-1], torch.arange(len(tokens) - 1), FlatAttention([len(tokens) - 1]))
        logits = model.logits(hidden)[example.first_target - 1 :]
        targets = tokens[example.first_target :]
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.1).item()
        count += len(targets)
    assert run.losses[0] == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("n", [32, 27])
def test_accumulation_changes_nothing(n: int, train: Train) -> None:
    """1 × 8 and 4 × 2 micro-batches: the same curve, also with a partial last batch of an epoch."""
    runs = [train(tiny_model(), random_examples(n), max_step=8, grad_acc=acc) for acc in (1, 4)]
    assert runs[0].losses == pytest.approx(runs[1].losses, abs=1e-5)
    for key, value in runs[0].adapter.items():
        torch.testing.assert_close(value, runs[1].adapter[key], atol=1e-5, rtol=0)
    other = train(tiny_model(), random_examples(n, seed=9), max_step=8)
    assert other.losses != pytest.approx(runs[0].losses, abs=1e-2), "the comparison can fail"


def test_gradient_of_micro_batches_sums_to_the_whole() -> None:
    examples = random_examples(8)
    gradients = []
    for parts in (1, 4):
        model = tiny_model()
        flat = FlatParameters({name: value for name, value in model.named_parameters() if value.requires_grad})
        size = len(examples) // parts
        for first in range(0, len(examples), size):
            batch_loss(model, make_batch(examples[first : first + size]), TargetLoss(0.1)).backward()
        gradients.append(flat.gradient.clone())
    assert gradients[0].abs().max() > 1e-2
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("whole_model", [False, True])
def test_resume_is_bitwise(whole_model: bool, dropout: float, tmp_path: Path, train: Train) -> None:
    def make() -> GPT2:
        model = tiny_model(dropout=dropout)
        return model.requires_grad_() if whole_model else model

    examples, valid = random_examples(20), random_examples(6, seed=2)
    options: dict[str, Any] = {"valid": valid, "max_step": 9, "save_interval": 2, "eval_interval": 3, "grad_acc": 2}
    options |= {"label_smooth": 0.1}
    whole = train(make(), examples, **options)
    again = train(make(), examples, **options)
    assert_same_run(whole, again)
    folder = tmp_path / "interrupted"
    with pytest.MonkeyPatch.context() as patch:  # the process is gone in the middle of step 6
        patch.setattr("lora_nlg.training.step.batch_loss", _failing_after(5 * 2, batch_loss))
        with pytest.raises(KeyboardInterrupt):
            train(make(), examples, folder=folder, **options)
    resumed = train(make(), examples, folder=folder, resume=True, **options)
    assert_same_run(whole, resumed)
    assert [line for line in whole.lines if line["kind"] != "speed"] == [
        line for line in resumed.lines if line["kind"] != "speed"
    ]
    assert resumed.outcome.best == whole.outcome.best


def _failing_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    count = iter(range(10**6))

    def call(*args: Any) -> Any:
        if next(count) >= calls:
            raise KeyboardInterrupt
        return function(*args)

    return call


def test_dropout_follows_the_seed(train: Train) -> None:
    examples = random_examples(16)
    one, other = (train(tiny_model(dropout=0.5), examples, random_seed=seed) for seed in (1, 2))
    assert one.losses != other.losses


def test_another_configuration_is_refused_with_its_differences(tmp_path: Path, train: Train) -> None:
    examples = random_examples(8)
    train(tiny_model(), examples, folder=tmp_path, identity={"lr": 1e-3, "lora_dim": 4, "seed": 1})
    with pytest.raises(InputError) as error:
        train(tiny_model(), examples, folder=tmp_path, identity={"lr": 2e-3, "seed": 1, "obj": "jlm"}, resume=True)
    message = str(error.value)
    assert "lr: 0.001 in the snapshot, 0.002 now" in message
    assert "lora_dim: 4 in the snapshot, absent now" in message and "obj: absent in the snapshot" in message
    assert "seed" not in message


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, train: Train) -> None:
    first = train(tiny_model(), random_examples(8), folder=tmp_path)
    second = train(tiny_model(seed=77), random_examples(8), folder=tmp_path, resume=True)
    assert second.outcome.step == first.outcome.step
    assert_same_run(first, second)


def test_not_finite_stops_with_step_and_examples(tmp_path: Path, train: Train) -> None:
    model = tiny_model()
    examples = random_examples(16)
    train(model, examples, folder=tmp_path, max_step=2, save_interval=1)
    poisoned = tiny_model()
    poisoned.transformer.ln_f.weight.data[0] = math.nan
    with pytest.raises(InputError) as error:
        train(poisoned, examples, folder=tmp_path, max_step=2, resume=False)
    message = str(error.value)
    assert message.startswith("step 1: loss nan; the batch holds examples ")
    assert all(word in message for word in ("step-00000002", "`lr`"))


def test_clipping_bounds_the_norm(train: Train) -> None:
    free = train(tiny_model(), random_examples(8), max_step=1)
    norm = next(line["grad_norm"] for line in free.lines if line["kind"] == "train")
    clipped = train(tiny_model(), random_examples(8), max_step=1, grad_clip=norm / 10)
    assert clipped.state.flat.gradient.norm().item() == pytest.approx(norm / 10, rel=1e-4)
    assert free.state.flat.gradient.norm().item() == pytest.approx(norm, rel=1e-6)


def test_early_stop(train: Train) -> None:
    run = train(
        tiny_model(), random_examples(8), max_step=50, valid=random_examples(4), eval_interval=1, early_stop=2,
        schedule=None, save_interval=100,
    )  # fmt: skip
    losses = [line["loss"] for line in run.lines if line["kind"] == "valid"]
    if run.outcome.reason == "early stop":
        assert losses.index(min(losses)) == len(losses) - 3
    else:
        assert len(losses) == 50


def test_validation_is_the_same_for_any_number_of_ranks() -> None:
    model, examples = tiny_model(), random_examples(13)
    batches = validation_batches(examples, 3)
    whole, _ = LossValidation(model, batches, "fp32", World(), TargetLoss())()
    sums = [0.0, 0]
    for example in examples:
        with torch.no_grad():
            batch = make_batch([example])
            sums[0] += batch_loss(model, batch, TargetLoss()).item()
            sums[1] += len(batch.targets)
    assert whole["loss"] == pytest.approx(sums[0] / sums[1], rel=1e-6)
    assert whole["ppl"] == pytest.approx(math.exp(whole["loss"]))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_follows_fp32(dtype: str, train: Train) -> None:
    from lora_nlg.training import prepare_precision

    exact = train(tiny_model(), random_examples(16), max_step=6)
    model = tiny_model()
    prepare_precision(model, dtype)
    assert model.transformer.h[0].mlp.c_fc.weight.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    half = train(model, random_examples(16), max_step=6, dtype=dtype)
    assert half.losses == pytest.approx(exact.losses, rel=2e-2)
    assert half.losses != exact.losses
    assert all(value.dtype == torch.float32 for value in half.adapter.values())


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_lora"])
def test_a_snapshot_before_the_first_update(
    optimizer: str, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 skips the steps that overflow; a snapshot may come before any that doesn't."""
    from lora_nlg.training import prepare_precision

    def run(**more: Any) -> Run:
        model = tiny_model()
        prepare_precision(model, "fp16")
        return train(model, random_examples(16), max_step=12, dtype="fp16", optimizer=optimizer, **more)

    monkeypatch.setattr("torch.amp.GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**24))
    whole = run()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lora_nlg.training.step.batch_loss", _failing_after(1, batch_loss))
        run(folder=tmp_path, save_interval=1)
    assert load_snapshot(tmp_path / "snapshots/step-00000001").state["updates"] == 0
    assert_same_run(whole, run(folder=tmp_path, save_interval=1, resume=True))
    assert 0 < whole.state.optimizer.state[whole.state.flat.value]["step"] < 12


def test_losing_contact_while_gathering_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("torch.distributed.all_gather_object", gone)
    with pytest.raises(InputError, match=r"lost contact with another rank \(RuntimeError\)"):
        World(rank=1, size=2).gather("mine")


def test_metrics_lines(train: Train) -> None:
    run = train(tiny_model(), random_examples(8), max_step=3, valid=random_examples(4), eval_interval=2)
    kinds = [(line["kind"], line["step"]) for line in run.lines]
    assert [k for k in kinds if k[0] not in ("speed", "update")] == [
        ("train", 1), ("train", 2), ("valid", 2), ("train", 3), ("valid", 3),
    ]  # fmt: skip
    assert json.dumps(run.lines)
