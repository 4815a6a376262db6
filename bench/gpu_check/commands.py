"""Runs this project's commands and reads what they left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lora_nlg.__main__ import main as lora_nlg

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
BASE = SAMPLE / "base"


def command(*words: str) -> None:
    """Run a command in this process; its words go to stderr.

    Raises:
        RuntimeError: its exit status isn't 0.
    """
    with contextlib.redirect_stdout(sys.stderr):
        status = lora_nlg(list(words))
    if status:
        raise RuntimeError(f"lora-nlg {words[0]}: exit status {status}")


def train_words(folder: Path, device: str, steps: int, *flags: str) -> list[str]:
    """The words of a training run on the sample: 8 examples a step, no dropout, unless `flags` say otherwise."""
    standard = {
        "--train_data": str(SAMPLE / "train.jsonl"),
        "--init_checkpoint": str(BASE),
        "--work_dir": str(folder),
        "--device": device,
        "--max_step": str(steps),
        "--seq_len": "256",
        "--train_batch_size": "8",
        "--lr": "0.001",
        "--warmup_step": "0",
        "--scheduler": "constant",
        "--lora_dropout": "0",
        "--report_to": "none",
        "--log_interval": "10",
        **dict(zip(flags[::2], flags[1::2], strict=True)),
    }
    return ["train", *(word for pair in standard.items() for word in pair)]


def train(folder: Path, device: str, steps: int, *flags: str) -> list[float]:
    """Train anew in a folder and return the loss of every step."""
    shutil.rmtree(folder, ignore_errors=True)
    command(*train_words(folder, device, steps, *flags))
    return [line["loss"] for line in lines_of(folder, "train")]


def killed_at(step: int, words: list[str], log: Path) -> int:
    """Run a command in a process of its own on the same (real or pretend) device, which a step kills (see `killed`).

    Returns:
        Its exit status: -9 if it was killed.
    """
    pretend = ["-m", "pretend_cuda"] if "pretend_cuda" in sys.modules else []
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")])
    with open(log, "w") as file:
        return subprocess.run(
            [sys.executable, *pretend, "-m", "gpu_check.killed", str(step), *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
        ).returncode


def lines_of(folder: Path, kind: str) -> Iterator[dict[str, float]]:
    """The lines of a run's metrics.jsonl of one kind."""
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        if values["kind"] == kind:
            yield values


def adapter_hash(folder: Path) -> str:
    """SHA-256 of the adapter a run wrote, shortened."""
    return hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest()[:12]


def texts_of(file: Path) -> list[str]:
    """The texts of a file of predictions."""
    return [json.loads(line)["hypothesis"] for line in file.read_text().splitlines()]
