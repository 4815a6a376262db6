"""Each member of a batched sweep ends where training it alone ends: the trainer's own run, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.batching import make_examples
from lora_nlg.corpora.record import read_records
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import FusedLinear, LoRASpec
from lora_nlg.lora import batched as batched_module
from lora_nlg.lora.batched import BatchedLinear, Rows
from lora_nlg.sweep import Group, Member, SweepSettings, Trained, engine, train_group
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights import load_base, read_adapter

MEMBERS = [
    Member(1, 8.0, "alpha/r", 1e-2, 1),
    Member(4, 8.0, "rslora", 1e-2, 1),
    Member(4, 128.0, "alpha/r", 1e-3, 2),
    Member(7, 14.0, "alpha/r", 3e-3, 3),
]


def examples(study: Path) -> tuple[list, list]:
    tokenizer = load_tokenizer(study / "base")
    train, valid = (make_examples(read_records(study / f"{name}.jsonl"), tokenizer, 60) for name in ("train", "valid"))
    return train, valid


def train_member(study: Path, out: Path, member: Member, *flags: str) -> None:
    """`lora-nlg train` of one member."""
    status = main(
        ["train", "--train_data", str(study / "train.jsonl"), "--valid_data", str(study / "valid.jsonl"),
         "--init_checkpoint", str(study / "base"), "--work_dir", str(out), "--seq_len", "60", "--max_step", "12",
         "--train_batch_size", "5", "--scheduler", "linear", "--warmup_step", "2", "--lr", str(member.lr),
         "--lora_dim", str(member.r), "--lora_alpha", str(member.alpha), "--lora_scaling", member.rule,
         "--random_seed", str(member.seed), "--eval_interval", "5", "--device", "cpu", "--report_to", "none",
         *flags]
    )  # fmt: skip
    assert status == 0


def trained(study: Path, members: list[Member], settings: SweepSettings, folder: Path | None = None) -> list[Trained]:
    base = load_base(study / "base").requires_grad_(False)
    return train_group(base, members, *examples(study), settings, folder)


def adapter_of(model: GPT2 | None) -> dict[str, torch.Tensor]:
    assert model is not None
    return {name: value for name, value in model.state_dict().items() if "lora_" in name}


@pytest.mark.parametrize(
    ("flags", "values", "changes"),
    [
        ([], {}, {}),
        (["--dtype", "bf16"], {"dtype": "bf16"}, {}),
        (["--lora_dropout", "0.2", "--label_smooth", "0.1"], {"label_smooth": 0.1}, {"dropout": 0.2}),
        (["--lora_targets", "k,fc,proj", "--grad_clip", "0.5"], {"grad_clip": 0.5}, {"targets": "k+fc+proj"}),
    ],
    ids=["fp32", "bf16", "dropout", "targets"],
)
def test_each_member_equals_training_it_alone(
    study: Path, tmp_path: Path, flags: list[str], values: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Adapters, last and best, and validation losses within 1e-5 after 12 steps: unequal ranks, rules, rates, seeds."""
    settings = SweepSettings(**{"max_step": 12, "train_batch_size": 5, "warmup_step": 2, "eval_interval": 5, **values})
    members = [replace(member, **changes) for member in (MEMBERS[1:3] if changes else MEMBERS)]
    found = trained(study, members, settings)
    for number, (member, ours) in enumerate(zip(members, found, strict=True)):
        out = tmp_path / str(number)
        train_member(study, out, member, *flags)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = {kind: [line["loss"] for line in lines if line["kind"] == kind] for kind in ("train", "valid")}
        for kind, expected in losses.items():
            assert [line["loss"] for line in ours.log if line["kind"] == kind] == pytest.approx(expected, abs=1e-5)
        best = min(losses["valid"])
        assert ours.row["valid_loss"] == pytest.approx(losses["valid"][-1], abs=1e-5) and ours.row["steps"] == 12
        assert ours.row["best_loss"] == pytest.approx(best, abs=1e-5)
        assert ours.row["best_step"] == (5, 10, 12)[losses["valid"].index(best)]
        for model, folder in ((ours.model, out), (ours.best, out / "best")):
            adapter, expected_adapter = adapter_of(model), read_adapter(folder)[1]
            assert adapter.keys() == expected_adapter.keys()
            for name, value in expected_adapter.items():
                torch.testing.assert_close(adapter[name], value, rtol=0, atol=1e-5)
    ends = {round(ours.row["valid_loss"], 5) for ours in found}
    assert len(ends) == len(members), "members that can't be told apart test nothing"


