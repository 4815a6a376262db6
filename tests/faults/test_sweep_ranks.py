"""A sweep whose groups are shared out among ranks, one of which dies. Real torchrun, gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_ranks import rank_processes, torchrun, wait

Arguments = Callable[..., list[str]]
SHARED = ("train_data", "valid_data", "init_checkpoint", "seq_len", "train_batch_size", "device")


def sweep_flags(arguments: Arguments, work_dir: Path) -> list[str]:
    """Two groups of two members, of which each is decoded."""
    own = {
        "work_dir": work_dir, "lora_dim": 2, "lora_alpha": "2r", "lr": "1e-2,1e-3", "random_seed": "1,2", "group": 2,
        "lora_dropout": 0.1, "max_step": 50, "eval_interval": 20, "save_interval": 2, "generate": "true",
        "generate_contexts": 2, "beam": 2, "eval_len": 4,
    }  # fmt: skip
    shared = [flag for flag in arguments(work_dir) if flag[2:].split("=")[0] in SHARED]
    return [*shared, *(f"--{name}={value}" for name, value in own.items())]


def outcome(folder: Path) -> list[dict[str, Any]]:
    """Every member's row and files, but for the time it took."""
    members = []
    for row in json.loads((folder / "results.json").read_text()):
        del row["seconds"]
        place = folder / row["folder"]
        names = ("adapter.safetensors", "best/adapter.safetensors", "metrics.jsonl", "predictions.jsonl")
        members.append({**row, "files": [(place / name).read_bytes() for name in names]})
    return members


@pytest.mark.faults
@pytest.mark.timeout(700)
def test_a_sweep_over_two_ranks_of_which_one_dies(arguments: Arguments, tmp_path: Path) -> None:
    """Rank 1 is killed with two groups under way; torchrun starts both anew, and the end is that of one process."""
    whole = torchrun(sweep_flags(arguments, tmp_path / "one"), "--nproc_per_node=1", "--standalone", command="sweep")
    output = wait(whole)
    assert whole.returncode == 0, output
    folder = tmp_path / "two"
    process = torchrun(
        sweep_flags(arguments, folder), "--nproc_per_node=2", "--standalone", "--max-restarts=1", command="sweep"
    )
    for _ in range(2000):
        if len(list(folder.glob("groups/*/*.safetensors"))) == 2:
            break
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    assert not list(folder.glob("members/*/member.json")), "the first groups had ended before there were two"
    os.kill(rank_processes(process.pid)[1], signal.SIGKILL)
    output = wait(process)
    assert process.returncode == 0, output
    assert len(outcome(folder)) == 4 and outcome(folder) == outcome(tmp_path / "one")
    assert not (folder / "groups").exists()
