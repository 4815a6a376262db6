"""The scripts that make tables of many runs: seeds, studies, methods, the factorial behind 70.4.

Real processes on the sample's base; what is tested is which checkpoint goes where, and that nothing is done twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "data" / "sample" / "base"
# The rate grows until it breaks the model, so that the best checkpoint is not the last.
TRAIN = ["--seq_len", "256", "--max_step", "9", "--eval_interval", "3", "--lr", "0.03", "--warmup_step", "8"]


@pytest.fixture
def script(workplace, quick_commands):
    """Runs a script on one process and returns what it printed."""
    folder, environment = workplace
    path = f"{quick_commands}{os.pathsep}{environment['PATH']}"
    environment = {**environment, "PATH": path, "NPROC": "1", "BASE": str(BASE), "ROOT": str(folder / "study")}

    def run(name: str, *arguments: str, status: int = 0, **values: str) -> str:
        done = subprocess.run(
            ["bash", ROOT / "scripts" / name, *arguments], env=environment | values, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done.stdout + done.stderr

    run("prepare.sh", "e2e")
    return run


def steps(run: Path) -> dict[str, int]:
    """Folder of an adapter in a run → its optimiser step."""
    return {path.parent.name: json.loads(path.read_text())["step"] for path in run.glob("**/adapter.json")}


def test_seeds_are_run_once_and_averaged(script, tmp_path):
    study = tmp_path / "study"
    script("run_seeds.sh", "e2e", "1", *TRAIN)
    first = (study / "seed-1" / "predictions.jsonl").stat()
    shown = script("run_seeds.sh", "e2e", "2", *TRAIN)

    assert "seed 1: already scored" in shown
    assert (study / "seed-1" / "predictions.jsonl").stat().st_mtime_ns == first.st_mtime_ns
    scores = [json.loads((study / f"seed-{seed}" / "scores.json").read_text())["scores"] for seed in (1, 2)]
    mean = 100 * sum(score["ROUGE_L"]["value"] for score in scores) / 2
    ours = next(line for line in shown.splitlines() if "**ours**, mean ± standard deviation of 2 runs" in line)
    assert "**gpt2.nano**" in ours and f"| {mean:.1f}±" in ours
    assert "| GPT-2 M | LoRA r=4 | 70.4±.1 |" in shown
    assert (study / "table.md").read_text().strip() in shown


def test_a_study_goes_on_with_more_seeds(script, tmp_path):
    """Members are trained, decoded and scored once; the table is over all that are there, as their scores say."""
    study = tmp_path / "study"
    sizes = {"STEPS": "2", "LRS": "0.01", "VALID": "4", "TEST": "3", "SEQ_LEN": "200"}
    script("study.sh", "lr", "e2e", SEEDS="1", **sizes)
    (first,) = (study / "members").iterdir()
    decoded = (first / "predictions.jsonl").stat().st_mtime_ns, (first / "scores.json").stat().st_mtime_ns
    assert len((first / "predictions.jsonl").read_text().splitlines()) == 3
    shown = script("study.sh", "lr", "e2e", SEEDS="1,2", **sizes)
    assert decoded == ((first / "predictions.jsonl").stat().st_mtime_ns, (first / "scores.json").stat().st_mtime_ns)
    scores = [json.loads(path.read_text())["scores"] for path in study.glob("members/*/scores.json")]
    assert len(scores) == 2 and shown.count("BLEU:") == 1  # the new one alone was scored
    mean = 100 * sum(score["ROUGE_L"]["value"] for score in scores) / 2
    row = next(line for line in shown.splitlines() if line.startswith("| scale 32 | q+v | 4 | 128 | 32 | 0.01 | 2 |"))
    assert f"| {mean:.2f} ± " in row and (study / "study.md").read_text().strip() in shown
    assert (study / "study.csv").is_file() and (study / "study.png").read_bytes().startswith(b"\x89PNG")


def test_every_cell_of_the_factorial_is_its_own_checkpoint_and_penalty(script, tmp_path):
    study = tmp_path / "study"
    shown = script("ablation_704.sh", "1", *TRAIN)
    trained = steps(study / "train-1")
    assert trained["best"] < trained["train-1"] == 9  # the rate makes the later ones worse
    rows = {"last": 9, "best_loss": trained["best"], "best_bleu": trained["best_bleu"]}
    for name, step in rows.items():
        assert f"| {name} (step {step}) |" in shown
    decoded = {step: study / "train-1" / "decoded" / f"step-{step}" for step in rows.values()}
    assert shown.count("5 predictions (") == 2 * len(decoded)  # two penalties of each distinct checkpoint
    found = {step: (folder / "predictions.jsonl").read_text() for step, folder in decoded.items()}
    assert found[9] != found[trained["best"]]
    for name, step in rows.items():  # a row is scored from its own checkpoint
        scores = json.loads((study / "seed-1" / name / "penalty-0.9" / "scores.json").read_text())
        assert scores["files"]["predictions"]["path"] == str(decoded[step] / "predictions.jsonl")

    # One cell against the commands it stands for.
    folder = str(tmp_path / "alone.jsonl")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "lora_nlg",
                "decode",
                "--checkpoint",
                study / "train-1",
                "--data",
                tmp_path / "data" / "test.jsonl",
            ),
            *("--beam", "10", "--length_penalty", "0.8", "--no_repeat_ngram_size", "4", "--eval_len", "64"),
            *("--out", folder),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(folder).read_text() == (decoded[9] / "predictions.lp0.8.jsonl").read_text()

    # A lost cell alone is made again.
    times = {path: path.stat().st_mtime_ns for path in study.glob("seed-1/**/*.json*")}
    lost = study / "seed-1" / "best_bleu" / "penalty-0.9" / "scores.json"
    before = lost.read_bytes()
    lost.unlink()
    assert script("ablation_704.sh", "1", *TRAIN).count("BLEU:") == 1
    assert lost.read_bytes() == before
    assert [path for path in times if path.stat().st_mtime_ns != times[path]] == [lost]


@pytest.mark.slow
def test_methods_are_compared_part_by_part(script, tmp_path):
    """A rate that breaks the model counts as tried; what is done isn't done again; other settings are refused."""
    study = tmp_path / "study"
    values = {"METHODS": "bitfit", "GRID": "0.003 1e30", "GRID_STEPS": "3", "STEPS": "5", "TEST": "3", "BEAM": "2"}
    shown = script("methods.sh", "e2e", "1", "--seq_len", "256", **values)
    assert "| BitFit | **0.003: " in shown and "1e30: inf" in shown
    assert len((study / "data" / "test.jsonl").read_text().splitlines()) == 3
    assert [path.name for path in study.glob("bitfit/seed-1/scores.json")] == ["scores.json"]
    assert not list(study.glob("rates/**/*.safetensors"))
    assert "**BitFit**" in (study / "table.md").read_text() and "bitfit" in (study / "report.html").read_text()
    config = (study / "bitfit" / "seed-1" / "config.yaml").read_text()
    assert "\nlr: 0.003\n" in config and "\nmax_step: 5\n" in config and "\nmethod: bitfit\n" in config

    again = script("methods.sh", "e2e", "1", "--seq_len", "256", **values)
    assert "+ lora-nlg train" not in again and "+ lora-nlg decode" not in again
    refused = script("methods.sh", "e2e", "1", "--seq_len", "256", status=2, **values | {"STEPS": "6"})
    assert "was begun with other settings" in refused and "steps: 5," in refused