@pytest.mark.parametrize("function", ["_SeparateLoRA", "_BatchedLoRA"])
def test_the_batched_layer_is_n_layers(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients of three adapters of unequal rank on unequal numbers of rows, against three layers.

    Both ways: the CPU's, and CUDA's.
    """
    monkeypatch.setattr(batched_module, "_SeparateLoRA", getattr(batched_module, function))
    torch.manual_seed(0)
    base = torch.nn.Linear(12, 18)
    layers = []
    for r, alpha in ((2, 4), (5, 5), (1, 8)):
        layer = FusedLinear(12, 18, (LoRASpec(r, alpha), None, LoRASpec(r, alpha)))
        layer.weight, layer.bias = base.weight, base.bias
        for pair in layer.factors():
            pair.B.data.normal_()
        layers.append(layer)
    rows = Rows()
    batched = BatchedLinear(layers, rows)
    for counts in ((4, 7, 1), (3, 3, 3)):
        x = torch.randn(sum(counts), 12)
        rows.set(counts)
        y = batched(x)
        expected = torch.cat([layer(part) for layer, part in zip(layers, x.split(counts), strict=True)])
        torch.testing.assert_close(y, expected)
        grad = torch.randn_like(y)
        for parameter in (
            batched.lora_A,
            batched.lora_B,
            *(p for layer in layers for p in (layer.lora_A, layer.lora_B)),
        ):
            parameter.grad = None
        y.backward(grad)
        expected.backward(grad)
        assert batched.lora_A.grad is not None and batched.lora_B.grad is not None
        for n, layer in enumerate(layers):
            reference = FusedLinear(12, 18, layer.specs)
            gradients = BatchedLinear([layer], rows)
            gradients.lora_A.data, gradients.lora_B.data = (
                batched.lora_A.grad[n : n + 1],
                batched.lora_B.grad[n : n + 1],
            )
            gradients.copy_out(0, reference)
            torch.testing.assert_close(reference.lora_A, layer.lora_A.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(reference.lora_B, layer.lora_B.grad, rtol=1e-4, atol=1e-5)
        assert not batched.lora_B.grad[0, :, :, 2:].any(), "padding must have no gradient"


def broken_at(step: int, members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the second member's loss infinite after so many steps, in a group of so many."""
    true_backward = engine._backward

    def broken(group: Group, *arguments: Any) -> None:
        true_backward(group, *arguments)
        if group.step == step and len(group.means) == members:
            factors = torch.tensor([1.0, torch.inf, 1.0][:members])
            group.means.mul_(factors)
            group.gradient.mul_(factors[:, None])

    monkeypatch.setattr(engine, "_backward", broken)


def test_a_member_that_diverges_leaves_the_others_alone(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the second member's loss made infinite at step 3, the others' results are those of a group without it."""
    settings = SweepSettings(max_step=6, train_batch_size=5)
    expected = trained(study, [MEMBERS[0], MEMBERS[2]], settings)
    broken_at(2, 3, monkeypatch)
    found = trained(study, MEMBERS[:3], settings)
    assert [member.row["diverged"] for member in found] == [False, True, False]
    assert found[1].row["steps"] == 3 and "valid_loss" not in found[1].row and found[1].model is None
    assert [found[0].row, found[2].row] == [member.row for member in expected]


def test_an_interrupted_group_continues_bit_for_bit(study: Path, tmp_path: Path, monkeypatch) -> None:
    settings = SweepSettings(max_step=9, train_batch_size=5, save_interval=2, eval_interval=3)
    members = [replace(member, dropout=0.1) for member in MEMBERS[:2]]
    whole = trained(study, members, settings)
    true_step = engine.group_step

    def interrupt(group: Group, *arguments: Any) -> None:
        if group.step == 5:
            raise KeyboardInterrupt
        true_step(group, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "group_step", interrupt)
        trained(study, members, settings, tmp_path)
    steps: list[int] = []
    monkeypatch.setattr(engine, "group_step", lambda group, *rest: (steps.append(group.step), true_step(group, *rest)))
    again = trained(study, members, settings, tmp_path)
    assert steps == [4, 5, 6, 7, 8]
    for ours, expected in zip(again, whole, strict=True):
        assert (ours.row, ours.log) == (expected.row, expected.log)
        for one, other in ((ours.model, expected.model), (ours.best, expected.best)):
            assert all(torch.equal(value, adapter_of(other)[name]) for name, value in adapter_of(one).items())
    trained(study, members, settings, tmp_path)
    assert len(steps) == 5, "a group killed after its last step has none left"


def test_a_sweep_killed_after_a_member_diverged_continues(study: Path, tmp_path: Path, monkeypatch) -> None:
    """The rest trains again as a group of its own, whose state is not mistaken for that of the whole group."""
    settings = SweepSettings(max_step=9, train_batch_size=5, save_interval=2)
    true_step = engine.group_step
    steps: list[tuple[int, int]] = []

    def step(group: Group, *arguments: Any) -> None:
        if killed and (group.step, len(group.members)) == (7, 2):
            raise KeyboardInterrupt
        steps.append((len(group.members), group.step))
        true_step(group, *arguments)

    broken_at(4, 3, monkeypatch)
    whole = trained(study, MEMBERS[:3], settings)
    monkeypatch.setattr(engine, "group_step", step)
    killed = True
    with pytest.raises(KeyboardInterrupt):
        trained(study, MEMBERS[:3], settings, tmp_path)
    killed = False
    steps.clear()
    again = trained(study, MEMBERS[:3], settings, tmp_path)
    assert [member.row for member in again] == [member.row for member in whole]
    assert [member.row["diverged"] for member in again] == [False, True, False]
    assert steps == [(3, 4), (2, 6), (2, 7), (2, 8)], "both continue from their last snapshot"


def test_a_group_must_be_alike(study: Path) -> None:
    for other in (replace(MEMBERS[1], targets="o"), replace(MEMBERS[1], targets="q"), replace(MEMBERS[1], dropout=0.1)):
        with pytest.raises(InputError, match="adapters trained together must"):
            trained(study, [MEMBERS[0], other], SweepSettings(max_step=1))


def test_update_size_is_the_frobenius_norm(study: Path) -> None:
    (found,) = trained(study, MEMBERS[3:], SweepSettings(max_step=3, train_batch_size=5))
    norms, relative = [], []
    assert found.model is not None
    for i in range(2):
        layer = found.model.get_submodule(f"transformer.h.{i}.attn.c_attn")
        assert isinstance(layer, FusedLinear)
        for rows in (slice(0, 48), slice(96, 144)):
            norms.append(layer.delta_weight()[rows].norm().item())
            relative.append(norms[-1] / float(layer.weight[rows].norm()))
    assert found.row["update_norm"] == pytest.approx(sum(norms) / 4, rel=1e-4)
    assert found.row["relative_update"] == pytest.approx(sum(relative) / 4, rel=1e-4) and norms[0] > 0
