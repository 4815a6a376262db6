"""How a run ends before its last step: signals, early stopping, and numbers that are no longer finite."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""128 + the signal's number, as a shell reports a process that the signal killed."""


class StopRequest:
    """Whether a signal asked the run to end after the current step."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        """The signal's name. SIGTERM also where another rank was the one asked."""
        return "SIGTERM" if self.signal is None else self.signal.name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a request; a second SIGINT interrupts at once."""
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield request
        return
    before = {number: signal.signal(number, handle) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class NotFinite(Exception):
    """A loss or gradient is no longer finite; says in which step and on which examples."""

    def __init__(self, step: int, loss: float, norm: float, ids: Sequence[str]) -> None:
        what = f"loss {loss}" if not math.isfinite(loss) else f"loss {loss:.4f} but gradient norm {norm}"
        super().__init__(f"step {step}: {what}; the batch holds examples {', '.join(ids)}")


@dataclass
class Best:
    """The best value of a validation measure so far, and how long ago that was.

    Attributes:
        higher_is_better: True for BLEU, False for the loss.
        value: the best so far.
        step: when it was reached.
        worse: validations since then.
    """

    higher_is_better: bool = False
    value: float | None = None
    step: int = 0
    worse: int = 0

    def update(self, value: float, step: int) -> bool:
        """Take a new value in; returns whether it is the best. A NaN never is."""
        better = self.value is None or (value > self.value if self.higher_is_better else value < self.value)
        if math.isnan(value) or not better:
            self.worse += 1
            return False
        self.value, self.step, self.worse = value, step, 0
        return True
