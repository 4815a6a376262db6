"""Each member of a batched sweep ends where training it alone ends: the trainer's own run, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.batching import make_examples
from lora_nlg.corpora.record import read_records
from lora_nlg.errors import InputError
from lora_nlg.lora import FusedLinear, LoRASpec, fold
from lora_nlg.lora.batched import BatchedLinear, Rows
from lora_nlg.sweep import Member, SweepSettings, engine, train_group
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights import load_base, read_adapter
from lora_nlg.weights.merged import probe_logits

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


def train_member(study: Path, out: Path, member: Member, *flags: str) -> tuple[dict, float]:
    """`lora-nlg train` of one member: its adapter and its final validation loss."""
    status = main(
        ["train", "--train_data", str(study / "train.jsonl"), "--valid_data", str(study / "valid.jsonl"),
         "--init_checkpoint", str(study / "base"), "--work_dir", str(out), "--seq_len", "60", "--max_step", "12",
         "--train_batch_size", "5", "--scheduler", "linear", "--warmup_step", "2", "--lr", str(member.lr),
         "--lora_dim", str(member.r), "--lora_alpha", str(member.alpha), "--lora_scaling", member.rule,
         "--random_seed", str(member.seed), "--weight_decay", "0.01", "--device", "cpu", "--report_to", "none",
         *flags]
    )  # fmt: skip
    assert status == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "ppl" in row]
    return read_adapter(out)[1], losses[-1]


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        ([], {}),
        (["--lora_dropout", "0.2", "--label_smooth", "0.1"], {"lora_dropout": 0.2, "label_smooth": 0.1}),
        (["--lora_targets", "k,fc,proj", "--grad_clip", "0.5"], {"lora_targets": "k,fc,proj", "grad_clip": 0.5}),
    ],
    ids=["plain", "dropout", "targets"],
)
def test_each_member_equals_training_it_train_member(study: Path, tmp_path: Path, flags: list, values: dict) -> None:
    """Adapters and validation losses within 1e-5 after 12 steps: different ranks, rules, rates, seeds in one batch."""
    settings = SweepSettings(**{"max_step": 12, "train_batch_size": 5, "warmup_step": 2, **values})
    base = load_base(study / "base")
    base.requires_grad_(False)
    results, models = train_group(base, MEMBERS, *examples(study), settings)
    for number, (member, result, model) in enumerate(zip(MEMBERS, results, models, strict=True)):
        adapter, loss = train_member(study, tmp_path / str(number), member, *flags)
        assert abs(result["valid_loss"] - loss) < 1e-5
        ours = {name: value for name, value in model.state_dict().items() if "lora_" in name}
        assert ours.keys() == adapter.keys()
        for name, value in adapter.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5)
        assert not result["diverged"] and result["steps"] == 12
    losses = [result["valid_loss"] for result in results]
    assert len({round(loss, 5) for loss in losses}) == len(MEMBERS), "members that can't be told apart test nothing"


def test_the_batched_layer_is_n_layers() -> None:
    """Outputs and gradients of three adapters of unequal rank on unequal numbers of rows, against three layers."""
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


def test_a_member_that_diverges_leaves_the_others_train_member(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the second member's loss made infinite at step 3, the others' results are those of a group without it."""
    settings = SweepSettings(max_step=6, train_batch_size=5)
    base = load_base(study / "base")
    base.requires_grad_(False)
    train, valid = examples(study)
    expected, _ = train_group(base, [MEMBERS[0], MEMBERS[2]], train, valid, settings)
    true_losses = engine._member_losses

    def broken(group: engine.Group, *arguments: object) -> torch.Tensor:
        losses = true_losses(group, *arguments)  # type: ignore[arg-type]
        return losses * torch.tensor([1, torch.inf, 1]) if group.step == 2 and len(losses) == 3 else losses

    monkeypatch.setattr(engine, "_member_losses", broken)
    results, models = train_group(base, MEMBERS[:3], train, valid, settings)
    assert [result["diverged"] for result in results] == [False, True, False]
    assert results[1]["steps"] == 3 and "valid_loss" not in results[1]
    assert [results[0], results[2]] == expected and len(models) == 3


