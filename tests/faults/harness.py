"""Real runs of `lora-nlg train` in processes of their own that can be killed, starved of disk and resumed.

A fork server that has imported everything makes a process start in milliseconds, so that many moments of death can
be tried.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
MODULES = ["torch", "torch._dynamo", "lora_nlg.commands.train", "torch.utils.tensorboard"]
"""What is imported before forking; torch's first optimiser imports torch._dynamo."""
_server = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Have the fork server import the trainer; idempotent."""
    paths = [str(ROOT / "src"), str(Path(__file__).parent)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"  # bitwise comparisons need one number of threads
    _server.set_forkserver_preload(MODULES)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: killed by that signal) and what it printed."""

    code: int | None
    output: str


@dataclass
class Fault:
    """What to do to a run from inside.

    Attributes:
        die_at: kill -9 at the n-th file operation (fsync, rename, open for writing a snapshot), from 1.
        die_at_step: kill -9 when this step's batch is about to run.
        file_limit: bytes a file may grow to, as if the disk were full then.
        signal_at_step: (step, signal number) to send to itself.
    """

    die_at: int = 0
    die_at_step: int = 0
    file_limit: int = 0
    signal_at_step: tuple[int, int] = (0, 0)


class Running:
    """A training process under way."""

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        fault: Fault | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        given = (arguments, str(log), fault or Fault(), environment or {})
        self.process: BaseProcess = _server.Process(target=_child, args=given)
        self.process.start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; harmless if the process has ended."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)

    def wait(self, timeout: float = 120) -> Ended:
        """Wait for the end."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.kill()
            self.process.join()
            raise AssertionError(f"the run didn't end within {timeout} s:\n{self.log.read_text()}")
        return Ended(self.process.exitcode, self.log.read_text())


def run(arguments: list[str], log: Path, fault: Fault | None = None) -> Ended:
    """Train in a process of its own and wait for it."""
    return Running(arguments, log, fault).wait()


def run_ranks(arguments: list[str], log: Path, size: int) -> list[Ended]:
    """Train in `size` processes that find each other as `torchrun` would have them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(size):
        environment = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        texts = {name: str(value) for name, value in environment.items()}
        ranks.append(Running(arguments, log.with_suffix(f".{rank}"), environment=texts))
    return [rank.wait() for rank in ranks]


def _child(arguments: list[str], log: str, fault: Fault, environment: dict[str, str]) -> None:
    from lora_nlg.__main__ import main

    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stream = io.TextIOWrapper(os.fdopen(2, "wb", buffering=0, closefd=False), write_through=True)
    with redirect_stdout(stream), redirect_stderr(stream):
        _inject(fault)
        code = main(["train", *arguments])
        sys.stdout.flush()
        os._exit(code)


def _inject(fault: Fault) -> None:
    import torch

    torch.set_num_threads(1)
    if fault.die_at:
        count = iter(range(1, 10**9))

        def deadly(function):  # type: ignore[no-untyped-def]
            def call(*args, **kwargs):  # type: ignore[no-untyped-def]
                if next(count) == fault.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        import lora_nlg.training.snapshots as snapshots

        os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
        snapshots.save_file = deadly(snapshots.save_file)
    step, number = fault.signal_at_step
    if step or fault.die_at_step:
        import lora_nlg.training.step as step_module

        seed_step = step_module.seed_step

        def at_step(seed: int, now: int, rank: int, micro: int) -> None:
            if now == fault.die_at_step:
                os.kill(os.getpid(), signal.SIGKILL)
            if now == step and micro == 0:
                os.kill(os.getpid(), number)
            seed_step(seed, now, rank, micro)

        step_module.seed_step = at_step
    if fault.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_limit, resource.RLIM_INFINITY))


def result(folder: Path) -> dict[str, object]:
    """What of a run must be equal byte for byte: adapters, optimiser state, logged losses."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = sorted((folder / "snapshots").glob("step-*"))[-1]
    return {
        "adapter": (folder / "adapter.safetensors").read_bytes(),
        "best": (folder / "best/adapter.safetensors").read_bytes(),
        "snapshot": (last / "state.safetensors").read_bytes(),
        "step": last.name,
        "moments": [name for name in load_file(last / "state.safetensors") if name.startswith("exp_avg")],
        "lines": [line for line in lines if line["kind"] != "speed"],
    }
