"""Several processes on one sweep: each takes work that no other holds, by locks that die with their holder.

Nothing is dealt out beforehand and no process waits for a message: a rank that ends early takes more, and what a dead
one held is free at once. What has been done is told by the files it left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lora_nlg.locking import Held, locked

WAIT_SECONDS = 1.0
"""Between looks at what other processes hold."""


@dataclass(frozen=True)
class Task:
    """A piece of work.

    Attributes:
        lock: the file that is locked by the process at it.
        is_done: whether there is nothing left to do, whoever did it.
        is_ready: whether it can be begun.
        run: does it, or what is left of it.
    """

    lock: Path
    is_done: Callable[[], bool]
    is_ready: Callable[[], bool]
    run: Callable[[], None]


def share_out(tasks: Sequence[Task]) -> None:
    """Run tasks beside other processes that were given the same; returns when all are done.

    Args:
        tasks: in the order in which this process looks for work. Where locks don't work (some network file systems),
            processes that begin at different tasks seldom do the same one; if they do, they write the same.
    """
    left = list(tasks)
    while left:
        taken = 0
        for task in tuple(left):
            if task.is_done():
                left.remove(task)
            elif task.is_ready():
                taken += _take(task)
        if left and not taken:
            time.sleep(WAIT_SECONDS)


def _take(task: Task) -> bool:
    """Run a task unless another process is at it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(task.lock, str(task.lock)))
        except Held:
            return False
        if not task.is_done():  # by another, just now
            task.run()
    return True


def from_place(tasks: Sequence[Task], rank: int, size: int) -> list[Task]:
    """The same tasks, beginning where this rank's share would."""
    first = rank * len(tasks) // size
    return [*tasks[first:], *tasks[:first]]