def test_an_interrupted_group_continues_bit_for_bit(study: Path, tmp_path: Path, monkeypatch) -> None:
    settings = SweepSettings(max_step=9, train_batch_size=5, lora_dropout=0.1, save_interval=2)
    base = load_base(study / "base")
    base.requires_grad_(False)
    data = examples(study)
    whole, models = train_group(base, MEMBERS[:2], *data, settings)
    true_step = engine.group_step

    def interrupt(group: engine.Group, *arguments: object) -> None:
        if group.step == 5:
            raise KeyboardInterrupt
        true_step(group, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "group_step", interrupt)
        train_group(base, MEMBERS[:2], *data, settings, tmp_path)
    steps = []
    monkeypatch.setattr(engine, "group_step", lambda group, *rest: (steps.append(group.step), true_step(group, *rest)))
    again, continued = train_group(base, MEMBERS[:2], *data, settings, tmp_path)
    assert steps == [4, 5, 6, 7, 8] and again == whole
    assert torch.equal(probe_logits(fold(continued[1])), probe_logits(fold(models[1])))


def test_a_sweep_killed_after_a_member_diverged_continues(study: Path, tmp_path: Path, monkeypatch) -> None:
    """The rest trains again as a group of its own, whose state is not mistaken for that of the whole group."""
    settings = SweepSettings(max_step=9, train_batch_size=5, save_interval=2)
    base = load_base(study / "base")
    base.requires_grad_(False)
    data = examples(study)
    true_losses, true_step = engine._member_losses, engine.group_step
    steps: list[tuple[int, int]] = []

    def broken(group: engine.Group, *arguments: object) -> torch.Tensor:
        losses = true_losses(group, *arguments)  # type: ignore[arg-type]
        return losses * torch.tensor([1, torch.inf, 1]) if group.step == 4 and len(losses) == 3 else losses

    def step(group: engine.Group, *arguments: object) -> None:
        if killed and (group.step, len(group.members)) == (7, 2):
            raise KeyboardInterrupt
        steps.append((len(group.members), group.step))
        true_step(group, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_member_losses", broken)
    whole, _ = train_group(base, MEMBERS[:3], *data, settings)
    monkeypatch.setattr(engine, "group_step", step)
    killed = True
    with pytest.raises(KeyboardInterrupt):
        train_group(base, MEMBERS[:3], *data, settings, tmp_path)
    killed = False
    steps.clear()
    again, _ = train_group(base, MEMBERS[:3], *data, settings, tmp_path)
    assert again == whole and [result["diverged"] for result in again] == [False, True, False]
    assert steps == [(3, 4), (2, 6), (2, 7), (2, 8)], "both continue from their last snapshot"


def test_update_size_is_the_frobenius_norm(study: Path) -> None:
    settings = SweepSettings(max_step=3, train_batch_size=5)
    base = load_base(study / "base")
    base.requires_grad_(False)
    results, models = train_group(base, MEMBERS[3:], *examples(study), settings)
    norms, relative = [], []
    for i in range(2):
        layer = models[0].get_submodule(f"transformer.h.{i}.attn.c_attn")
        for rows in (slice(0, 48), slice(96, 144)):
            norms.append(layer.delta_weight()[rows].norm().item())
            relative.append(norms[-1] / float(layer.weight[rows].norm()))
    assert results[0]["update_norm"] == pytest.approx(sum(norms) / 4, rel=1e-4)
    assert results[0]["relative_update"] == pytest.approx(sum(relative) / 4, rel=1e-4) and norms[0] > 0
    with pytest.raises(InputError, match="leave wte out"):
        train_group(base, MEMBERS[:1], *examples(study), SweepSettings(lora_targets="q,wte"))
