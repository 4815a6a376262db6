"""Several ranks: the same curve as one, ranks that die, signals to all. Real torchrun, gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROOT, result, run, run_ranks
from safetensors.torch import load_file

Arguments = Callable[..., list[str]]


def torchrun(arguments: list[str], *options: str, command: str = "train") -> subprocess.Popen[str]:
    """Start `torchrun … -m lora_nlg train …` in a session of its own."""
    words = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "lora_nlg", command, *arguments]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "LORA_NLG_CONNECT_SECONDS": "40",
        "PYTHONPATH": str(ROOT / "src"),
    }
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def wait(process: subprocess.Popen[str], timeout: float = 300) -> str:
    """What it printed; kills the whole session if it hangs."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        for pid in [*rank_processes(process.pid).values(), process.pid]:  # ranks have sessions of their own
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"torchrun hung:\n{output}") from None
    return output


def curve(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] in ("train", "valid")]


def rank_processes(launcher: int) -> dict[int, int]:
    """Rank -> process id, of a launcher's workers (from /proc)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = dict(
                item.split("=", 1) for item in (entry / "environ").read_text().split("\0") if "=" in item
            )
        except OSError:  # the process ended meanwhile
            continue
        if parent == launcher and "LOCAL_RANK" in environment:
            found[int(environment["LOCAL_RANK"])] = int(entry.name)
    return found


def wait_for_snapshot(folder: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Wait until a run has taken so many snapshots."""
    for _ in range(2000):
        if len(list((folder / "snapshots").glob("step-*"))) >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no snapshot within 100 s")


def assert_same_training(one: Path, other: Path, steps: int) -> None:
    assert len(curve(one)) >= steps and curve(one) == pytest.approx(curve(other), abs=1e-5)
    adapters = [load_file(folder / "adapter.safetensors") for folder in (one, other)]
    for name, value in adapters[0].items():
        assert (value - adapters[1][name]).abs().max() < 1e-5, name


def test_ranks_give_the_curve_of_one(arguments: Arguments, tmp_path: Path) -> None:
    """A global batch of 6 as 1 × 6, 2 × 3 and 3 × 1 × 2 accumulated; 50 examples leave a partial batch of 2."""
    flags = {"lora_dropout": 0, "max_step": 20}
    assert run(arguments(tmp_path / "1", train_batch_size=6, **flags), tmp_path / "log").code == 0
    for size, batch, grad_acc in ((2, 3, 1), (3, 1, 2)):
        changed = arguments(tmp_path / str(size), train_batch_size=batch, grad_acc=grad_acc, **flags)
        for ended in run_ranks(changed, tmp_path / "log", size):
            assert ended.code == 0, ended.output
        assert_same_training(tmp_path / "1", tmp_path / str(size), 20)


@pytest.mark.faults
def test_torchrun_gives_the_curve_of_one(arguments: Arguments, tmp_path: Path) -> None:
    flags = {"lora_dropout": 0, "max_step": 26}
    assert run(arguments(tmp_path / "one", **flags), tmp_path / "log").code == 0
    process = torchrun(arguments(tmp_path / "two", train_batch_size=2, **flags), "--nproc_per_node=2", "--standalone")
    output = wait(process)
    assert process.returncode == 0, output
    assert_same_training(tmp_path / "one", tmp_path / "two", 26)


@pytest.mark.faults
@pytest.mark.timeout(700)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_rank_and_elastic_restart(rank: int, arguments: Arguments, tmp_path: Path) -> None:
    flags = arguments(tmp_path / "run", train_batch_size=2, max_step=400, eval_interval=100, save_interval=20)
    whole = torchrun([*flags, f"--work_dir={tmp_path / 'whole'}"], "--nproc_per_node=2", "--standalone")
    output = wait(whole)
    assert whole.returncode == 0, output
    process = torchrun(flags, "--nproc_per_node=2", "--standalone", "--max-restarts=3")
    wait_for_snapshot(tmp_path / "run", process, 2)
    os.kill(rank_processes(process.pid)[rank], signal.SIGKILL)
    output = wait(process)
    assert process.returncode == 0, output
    assert "resuming" in output
    assert result(tmp_path / "run") == result(tmp_path / "whole")


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_snapshots(number: int, arguments: Arguments, tmp_path: Path) -> None:
    flags = arguments(tmp_path / "run", train_batch_size=2, max_step=4000, save_interval=1000)
    process = torchrun(flags, "--nproc_per_node=2", "--standalone")
    for _ in range(2000):
        if (tmp_path / "run/metrics.jsonl").exists() and (tmp_path / "run/metrics.jsonl").stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(number)
    output = wait(process)
    assert process.returncode != 0
    assert list((tmp_path / "run/snapshots").glob("step-*")), output
    assert "of 4000" in output


@pytest.mark.faults
def test_two_nodes(arguments: Arguments, tmp_path: Path) -> None:
    """Two torchrun agents that meet at a rendezvous, as on two machines, give the curve of one process."""
    flags = {"lora_dropout": 0, "max_step": 26}
    assert run(arguments(tmp_path / "one", **flags), tmp_path / "log").code == 0
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (
        "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}",
        "--rdzv_id=test",
    )  # fmt: skip
    two = arguments(tmp_path / "two", train_batch_size=2, **flags)
    agents = [torchrun(two, *options) for _ in range(2)]
    outputs = [wait(agent) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert curve(tmp_path / "one") == pytest.approx(curve(tmp_path / "two"), abs=1e-5)
