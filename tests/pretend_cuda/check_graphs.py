"""Training steps as CUDA graphs on the pretend device: the numbers of the same operations launched one by one."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest
import torch
from tests.lora_nlg.training.conftest import CONFIG, Run, random_examples, run_trainer, tiny_model

from lora_nlg.batching import FilledBatch
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, empty_gpt2
from lora_nlg.lora import frozen_projections, lora_state_dict, strip
from lora_nlg.methods import Method, prepare
from lora_nlg.methods.adapter_h import AdapterH
from lora_nlg.methods.adapter_l import AdapterL
from lora_nlg.methods.prefix import PrefixTuning
from lora_nlg.methods.prompt import PromptTuning
from lora_nlg.sweep import Member, SweepSettings, train_group
from lora_nlg.training import prepare_precision
from lora_nlg.training.graphs import GraphedCalls
from pretend_cuda import counts, reset, summary

CUDA = torch.device("cuda", 0)
KERNELS = 200
"""Kernels that what is recorded of a step of two layers runs at most, be it of one run or of three."""
VARIANTS = {
    "lora": {},
    "dora": {"variant": "dora"},
    "pissa": {"variant": "pissa"},
    "freeze_a": {},
    "whole model": {},
}


def adapted(variant: str, dropout: float) -> GPT2:
    model = tiny_model(dropout=dropout, **VARIANTS[variant])
    if variant == "freeze_a":
        for name in frozen_projections(model):
            model.get_parameter(name).requires_grad_(False)
    if variant == "whole model":
        model.requires_grad_(True)
    return model


def run(folder: Path, model: GPT2, mode: str, device: torch.device = CUDA, **settings: object) -> Run:
    examples = random_examples(44)
    prepare_precision(model, str(settings.get("dtype", "fp32")))
    values = {"max_step": 20, "label_smooth": 0.1, "log_interval": 5, "eval_interval": 10, "valid": examples[:9]}
    return run_trainer(
        folder, model.to(device), examples, world=World(device=device), cuda_graph=mode, **{**values, **settings}
    )


def validation(run: Run) -> list[float]:
    return [line["loss"] for line in run.lines if line["kind"] == "valid"]


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [*itertools.product(VARIANTS, ("fp32", "bf16")), ("lora", "fp16"), ("whole model", "fp16")],
)
def test_a_graph_computes_what_its_operations_do(variant: str, dtype: str, tmp_path: Path) -> None:
    runs = [
        run(tmp_path / mode, adapted(variant, 0.2), mode, dtype=dtype, grad_acc=2, grad_clip=1.0, lora_plus_ratio=4.0)
        for mode in ("true", "false")
    ]
    assert runs[0].losses == runs[1].losses and validation(runs[0]) == validation(runs[1])
    for name, value in runs[0].adapter.items():
        assert torch.equal(value, runs[1].adapter[name])
    assert len(set(runs[0].losses)) == 20


@pytest.mark.parametrize(
    "method",
    [PrefixTuning(3, "mlp", 8), PrefixTuning(3, "hidden"), PromptTuning(4), AdapterH(3), AdapterL(3)],
    ids=lambda method: f"{method.name}-{getattr(method, 'prefix_form', '')}",
)
def test_what_a_method_puts_in_is_recorded_with_the_rest(method: Method, tmp_path: Path) -> None:
    runs = []
    for mode, device, dtype in (("true", CUDA, "bf16"), ("false", CUDA, "bf16"), ("", torch.device("cpu"), "fp32")):
        model = strip(tiny_model())
        prepare(model, method, seed=1)
        runs.append(run(tmp_path / (mode or "cpu"), model, mode, device, dtype=dtype, max_step=6))
    assert runs[0].losses == runs[1].losses and validation(runs[0]) == validation(runs[1])
    assert runs[0].losses == pytest.approx(runs[2].losses, rel=2e-2)


def test_it_is_what_the_cpu_computes(tmp_path: Path) -> None:
    there = run(tmp_path / "cuda", adapted("lora", 0.0), "true")
    here = run(tmp_path / "cpu", adapted("lora", 0.0), "", torch.device("cpu"))
    assert there.losses == pytest.approx(here.losses, abs=1e-6)
    assert validation(there) == pytest.approx(validation(here), abs=1e-6)


def test_a_run_resumed_continues_bit_for_bit(tmp_path: Path) -> None:
    """What was recorded before the snapshot is launched one by one after it: the first batch of each shape."""
    whole = run(tmp_path / "whole", adapted("lora", 0.2), "true")
    folder = tmp_path / "parts"
    run(folder, adapted("lora", 0.2), "true", max_step=20, save_interval=7, keep_last=9)
    for late in (folder / "snapshots").glob("step-*"):
        if int(late.name.partition("-")[2]) > 7:
            for file in sorted(late.rglob("*")):
                file.unlink()
            late.rmdir()
    rest = run(folder, adapted("lora", 0.2), "true", resume=True)
    assert rest.losses[-13:] == whole.losses[-13:]
    for name, value in whole.adapter.items():
        assert torch.equal(value, rest.adapter[name])


def test_what_cannot_be_recorded_is_launched_with_one_line_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    done: list[FilledBatch] = []

    def work(batch: FilledBatch) -> None:
        done.append(batch)
        batch.buffer.sum().item()

    from lora_nlg.batching import fill_up, make_batch

    batch = fill_up([make_batch(random_examples(2))], [1]).pin_memory()
    calls = GraphedCalls(work, CUDA)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            calls(batch)
    assert not calls.graphs and len([line for line in caplog.messages if "no CUDA graph" in line]) == 1
    required = GraphedCalls(work, CUDA, "true")
    required(batch)
    with pytest.raises(InputError, match="no CUDA graph"):
        required(batch)
    with pytest.raises(InputError, match="gradient checkpointing"):
        model = adapted("lora", 0.0)
        model.transformer.gradient_checkpointing = True
        run(Path("unused"), model, "true")


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_members_of_a_sweep_share_a_graph(dropout: float) -> None:
    torch.manual_seed(0)
    base = empty_gpt2(CONFIG)
    base.reset_parameters()
    base.requires_grad_(False)
    members = [
        Member(r, alpha, rule, lr, seed, dropout=dropout)
        for r, alpha, rule, lr, seed in (
            (2, 4.0, "alpha/r", 1e-2, 1),
            (4, 4.0, "rslora", 3e-3, 2),
            (4, 8.0, "none", 1e-2, 2),
        )
    ]
    data = random_examples(40), random_examples(9, seed=3)

    def trained(device: torch.device, mode: str) -> tuple[list[dict], list[dict]]:
        settings = SweepSettings(max_step=12, train_batch_size=5, cuda_graph=mode)
        found = train_group(base.to(device), members, *data, settings)
        adapters = [lora_state_dict(member.model) for member in found if member.model is not None]
        states = [{name: value.cpu() for name, value in adapter.items()} for adapter in adapters]
        return [member.row for member in found], states

    graph, eager = trained(CUDA, "true"), trained(CUDA, "false")
    assert graph[0] == eager[0]
    if not dropout:  # drawn for more rows than there are, so not the CPU's
        here = trained(torch.device("cpu"), "auto")
        for ours, expected in zip(graph[1], here[1], strict=True):
            for name, value in expected.items():
                torch.testing.assert_close(ours[name], value, atol=2e-6, rtol=0)


def test_a_replayed_step_neither_waits_nor_launches_its_kernels(tmp_path: Path) -> None:
    from lora_nlg.batching import Loader, Sampler
    from lora_nlg.training import FilledStep, OptimisationSettings, TrainingState

    model = adapted("lora", 0.2).to(CUDA).train()
    settings = OptimisationSettings()
    step = FilledStep(model, TrainingState(model, settings), settings, World(device=CUDA), "true")
    examples = random_examples(16)
    data = Loader(examples, Sampler([example.n_inputs for example in examples], 8, 0), fill=True).prepare(1)
    for _ in range(3):
        step(data, 1e-3)
    reset()
    step(data, 1e-3)
    seen = summary()
    assert not seen.syncs and not seen.waits, counts()
    assert seen.launches < 25 and seen.copies == 1 and seen.nodes > 100, seen


def test_one_run_and_three_in_one_step_run_few_kernels(tmp_path: Path) -> None:
    from lora_nlg.batching import Loader, Sampler, make_batch
    from lora_nlg.sweep.engine import graphed_gradient, group_step
    from lora_nlg.sweep.group import make_group
    from lora_nlg.training import FilledStep, OptimisationSettings, TargetLoss, TrainingState

    examples = random_examples(16)
    model = adapted("lora", 0.2).to(CUDA).train()
    settings = OptimisationSettings()
    step = FilledStep(model, TrainingState(model, settings), settings, World(device=CUDA), "true")
    data = Loader(examples, Sampler([example.n_inputs for example in examples], 8, 0), fill=True).prepare(1)
    base = empty_gpt2(CONFIG)
    base.reset_parameters()
    members = [Member(2, 4.0, "alpha/r", 1e-3, seed, dropout=0.2) for seed in range(3)]
    group = make_group(base.requires_grad_(False).to(CUDA), members, SweepSettings(max_step=9))
    rates, loss = torch.full((3, 1), 1e-3, device=CUDA), TargetLoss()
    graphed = graphed_gradient(group, loss)
    batch = make_batch(examples[:8])
    kernels = []
    for take in (lambda: step(data, 1e-3), lambda: group_step(group, [batch] * 3, rates, loss, graphed)):
        for _ in range(3):
            take()
        reset()
        take()
        assert not summary().syncs, counts()
        kernels.append(summary().nodes)
    assert max(kernels) <= KERNELS, kernels
