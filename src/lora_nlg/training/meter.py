"""What is noted about steps: their numbers, which stay on the device until they are read, and the speed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lora_nlg.batching import StepData
from lora_nlg.training.late import LateNumbers
from lora_nlg.training.stopping import NotFinite
from lora_nlg.training.tracking import Tracker, Trackers


class Meter:
    """Notes steps, reads their numbers back when told to, and keeps the time.

    Args:
        device: where the numbers come from.
        overflows: whether a gradient may be infinite, as in fp16, where such a step is skipped. Default: False.

    Attributes:
        tracker: where the numbers go; nowhere before `start`.
        stopped: whether a rank was asked to stop by the time of the last step read.
    """

    def __init__(self, device: torch.device, overflows: bool = False) -> None:
        self.device, self.overflows = device, overflows
        self.tracker: Tracker = Trackers()
        self.stopped = False
        self._noted: deque[tuple[StepData, float]] = deque()  # steps whose numbers weren't read yet, and their rates
        self._numbers = LateNumbers()
        self._shown = ""
        self._since, self._tokens, self._speed = time.perf_counter(), 0, 0.0

    def start(self, tracker: Tracker) -> None:
        """Log to `tracker` and count time from now on."""
        self.tracker, self._since = tracker, time.perf_counter()

    def note(self, data: StepData, rate: float, numbers: Tensor) -> None:
        """Note a step without waiting for the device.

        Args:
            data: its batches.
            rate: its learning rate.
            numbers: loss, gradient norm and stop requests (see `Step`), shape (3,).
        """
        self._noted.append((data, rate))
        self._numbers.send(numbers)

    def read(self, late: int = 0) -> None:
        """Read back and log the numbers of the steps noted.

        Args:
            late: how many of the last ones to leave for later. Default: 0, which waits for the device.

        Raises:
            NotFinite: a loss or gradient is no longer finite.
        """
        for loss, norm, stops in self._numbers.read(late):
            data, rate = self._noted.popleft()
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.overflows):
                raise NotFinite(data.step, loss, norm, data.ids)
            self.tracker.log("train", data.step, {"loss": loss, "lr": rate, "grad_norm": norm, "epoch": data.epoch})
            self.stopped = self.stopped or stops > 0
            self._tokens += data.n_tokens
            self._shown = f"loss {loss:.4f}, lr {rate:.2e}"

    def log_speed(self, step: int) -> None:
        """Log seconds of training since the last call, tokens a second in them, and the most memory held so far."""
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        self._speed = round(self._tokens / seconds, 1)
        self._since, self._tokens = now, 0
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            import resource

            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        numbers = {"tokens_per_s": self._speed, "seconds": round(seconds, 3), "peak_memory_mib": memory}
        self.tracker.log("speed", step, numbers)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within the block doesn't count: tokens a second are those of training."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def __str__(self) -> str:
        """The last step read and the speed, for a progress bar."""
        return f"{self._shown}, {self._speed:,.0f} tokens/s" if self._speed else self._shown
