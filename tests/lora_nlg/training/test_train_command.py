"""`lora-nlg train` on small files: what it writes, validation by generation, refusals. In this process."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lora_nlg.__main__ import main
from lora_nlg.decoding import decode_contexts
from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.training.step import update_norms
from lora_nlg.weights.base import save_base
from lora_nlg.weights.run import load_run

from .conftest import tiny_model


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base with a byte vocabulary, and records."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=257, n_positions=96))
    model.reset_parameters()
    save_base(model, folder / "base")
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in kept] + [chr(256 + i) for i in range(256 - len(kept))]
    vocabulary = {character: i for i, character in enumerate(characters)} | {"<|endoftext|>": 256}
    (folder / "base/encoder.json").write_text(json.dumps(vocabulary))
    (folder / "base/vocab.bpe").write_text("#version: 0.2\n")
    generator = random.Random(0)
    for name, count in (("train", 24), ("valid", 5)):
        lines = []
        for i in range(count):
            food = generator.choice(["thai", "french", "pub"])
            lines.append(
                json.dumps({"id": str(i), "context": f"food : {food}", "references": [f"It is {food}."]}) + "\n"
            )
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def train(inputs: Path, work_dir: Path, *more: str, **changes: Any) -> int:
    flags: dict[str, Any] = {
        "train_data": inputs / "train.jsonl", "valid_data": inputs / "valid.jsonl", "init_checkpoint": inputs / "base",
        "seq_len": 64, "max_step": 6, "warmup_step": 1, "lr": 1e-2, "log_interval": 2, "work_dir": work_dir,
        "tensorboard": "false", "device": "cpu", **changes,
    }  # fmt: skip
    return main(["train", *(f"--{name}={value}" for name, value in flags.items() if value is not None), *more])


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_a_run_directory_is_all_that_decoding_needs(inputs: Path, tmp_path: Path) -> None:
    assert train(inputs, tmp_path / "run", valid_bleu="true", generate_interval=3, valid_eval_len=8) == 0
    run = load_run(tmp_path / "run")
    assert run.info.step == 6 and set(run.info.targets) == {"q", "v"}
    generated = lines(tmp_path / "run", "generation")
    assert [line["step"] for line in generated if "bleu" in line] == [3, 6]
    from lora_nlg.decoding import BeamSettings

    texts = [line for line in generated if line["step"] == 6 and "text" in line]
    contexts = [line["name"] for line in texts]
    beam = BeamSettings(beam=4, eval_len=8)
    said = decode_contexts(run.model, run.tokenizer, contexts, beam, seq_len=64)
    assert [hypothesis.text for hypothesis in said] == [line["text"] for line in texts], "the adapter saved last"
    assert load_run(tmp_path / "run/best").info.step in (3, 6)
    bleu = {line["step"]: line["bleu"] for line in generated if "bleu" in line}
    assert load_run(tmp_path / "run/best_bleu").info.step == max(bleu, key=lambda step: (bleu[step], -step))
    assert lines(tmp_path / "run", "update")[0].keys() >= {"transformer.h.0.attn.c_attn"}


def test_config_replays_the_run(inputs: Path, tmp_path: Path) -> None:
    assert train(inputs, tmp_path / "run", lora_dropout=0.1) == 0
    resolved = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert resolved["lora_dropout"] == 0.1 and resolved["scheduler"] == "linear"
    assert main(["train", "--config", str(tmp_path / "run/config.yaml"), "--work_dir", str(tmp_path / "again")]) == 0
    assert (tmp_path / "run/adapter.safetensors").read_bytes() == (tmp_path / "again/adapter.safetensors").read_bytes()


def test_packed_weights_change_only_the_time(inputs: Path, tmp_path: Path) -> None:
    for name in ("true", "false"):
        assert train(inputs, tmp_path / name, pack_weights=name) == 0
    curves = [[line["loss"] for line in lines(tmp_path / name, "train")] for name in ("true", "false")]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_gradient_checkpointing_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    for name in ("true", "false"):
        assert train(inputs, tmp_path / name, gradient_checkpointing=name, lora_dropout=0.3) == 0
    files = [load_file(tmp_path / name / "adapter.safetensors") for name in ("true", "false")]
    for key, value in files[0].items():
        torch.testing.assert_close(value, files[1][key], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_biases_train_in_half_precision(dtype: str, inputs: Path, tmp_path: Path) -> None:
    for name in ("fp32", dtype):
        assert train(inputs, tmp_path / name, lora_bias="all", dtype=name) == 0
    exact, half = ([line["loss"] for line in lines(tmp_path / name, "train")] for name in ("fp32", dtype))
    assert half == pytest.approx(exact, rel=2e-2) and half != exact
    tensors = load_file(tmp_path / dtype / "adapter.safetensors")
    assert tensors["transformer.ln_f.bias"].abs().max() > 1e-3, "trained"


def test_training_the_whole_model_from_nothing(inputs: Path, tmp_path: Path) -> None:
    more = {"lora_dim": 0, "init": "random", "init_checkpoint": None, "tokenizer": inputs / "base", "obj": "jlm"}
    sizes = {"model_card": "gpt2.nano", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 64}
    assert train(inputs, tmp_path / "run", **more, **sizes, max_step=10) == 0
    losses = [line["loss"] for line in lines(tmp_path / "run", "train")]
    assert losses[-1] < losses[0] - 0.3
    # Its model/ is a base to adapt, vocabulary included.
    assert train(inputs, tmp_path / "adapted", init_checkpoint=tmp_path / "run/model") == 0
    start = lines(tmp_path / "adapted", "train")[0]["loss"]
    assert start < losses[0] - 0.3


def test_the_points_of_a_cycle_end_the_run(inputs: Path, tmp_path: Path) -> None:
    flags = {"scheduler": "cycle", "i_steps": "0,2,4", "i_lrs": "0,1e-3,0", "warmup_step": 500}
    for name, max_step in (("points", None), ("flag", 3)):
        assert train(inputs, tmp_path / name, **flags, max_step=max_step) == 0
    rates = [[line["lr"] for line in lines(tmp_path / name, "train")] for name in ("points", "flag")]
    assert rates[0] == pytest.approx([0, 5e-4, 1e-3, 5e-4]) and rates[1] == rates[0][:3]


def test_the_recipe_diff_is_printed_by_one_rank(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert train(inputs, tmp_path, print_recipe_diff="e2e") == 0
        assert bool(capsys.readouterr().out) == (rank == "0")


def test_only_the_adapter_trains(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(inputs, tmp_path / "run") == 0
    tensors = load_file(tmp_path / "run/adapter.safetensors")
    assert sum(value.numel() for value in tensors.values()) == 2 * (8 * 32 + 64 * 4)
    assert all("lora_" in name for name in tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_data": "nothing.jsonl"}, "--train_data: no file nothing.jsonl; make it with `lora-nlg prepare`"),
        ({"valid_data": "nothing.jsonl", "init_checkpoint": "nowhere"}, "--valid_data: no file nothing.jsonl"),
        ({"train_data": "tests"}, "--train_data: tests is a folder; give a .jsonl file in it"),
        ({"tokenizer": "nowhere", "init_checkpoint": "nowhere"}, "no base weights at nowhere; download GPT-2 with "),
        ({"init_checkpoint": "nowhere"}, "scripts/download_gpt2.sh sm|md|lg|xl, or check the path"),
        ({"seq_len": 97}, "--seq_len 97 is more than the model's 96 positions; use --seq_len 96 or less"),
        ({"model_card": "gpt2.sm"}, "but the model asked for is 12 layers"),
        ({"model_card": "gpt2.sm"}, "; leave out --model_card to go by its config.json"),
        ({"lora_targets": "q,z"}, "unknown LoRA target 'z'"),
        ({"optimizer": "sgd"}, "--optimizer must be one of adamw, adamw_lora"),
        ({"correct_bias": "false"}, "needs --optimizer adamw_lora"),
        ({"warmup_step": 7}, "--warmup_step 7 must lie between 0 and the run's 6 steps; for a short run add"),
        ({"max_step": 0}, "--max_step must be at least 1, got 0"),
        ({"early_stop": 2, "valid_data": None}, "--early_stop needs validation records: --valid_data"),
        ({"dtype": "int8"}, "--dtype must be one of fp32, bf16, fp16"),
        ({"device": "tpu"}, "--device must be auto, cpu, cuda"),
        ({"best_by": "bleu"}, "--valid_bleu true"),
        ({"valid_bleu": "true", "valid_data": None}, "needs validation records"),
        ({"resume": "maybe"}, "--resume must be one of auto, restart"),
        ({"init": "random"}, "--init_checkpoint"),
        ({"label_smooth": 1.5}, "--label_smooth"),
        ({"train_batch_size": 0}, "--train_batch_size must be at least 1"),
        ({"obj": "mlm"}, "--obj must be one of clm, jlm"),
    ],
)
def test_mistakes_are_one_line(
    changes: dict[str, Any], message: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(inputs, tmp_path / "run", **changes) == 1
    shown = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in shown if "error:" in line]) == 1
    assert shown[-1].startswith("lora-nlg train: error:") and message in shown[-1]


def test_another_vocabulary_is_refused(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    small = empty_gpt2(GPT2Config(n_layer=1, n_embd=16, n_head=1, vocab_size=200, n_positions=96))
    small.reset_parameters()
    save_base(small, tmp_path / "small")
    assert train(inputs, tmp_path / "run", init_checkpoint=tmp_path / "small", tokenizer=inputs / "base") == 1
    assert "the vocabulary has 257 ids, but the base" in capsys.readouterr().err


@pytest.mark.parametrize("emptied", [False, True])
def test_a_finished_adapter_is_not_overwritten(
    emptied: bool, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(inputs, tmp_path / "run") == 0
    before = (tmp_path / "run/adapter.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "run/snapshots")
    if emptied:
        (tmp_path / "run/snapshots").mkdir()
    (tmp_path / "run/.adapter.json.x.tmp").write_text("of a run at work")
    assert train(inputs, tmp_path / "run", lr=1e-3) == 1
    assert (tmp_path / "run/.adapter.json.x.tmp").exists(), "a refusal touches nothing"
    error = capsys.readouterr().err
    assert "no snapshot to continue from; use another --work_dir (RUN= in the scripts), or --resume" in error
    assert (tmp_path / "run/adapter.safetensors").read_bytes() == before
    assert train(inputs, tmp_path / "run", lr=1e-3, resume="restart") == 0
    assert (tmp_path / "run/adapter.safetensors").read_bytes() != before


def test_restart_leaves_nothing_of_the_old_run(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = {"valid_bleu": "true", "generate_interval": 3, "valid_eval_len": 4, "tensorboard": "true"}
    assert train(inputs, run, **more) == 0
    for name in ("predictions.lp0.6.jsonl", "predictions.config.json", "scores.json", "notes.txt"):
        (run / name).write_text("old\n")
    assert train(inputs, run, resume="restart", warmup_step=7) == 1
    assert load_run(run).info.step == 6, "a refused restart removes nothing"
    assert train(inputs, run, resume="restart", lora_dim=0, valid_data=None) == 0
    left = {path.name for path in run.iterdir()}
    assert left == {"model", "tokenizer", "snapshots", "config.yaml", "metrics.jsonl", "notes.txt"}
    assert load_run(run).info.targets == {}


@pytest.mark.parametrize("lora_dim", [4, 0])
def test_a_finished_run_started_again_writes_only_what_is_missing(lora_dim: int, inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(inputs, run, lora_dim=lora_dim) == 0
    names = ["adapter.safetensors", "adapter.json"] if lora_dim else ["model/model.safetensors", "model/lora_nlg.json"]
    times = [(run / name).stat().st_mtime_ns for name in names]
    assert train(inputs, run, lora_dim=lora_dim) == 0
    assert [(run / name).stat().st_mtime_ns for name in names] == times
    for missing in names:
        content = (run / names[0]).read_bytes()
        (run / missing).unlink()
        assert train(inputs, run, lora_dim=lora_dim) == 0
        assert (run / names[0]).read_bytes() == content and load_run(run).info.step == 6


def test_a_run_killed_after_its_early_stops_snapshot_gets_its_adapter(inputs: Path, tmp_path: Path) -> None:
    run, flags = tmp_path / "run", {"lr": 3.0, "warmup_step": 0, "eval_interval": 1, "early_stop": 1, "max_step": 20}
    assert train(inputs, run, **flags) == 0
    step, content = load_run(run).info.step, (run / "adapter.safetensors").read_bytes()
    assert step < 20, "stopped early"
    (run / "adapter.safetensors").unlink()
    (run / "adapter.json").unlink()
    assert train(inputs, run, **flags) == 0
    assert load_run(run).info.step == step and (run / "adapter.safetensors").read_bytes() == content


def test_leftovers_are_removed_from_the_runs_own_folders_only(inputs: Path, tmp_path: Path) -> None:
    own = [tmp_path / name for name in (".metrics.jsonl.x.tmp", "best/.adapter.json.x.tmp")]
    own += [tmp_path / "snapshots" / name for name in (".step-00000002.tmp", ".step-00000001.old")]
    others = [tmp_path / name for name in ("other/.metrics.jsonl.x.tmp", "other/snapshots/.step-00000002.tmp")]
    for path in own + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert train(inputs, tmp_path, max_step=1) == 0
    assert not any(path.exists() for path in own) and all(path.exists() for path in others)


def test_a_replay_of_a_restarted_run_continues(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(inputs, run, resume="restart") == 0
    assert "resume" not in yaml.safe_load((run / "config.yaml").read_text())
    times = {path: path.stat().st_mtime_ns for path in (run / "snapshots").rglob("*")}
    assert main(["train", "--config", str(run / "config.yaml")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "snapshots").rglob("*")} == times


def test_update_norms_equal_the_dense_ones() -> None:
    from lora_nlg.lora import lora_layers

    model = tiny_model()
    for name, norm in update_norms(model).items():
        assert norm == pytest.approx(lora_layers(model)[name].delta_weight().norm().item(), rel=1e-5)
        assert norm > 0
