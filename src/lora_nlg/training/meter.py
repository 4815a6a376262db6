"""What is noted about steps: their numbers, which stay on the device until they are read, and the speed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from lora_nlg.batching import StepData
from lora_nlg.training.stopping import NotFinite
from lora_nlg.training.tracking import Tracker, Trackers


class _Noted(NamedTuple):
    """A step whose numbers are still on the device."""

    data: StepData
    rate: float
    numbers: Tensor


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
        self._pending: list[_Noted] = []
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
        self._pending.append(_Noted(data, rate, numbers))

    def read(self) -> None:
        """Read back and log the numbers of all steps noted; waits for the device.

        Raises:
            NotFinite: a loss or gradient is no longer finite.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        rows = torch.stack([noted.numbers for noted in pending]).tolist()  # the one wait for the device
        for (data, rate, _), (loss, norm, stops) in zip(pending, rows, strict=True):
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.overflows):
                raise NotFinite(data.step, loss, norm, data.ids)
            self.tracker.log("train", data.step, {"loss": loss, "lr": rate, "grad_norm": norm, "epoch": data.epoch})
            self.stopped = self.stopped or stops > 0
            self._tokens += data.n_tokens
        self._shown = f"loss {rows[-1][0]:.4f}, lr {pending[-1].rate:.2e}"

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
