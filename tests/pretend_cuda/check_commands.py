"""The real commands on the pretend device: as on the CPU, without waiting for the device."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.commands import analyze
from lora_nlg.commands.doctor import environment
from lora_nlg.distributed import joined_world, pick_device
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, empty_gpt2, named_config
from lora_nlg.lora import LoRASpec, inject, lora_layers
from lora_nlg.lora.batched import Rows
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.base import save_base
from pretend_cuda import Summary, counts, reset, summary

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
LAYERS = 2
LAUNCHES = {"fp32": 215, "bf16": 170}
"""Kernels a step of two layers starts at most, everything counted."""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base of two layers with the sample's vocabulary."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = load_tokenizer(SAMPLE / "base")
    torch.manual_seed(0)
    model = empty_gpt2(named_config("gpt2.nano", n_layer=LAYERS, n_embd=32, n_head=2, vocab_size=tokenizer.vocab_size))
    model.reset_parameters()
    save_base(model, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture
def train(base: Path, tmp_path: Path):
    """Runs `train` and gives the losses; the folder is the run's name."""

    def run(name: str, device: str, steps: int = 5, *flags: str) -> list[float]:
        standard = ["--train_batch_size", "4", "--lr", "1e-2", "--warmup_step", "0", "--seq_len", "128"]
        standard += ["--lora_dropout", "0", "--report_to", "none", "--log_interval", "100"]
        words = ["--train_data", str(SAMPLE / "train.jsonl"), "--init_checkpoint", str(base), "--device", device]
        words += ["--work_dir", str(tmp_path / name), "--max_step", str(steps), *standard, *flags]
        assert main(["train", *words]) == 0
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines if line["kind"] == "train"]

    return run


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--lora_variant", "dora"],
        ["--lora_variant", "pissa"],
        ["--lora_dim", "0", "--lr", "1e-3"],
        ["--gradient_checkpointing", "true"],
        ["--train_batch_size", "2", "--grad_acc", "2", "--grad_clip", "0.5", "--label_smooth", "0.1"],
    ],
    ids=lambda flags: "-".join(flags) or "plain",
)
def test_losses_are_the_cpus(train, flags: Sequence[str]) -> None:
    there, here = train("cuda", "cuda", 5, *flags), train("cpu", "cpu", 5, *flags)
    assert there == pytest.approx(here, abs=2e-6)
    assert abs(there[-1] - there[0]) > 1e-3, "something was trained"


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_step_does_not_wait_for_the_device(train, dtype: str) -> None:
    of: list[Summary] = []
    for steps in (2, 6):  # what both have, loading and saving, falls out of the difference
        reset()
        flags = ["--dtype", dtype, "--lora_dropout", "0.1", "--cuda_graph", "false"]
        train("run", "cuda", steps, *flags, "--resume", "restart")
        of.append(summary())
    assert of[1].syncs == of[0].syncs, counts()
    assert (of[1].launches - of[0].launches) / 4 <= LAUNCHES[dtype], counts()


def test_texts_are_the_cpus(train, tmp_path: Path) -> None:
    train("run", "cpu", 8)
    texts = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.jsonl"
        words = ["--checkpoint", str(tmp_path / "run"), "--data", str(SAMPLE / "test.jsonl"), "--out", str(out)]
        assert main(["decode", *words, "--device", device, "--eval_len", "6", "--beam", "3"]) == 0
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        texts.append([(line["id"], line["hypothesis"]) for line in lines])
    assert texts[0] == texts[1]
    assert len({text for _, text in texts[0]}) > 1


