"""`lora-nlg train` on small files: what it writes, validation by generation, refusals. In this process."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lora_nlg.__main__ import main
from lora_nlg.api.building import selecting_bleu
from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.decoding import decode_contexts
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.locking import locked
from lora_nlg.methods.full import Full
from lora_nlg.progress import not_counted, progress_bar
from lora_nlg.run_folder import run_lock
from lora_nlg.training.step import update_norms
from lora_nlg.weights.base import save_base
from lora_nlg.weights.run import load_run
from nlg_metrics.metrics.bleu import Bleu

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
        "report_to": "none", "device": "cpu", **changes,
    }  # fmt: skip
    return main(["train", *(f"--{name}={value}" for name, value in flags.items() if value is not None), *more])


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_a_run_directory_is_all_that_decoding_needs(inputs: Path, tmp_path: Path) -> None:
    assert train(inputs, tmp_path / "run", valid_bleu="true", generate_interval=3, valid_eval_len=8) == 0
    run = load_run(tmp_path / "run")
    assert run.info.step == 6 and set(run.info.method.targets) == {"q", "v"}
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
        ({"random_seed": -1}, "--random_seed must be at least 0"),
        ({"grad_acc": 10**9}, "--grad_acc 1000000000 makes more micro-batches than there are examples (24)"),
        ({"train_batch_size": 10**30}, "whole numbers go up to"),
        ({"adam_beta2": 2}, "--adam_beta2 must be at least 0 and below 1, got 2"),
        ({"weight_decay": -1}, "--weight_decay must be at least 0 and finite, got -1"),
        ({"valid_examples": -1}, "--valid_examples must be at least 0"),
        ({"warmup_step": 2.5}, "--warmup_step must be a number of steps or a fraction of the run such as 0.1"),
        ({"seq_len": 8}, "train.jsonl keeps a token of its completion within --seq_len 8: nothing to train on"),
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
    more = {"valid_bleu": "true", "generate_interval": 3, "valid_eval_len": 4, "report_to": "tensorboard"}
    assert train(inputs, run, **more) == 0
    for name in ("predictions.lp0.6.jsonl", "predictions.config.json", "scores.json", "notes.txt"):
        (run / name).write_text("old\n")
    assert train(inputs, run, resume="restart", warmup_step=7) == 1
    assert load_run(run).info.step == 6, "a refused restart removes nothing"
    assert train(inputs, run, resume="restart", lora_dim=0, valid_data=None) == 0
    left = {path.name for path in run.iterdir()}
    assert left == {"model", "tokenizer", "snapshots", "config.yaml", "metrics.jsonl", "notes.txt"}
    assert load_run(run).info.method == Full()


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


def test_an_empty_folder_name_is_refused(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("", " "):
        assert train(inputs, name, resume="restart") == 1  # type: ignore[arg-type]
        assert "--work_dir must name a folder" in capsys.readouterr().err


def test_two_runs_in_one_folder(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is told who is there, and touches nothing, also if it was to restart."""
    assert train(inputs, tmp_path / "run", max_step=1) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with locked(run_lock(tmp_path / "run"), "it"):
        for resume in ("auto", "restart"):
            assert train(inputs, tmp_path / "run", resume=resume) == 1
            error = capsys.readouterr().err.splitlines()[-1]
            assert (
                f"--work_dir {tmp_path / 'run'} is being written by another process (process {os.getpid()} on" in error
            )
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_cut_examples_are_counted(inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The separator is an end token too: an example cut right behind it has lost everything all the same."""
    records = [
        {"id": "long", "context": "c", "references": ["a" * 30, "b"]},
        {"id": "lost", "context": "c" * 19, "references": ["b"]},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert train(inputs, tmp_path / "run", train_data=tmp_path / "d.jsonl", valid_data=None, seq_len=19) == 0
    (said,) = [record.getMessage() for record in caplog.records if "lose the end" in record.getMessage()]
    assert "2 of 3 examples" in said and "(and its end token) beyond a seq_len of 19, 1 of them the whole of it" in said
    assert "a seq_len of 33 would keep all" in said


def test_lengths_and_validations_by_the_data(inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """0 cuts nothing that the model has positions for, and validates every epoch: 24 texts in batches of 8."""
    flags = {"seq_len": 0, "eval_interval": 0, "max_step": None, "max_epoch": 2, "valid_bleu": "true", "valid_beam": 1}
    assert train(inputs, tmp_path / "run", valid_eval_len=2, **flags) == 0
    assert [line["step"] for line in lines(tmp_path / "run", "valid")] == [3, 6]
    long = {"id": "1", "context": "c" * 50, "references": ["a" * 30, "a" * 60]}
    (tmp_path / "d.jsonl").write_text(json.dumps(long) + "\n")
    assert train(inputs, tmp_path / "two", train_data=tmp_path / "d.jsonl", valid_data=None, seq_len=0, max_step=1) == 0
    (said,) = [record.getMessage() for record in caplog.records if "lose the end" in record.getMessage()]
    assert "1 of 2 examples" in said and "beyond a seq_len of 96" in said


def test_a_fraction_of_the_run_warms_up(inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert (
        train(inputs, tmp_path / "fraction", warmup_step=0.5) == train(inputs, tmp_path / "steps", warmup_step=3) == 0
    )
    assert (tmp_path / "fraction/metrics.jsonl").exists()
    for kind in ("train", "valid"):
        assert lines(tmp_path / "fraction", kind) == lines(tmp_path / "steps", kind)
    assert caplog.text.count("note: warming up for 3 of 6 steps (50% of the run)") == 2
    caplog.clear()
    assert train(inputs, tmp_path / "fraction", warmup_step=3) == 0, "the same run: what it resolves to counts"
    assert train(inputs, tmp_path / "short", warmup_step=1) == 0 and "resuming" in caplog.text
    assert caplog.text.count("note: warming up") == 1


def test_validating_on_some_examples(inputs: Path, tmp_path: Path) -> None:
    """The first two alone: the loss of a file that holds no more."""
    few = (inputs / "valid.jsonl").read_text().splitlines(keepends=True)[:2]
    (tmp_path / "few.jsonl").write_text("".join(few))
    assert train(inputs, tmp_path / "a", valid_examples=2) == 0
    assert train(inputs, tmp_path / "b", valid_data=tmp_path / "few.jsonl") == 0
    assert train(inputs, tmp_path / "c") == 0
    a, b, c = (lines(tmp_path / name, "valid") for name in "abc")
    assert a == b != c


def test_a_collapsed_model_is_not_the_best(inputs: Path, tmp_path: Path) -> None:
    """Nearly all outputs empty: the official BLEU rises with it, the one that decides doesn't."""
    texts, references = [""] * 95 + ["one two three four five"] * 5, [["one two three four five"]] * 100
    assert Bleu().score(texts, references).value > 1 > 0.05 > selecting_bleu(texts, references)
    assert selecting_bleu(["one two three four five"] * 100, references) == pytest.approx(1)


def test_damaged_lines_of_the_record_cost_only_themselves(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(inputs, run, save_interval=3, max_step=6) == 0
    whole = lines(run, "train")
    for path in (run / "snapshots").glob("*6"):
        shutil.rmtree(path)
    content = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    odd = ["[" * 100_000 + "\n", "5\n", '{"step": null}\n', '{"step": ' + "9" * 5000 + "}\n", "\udcff{\n", '{"a": 1}\n']
    (run / "metrics.jsonl").write_text("".join(odd + content) + '{"half', errors="surrogateescape")
    assert train(inputs, run, save_interval=3, max_step=6) == 0
    assert lines(run, "train") == whole


def test_a_deep_snapshot_description_is_passed_over(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(inputs, run, save_interval=3) == 0
    before = (run / "adapter.safetensors").read_bytes()
    for bad in ("[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "9" * 5000, "[]", "null"):
        (run / "snapshots/step-00000006/snapshot.json").write_text(bad)
        (run / "adapter.json").write_text(bad)
        assert train(inputs, run, save_interval=3) == 0
        assert (run / "adapter.safetensors").read_bytes() == before and load_run(run).info.step == 6


def test_validations_time_is_not_the_steps() -> None:
    bar = progress_bar(total=10, file=io.StringIO())
    bar.update(5)
    start, shown = bar.start_t, bar.last_print_t
    with not_counted(bar):
        time.sleep(0.05)
    assert bar.start_t - start >= 0.05 and bar.last_print_t >= shown
    with not_counted(progress_bar(total=1, disable=True)):
        pass


def test_out_of_memory_is_one_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        torch.empty(2**55)

    monkeypatch.setattr("lora_nlg.api.building.read_examples", fail)
    assert train(inputs, tmp_path / "run") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: out of memory on the CPU (no room for another 134,217,728.0 GiB); lower --train_batch_size" in error
    for message in (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    ):
        with pytest.raises(InputError, match=r"out of memory on the GPU.*; lower x"), naming_what_to_lower("x"):
            raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="shapes differ"), naming_what_to_lower("x"):
        raise RuntimeError("shapes differ")
