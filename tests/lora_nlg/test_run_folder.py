"""A run's folder: its names, what a restart clears, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_nlg.commands.arguments import naming_flags
from lora_nlg.errors import InputError
from lora_nlg.run_folder import (
    SNAPSHOTS,
    best_folder,
    journal_folder,
    predictions_config,
    prepare_run_folder,
    ranked_predictions,
    snapshot_folders,
    snapshot_name,
)


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_names_beside_a_predictions_file() -> None:
    assert ranked_predictions("runs/a/predictions.jsonl", 0.6) == Path("runs/a/predictions.lp0.6.jsonl")
    assert predictions_config("predictions.lp0.6.jsonl") == Path("predictions.lp0.6.config.json")
    assert predictions_config("out.txt") == Path("out.txt.config.json")
    assert journal_folder("a/out.jsonl") == Path("a/out.jsonl.partial")
    assert [best_folder(kind, "bleu") for kind in ("loss", "bleu")] == ["best_loss", "best"]


def test_snapshots_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (500, 123_456_789, 20):
        fill(tmp_path, f"{snapshot_name(step)}/state")
    fill(tmp_path, ".step-00000900.tmp/state", "step-x/state")
    assert [path.name for path in snapshot_folders(tmp_path)] == ["step-00000020", "step-00000500", "step-123456789"]
    assert snapshot_folders(tmp_path / "absent") == []


CONFIG_TEXT = "train_data: a.jsonl\nwork_dir: run\nlora_dim: 4\n"


def describe(folder: Path, *names: str) -> None:
    """Descriptions as a run writes them."""
    for name in names:
        (folder / name).write_text('{\n  "format": "lora-nlg adapter 1"\n}\n')


def test_a_restart_removes_what_is_the_runs_and_nothing_else(tmp_path: Path) -> None:
    own = [
        "adapter.safetensors", "adapter.json", "config.yaml", "metrics.jsonl", "tb/events.out.1", "model/config.json",
        "tokenizer/vocab.json", "best/adapter.safetensors", "best_loss/adapter.json", "best_bleu/model/lora_nlg.json",
        f"{SNAPSHOTS}/{snapshot_name(5)}/state.safetensors", "predictions.jsonl", "predictions.lp0.6.config.json",
        "predictions.jsonl.partial/rank-0.jsonl", "scores.json", "scores.test.json", "report.html",
        "model/lora_nlg.json", "best/adapter.json", "best_bleu/model/model.safetensors", ".metrics.jsonl.x.tmp",
    ]  # fmt: skip
    others = ["notes.txt", "hypotheses.jsonl", "seed2/adapter.safetensors", "seed2/.x.tmp", "tokenizer/mine.txt"]
    others += ["best/notes.txt", ".mine.tmp", "model/.mine.tmp"]
    fill(tmp_path, *own, *others)
    (tmp_path / "config.yaml").write_text(CONFIG_TEXT)
    said = prepare_run_folder(tmp_path, restart=True)
    assert files(tmp_path) == set(others)
    assert "removed the old run's adapter.json, adapter.safetensors, best, best_bleu, " in said[0]
    assert said[1] == "restart: left alone what else is in best, model, tokenizer: no run wrote it"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["best", "model", "seed2", "tokenizer"]


@pytest.mark.parametrize("record", ["config.yaml", "model/config.json", "snapshots/step-00000005/snapshot.json", ""])
def test_a_restart_where_no_run_was_removes_nothing(record: str, tmp_path: Path) -> None:
    """A folder of models with names like a run's, and records that are somebody else's."""
    fill(tmp_path, "model/model.safetensors", "best/adapter.json", "tokenizer/vocab.json", "adapter.safetensors")
    if record:
        fill(tmp_path, record)
        (tmp_path / record).write_text('format: x\nmodel: "gpt2"\n{"format": "pt"}')
    before = files(tmp_path)
    for restart in (True, False):
        with pytest.raises(InputError, match=r"no record of a run .* left alone"):
            prepare_run_folder(tmp_path, restart)
    assert files(tmp_path) == before


def test_a_restart_leaves_a_model_that_was_there_before_the_run(tmp_path: Path) -> None:
    """A LoRA run, begun in a folder with a model: its own record says nothing of that."""
    fill(tmp_path, "config.yaml", "adapter.json", "model/config.json", "model/model.safetensors", "best/config.json")
    (tmp_path / "config.yaml").write_text(CONFIG_TEXT)
    assert "removed" in prepare_run_folder(tmp_path, restart=True)[0]
    assert files(tmp_path) == {"model/config.json", "model/model.safetensors", "best/config.json"}


def test_a_restart_of_nothing_begins(tmp_path: Path) -> None:
    fill(tmp_path, "train.log")
    assert prepare_run_folder(tmp_path, restart=True) == [] == prepare_run_folder(tmp_path / "new", restart=True)
    assert files(tmp_path) == {"train.log"} and (tmp_path / "new").is_dir()


def test_going_on_removes_leftovers_alone(tmp_path: Path) -> None:
    kept = ["adapter.safetensors", f"{SNAPSHOTS}/{snapshot_name(5)}/snapshot.json", "other/.adapter.json.1.tmp"]
    kept += ["adapter.json", ".notes.tmp"]
    left = [".config.yaml.x.tmp", "best/.adapter.json.y.tmp", f"{SNAPSHOTS}/.{snapshot_name(4)}.old/snapshot.json"]
    fill(tmp_path, *kept, *left)
    describe(tmp_path, "adapter.json")
    assert prepare_run_folder(tmp_path, restart=False) == []
    assert files(tmp_path) == set(kept)
    prepare_run_folder(tmp_path / "new", restart=False)
    assert (tmp_path / "new").is_dir()


def test_a_result_without_a_snapshot_is_refused_in_fields_and_told_in_flags(tmp_path: Path) -> None:
    fill(tmp_path, "model/model.safetensors", ".config.yaml.x.tmp", "model/lora_nlg.json")
    describe(tmp_path, "model/lora_nlg.json")
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"`work_dir` .* holds model but no snapshot .* `resume` restart"):
        prepare_run_folder(tmp_path, restart=False)
    with pytest.raises(InputError, match=r"^--work_dir .* another --work_dir .* --resume restart"), naming_flags():
        prepare_run_folder(tmp_path, restart=False)
    assert files(tmp_path) == before