def test_a_dial_turned_at_once_is_the_cpus(train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA the losses come from one pass over eight factors and one over the rest, recorded where shapes return."""
    train("run", "cpu", 4)
    true_turn, turned, dials = analyze.turn_together, [], []

    def turn(model: GPT2, factors: Sequence[float], measure: Callable[..., object]) -> object:
        turned.append(model.head_weight.device.type)
        return true_turn(model, factors, measure)

    monkeypatch.setattr(analyze, "turn_together", turn)
    words = ["--valid_data", str(SAMPLE / "valid.jsonl"), "--valid_examples", "12", "--valid_batch_size", "3"]
    words += ["--contexts", "2", "--beam", "2", "--eval_len", "6", "--scales", "0,0.2,0.4,0.6,0.8,1,1.5,2,3"]
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        assert main(["analyze", str(tmp_path / "run"), "--out", str(out), "--device", device, *words]) == 0
        dials.append(json.loads((out / "analysis.json").read_text())["runs"][0]["dial"])
    assert turned == ["cuda"] and len(dials[0]) == 9
    for here, there in zip(*dials, strict=True):
        assert here["loss"] == pytest.approx(there.pop("loss"), abs=1e-5)
        assert there == {"factor": here["factor"], "bleu": here["bleu"]}
    assert dials[0][0]["loss"] - dials[0][5]["loss"] > 1e-3, "something was trained"


def test_a_sweep_draws_on_its_own_device(base: Path, tmp_path: Path) -> None:
    before = torch.cuda.get_rng_state("cuda:0")
    words = ["--train_data", str(SAMPLE / "train.jsonl"), "--valid_data", str(SAMPLE / "valid.jsonl")]
    words += ["--init_checkpoint", str(base), "--work_dir", str(tmp_path / "sweep"), "--lora_dim", "2", "--lr", "1e-2"]
    words += ["--random_seed", "1,2", "--max_step", "3", "--valid_examples", "4", "--lora_dropout", "0.5"]
    assert main(["sweep", *words, "--device", "cuda:1", "--seq_len", "128"]) == 0
    rows = json.loads((tmp_path / "sweep" / "results.json").read_text())
    assert rows[0]["train_loss"] != rows[1]["train_loss"]
    assert torch.cuda.current_device() == 1
    torch.cuda.set_device(0)
    assert before.shape == torch.cuda.get_rng_state("cuda:0").shape


def test_each_adapter_has_its_dropout_on_the_models_device() -> None:
    place = torch.device("cuda:1")
    rows = Rows([torch.Generator(place) for _ in range(2)])
    rows.set([3, 3], device=place)
    rows.seed([1, 1])
    here = torch.cuda.get_rng_state("cuda:0")
    kept = rows.dropout_scale(torch.ones(6, 64, device=place), 0.5)
    assert torch.equal(kept[:3], kept[3:]), "equal seeds draw equally"
    assert 0 < float((kept == 0).float().mean()) < 1
    assert torch.equal(torch.cuda.get_rng_state("cuda:0"), here)


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_injection_into_a_model_on_the_device(variant: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 6))
        model.to(device)
        torch.manual_seed(1)
        inject(model, {"0": LoRASpec(2, 4)}, variant)
        (layer,) = lora_layers(model).values()
        found.append({name: value.cpu() for name, value in layer.state_dict().items()})
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-6), name


def test_an_old_card_and_an_odd_head_take_another_kernel(train, monkeypatch: pytest.MonkeyPatch) -> None:
    from lora_nlg.gpt2.attention import has_flash

    expected = train("new", "cuda", 2, "--dtype", "bf16")
    assert has_flash(torch.device("cuda", 0), torch.bfloat16, 64)
    assert not has_flash(torch.device("cuda", 0), torch.bfloat16, 20)
    assert not has_flash(torch.device("cuda", 0), torch.float32, 64)
    has_flash.cache_clear()
    monkeypatch.setitem(os.environ, "PRETEND_CUDA_CAPABILITY", "7.5")
    reset()
    assert train("old", "cuda", 2, "--dtype", "bf16") == pytest.approx(expected, abs=2e-2)
    assert not any("flash" in name for name in counts())
    has_flash.cache_clear()


class TestDevices:
    def test_a_number_is_refused_to_several_ranks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match="all 2 ranks on one GPU"), joined_world("cuda:0"):
            pass

    @pytest.mark.parametrize("name", ["cuda:x", "cuda:", "cuda:-1", "gpu"])
    def test_what_is_no_device_is_said(self, name: str) -> None:
        with pytest.raises(InputError, match="must be auto, cpu, cuda or cuda:N"):
            pick_device(name, local_rank=1)

    def test_a_device_becomes_the_current_one(self) -> None:
        assert pick_device("cuda", local_rank=1) == torch.device("cuda", 1)
        assert torch.cuda.current_device() == 1
        assert pick_device("cuda:0", local_rank=1) == torch.device("cuda", 0)
        assert torch.cuda.current_device() == 0
        assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        with pytest.raises(InputError, match="has 2 GPU"):
            pick_device("cuda:2")

    def test_cuda_without_a_device_is_said(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert pick_device("auto") == torch.device("cpu") and not caplog.records
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        assert pick_device("auto") == torch.device("cpu")
        assert "sees no device" in caplog.text


def test_doctor_takes_a_step_on_the_device() -> None:
    checks = {check.name: check for check in environment()}
    assert checks["LoRA step on CUDA"].status == "ok", checks["LoRA step on CUDA"]


def test_a_signal_is_noticed_two_steps_late(train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lora_nlg.training import step

    taken: list[int] = []
    take = step.seed_step

    def seed(seed: int, number: int, *rest: int) -> None:
        taken.append(number)
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        take(seed, number, *rest)

    monkeypatch.setattr(step, "seed_step", seed)
    with pytest.raises(AssertionError):  # the exit status is that of a signal
        train("run", "cuda", 50)
    assert max(taken) in (5, 6), "the step after the signal says so, and is read two steps later"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, max(taken) + 1))
    assert [place.name for place in (tmp_path / "run" / "snapshots").iterdir()] == [f"step-{max(taken):08d}"]


def test_a_loss_that_is_not_finite_ends_the_run(train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        train("run", "cuda", 50, "--lr", "1e30")
    assert "lower `lr`" in capsys.readouterr().err.replace("--lr", "`lr`")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in lines if line["kind"] == "train"]) < 6, "not at the next line of the log"
