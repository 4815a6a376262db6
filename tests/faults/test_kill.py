"""kill -9 at any moment, then the same command again: the result is the uninterrupted run's, byte for byte."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Fault, Running, result, run

Arguments = Callable[..., list[str]]
FILE_OPERATIONS = 60
"""More than the reference run makes; a run that has fewer left ends by itself."""


def test_two_runs_of_one_seed_are_identical(arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    assert run(arguments(tmp_path / "run"), tmp_path / "log").code == 0
    assert result(tmp_path / "run") == reference
    assert reference["moments"], "the comparison covers the optimiser"
    changed = arguments(tmp_path / "other", random_seed=111)
    assert run(changed, tmp_path / "log").code == 0
    assert result(tmp_path / "other")["adapter"] != reference["adapter"]


def die_and_resume(arguments: Arguments, reference: dict, folder: Path, fault: Fault) -> bool:
    """Returns whether the fault struck."""
    first = run(arguments(folder / "run"), folder / "log", fault)
    if first.code == 0:
        assert result(folder / "run") == reference
        return False
    assert first.code == -signal.SIGKILL, first.output
    second = run(arguments(folder / "run"), folder / "log")
    assert second.code == 0, second.output
    assert result(folder / "run") == reference
    assert not [path for path in (folder / "run").rglob(".*") if path.suffix in (".tmp", ".old")], (
        "nothing is left over"
    )
    return True


@pytest.mark.parametrize("step", [23])
def test_killed_at_a_step(step: int, arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    assert die_and_resume(arguments, reference, tmp_path, Fault(die_at_step=step))


@pytest.mark.parametrize("operation", [14])
def test_killed_while_writing(operation: int, arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    die_and_resume(arguments, reference, tmp_path, Fault(die_at=operation))


@pytest.mark.faults
@pytest.mark.parametrize("operation", range(1, FILE_OPERATIONS))
def test_killed_at_every_file_operation(operation: int, arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    die_and_resume(arguments, reference, tmp_path, Fault(die_at=operation))


@pytest.mark.faults
@pytest.mark.parametrize("step", range(1, 31))
def test_killed_at_every_step(step: int, arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    assert die_and_resume(arguments, reference, tmp_path, Fault(die_at_step=step))


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_killed_again_and_again_at_random_moments(
    seed: int, arguments: Arguments, reference: dict, tmp_path: Path
) -> None:
    generator = random.Random(seed)
    for deaths in range(60):
        running = Running(arguments(tmp_path / "run"), tmp_path / "log")
        if deaths < 8:  # then let it live, however slow the machine
            time.sleep(generator.uniform(0.05, 1.5))
            running.kill()
        ended = running.wait()
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended.output
    assert result(tmp_path / "run") == reference
