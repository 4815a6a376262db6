"""Runs spoiled inputs through the code that reads them, each under a time limit, and keeps count of what came of it.

The rule: a result, or a refusal in one line (`InputError`, `OSError`: what the commands print). Any other exception is
a traceback on somebody's terminal; more than `LIMIT` seconds is a hang; and where there is a reference, a result that
differs from it is the worst of all, a silent difference.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mutation import Mutator

from lora_nlg.errors import InputError
from nlg_metrics.errors import InputError as ScorerInputError

LIMIT = 10.0
"""Seconds of CPU time; seconds by the clock where a server is waited for."""
_MOST_MEMORY = 1 << 30
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Target:
    """Something that reads a file.

    Attributes:
        name: for reports, and to run one case again.
        file: where the spoiled content goes; restored afterwards.
        content: a good one.
        mutate: how it is spoiled.
        read: reads; returns what is wrong with the result, "" where nothing is or nothing can be told.
        waits: whether the limit is one by the clock.
    """

    name: str
    file: Path
    content: bytes
    mutate: Mutator
    read: Callable[[bytes], str]
    waits: bool = False


@dataclass
class Report:
    """What came of the inputs: how many were read, refused, and each that broke the rule."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(
            f"{self.outcomes[name]:,} {name}" for name in ("read", "refused", "traceback", "hang", "differs")
        )
        return f"{sum(self.outcomes.values()):,} inputs: {counts}; slowest {self.slowest:.1f} s"


class _Hang(BaseException):
    """The time is up."""


def fuzz(targets: Sequence[Target], count: int, seed: int) -> Report:
    """Spoil and read `count` inputs, shared out among the targets; `FUZZ_ONLY="NAME NUMBER"` runs one case again."""
    report = Report()
    before = _resident()
    only, _, number = os.environ.get("FUZZ_ONLY", "").rpartition(" ")
    for target in targets:
        share = -(-count // len(targets))
        for case in [int(number)] if only == target.name else range(0 if only else share):
            _one(target, case, seed, report)
    if (grown := _resident() - before) > _MOST_MEMORY:
        report.faults.append(f"the process grew by {grown / 2**20:,.0f} MiB")
    return report


def _resident() -> int:
    """The most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _one(target: Target, case: int, seed: int, report: Report) -> None:
    content = target.mutate(target.content, random.Random(f"{seed} {target.name} {case}"))
    target.file.write_bytes(content)
    start, clock = time.perf_counter(), time.perf_counter if target.waits else time.process_time
    began, outcome, why = clock(), "read", ""
    try:
        with (
            _limited(target.waits),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            why = target.read(content)
        outcome = "differs" if why else "read"
    except _Hang:
        outcome, why = "hang", "".join(traceback.format_exc(limit=-4))
    except (InputError, ScorerInputError, OSError) as error:
        outcome, why = "refused", _unfit(str(error))
        if why:
            outcome = "traceback"
    except Exception:
        outcome, why = "traceback", traceback.format_exc(limit=-6)
    finally:
        target.file.write_bytes(target.content)
    if clock() - began > LIMIT and outcome != "hang":
        outcome, why = "hang", f"{clock() - began:.1f} s"
    report.slowest = max(report.slowest, time.perf_counter() - start)
    report.outcomes[outcome] += 1
    if why:
        kept = target.file.parent / f"fault-{target.name.replace(' ', '-')}-{case}"
        kept.write_bytes(content)
        again = f"FUZZ_SEED={seed} FUZZ_ONLY='{target.name} {case}' make test-fuzz"
        report.faults.append(
            f"{outcome}: {target.name}, case {case} ({again}); input {kept}, begins {content[:80]!r}\n{why}"
        )


def _unfit(message: str) -> str:
    """Why a message isn't one line for a terminal."""
    odd = [character for character in message if ord(character) < 32 or 0x7F <= ord(character) < 0xA0]
    if odd:
        return f"the message holds control characters {odd[:3]}: {message[:300]!r}"
    return f"the message has {len(message):,} characters: {message[:200]!r}…" if len(message) > _LONGEST_MESSAGE else ""


@contextlib.contextmanager
def _limited(by_clock: bool) -> Iterator[None]:
    """Raise `_Hang` when the time is up."""

    def up(*_: object) -> None:
        raise _Hang

    timer, number = (signal.ITIMER_REAL, signal.SIGALRM) if by_clock else (signal.ITIMER_PROF, signal.SIGPROF)
    before = signal.signal(number, up)
    signal.setitimer(timer, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log lines of thousands of inputs."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)


def exit_status(main: Callable[[list[str]], int], arguments: list[str]) -> str:
    """Run a command in this process; a status other than 0 or 1, or words of more than a line or odd, are a fault."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    if status not in (0, 1):
        return f"exit status {status}: {errors.getvalue()[:300]!r}"
    return next((why for line in errors.getvalue().split("\n") if (why := _unfit(line.replace("\t", " ")))), "")
