"""Work shared out by locks: every task once, at once, and what a dead process held is taken over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_nlg.sweep import Task, from_place, share_out, sharing


def tasks(folder: Path, count: int, work: Callable[[int], object]) -> list[Task]:
    """Tasks that are done when their file is there; the last is ready when the first is done."""

    def task(n: int) -> Task:
        done = folder / f"{n}.done"
        first = folder / "0.done"

        def run() -> None:
            work(n)
            done.touch()

        return Task(folder / f"{n}.lock", done.is_file, lambda: n < count - 1 or first.is_file(), run)

    return [task(n) for n in range(count)]


def start(work: list[Task], rank: int) -> threading.Thread:
    thread = threading.Thread(target=share_out, args=(from_place(work, rank, 2),))
    thread.start()
    return thread


def test_every_task_is_done_once_by_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "WAIT_SECONDS", 0.01)
    together, ran = threading.Barrier(2, timeout=30), []

    def work(n: int) -> None:
        ran.append(n)
        if n in (0, 3):  # where the two begin
            together.wait()

    for thread in [start(tasks(tmp_path, 6, work), rank) for rank in range(2)]:
        thread.join(30)
    assert sorted(ran) == list(range(6)) and set(ran[:2]) == {0, 3} and ran.index(5) > ran.index(0)
    assert not list(tmp_path.glob("*.lock"))


def test_what_a_dead_one_held_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dies of the first task while the other waits for it, and for what is ready only then."""
    begun, waited, ran = threading.Event(), threading.Event(), []
    monkeypatch.setattr(sharing, "time", SimpleNamespace(sleep=lambda seconds: waited.set()))

    def dies(n: int) -> None:
        begun.set()
        waited.wait(30)
        raise KeyboardInterrupt

    def dying() -> None:
        with pytest.raises(KeyboardInterrupt):
            share_out(tasks(tmp_path, 2, dies))

    dead = threading.Thread(target=dying)
    dead.start()
    assert begun.wait(30)
    share_out(tasks(tmp_path, 2, ran.append))
    dead.join(30)
    assert waited.is_set() and ran == [0, 1]
