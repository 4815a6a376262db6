"""Numbers of steps, read steps after they were computed: the device never waits for the host, nor the host for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

LATE = 2
"""Steps after which numbers are looked at: by then they have arrived, and two steps are queued behind them."""


class _Sent(NamedTuple):
    """Numbers on their way: on CUDA a copy to pinned memory, and what tells when it is complete."""

    numbers: Tensor
    arrival: torch.cuda.Event | None


class LateNumbers:
    """A queue of tensors that were sent to the host and are read in order.

    How many there are to read depends on how many were sent alone, never on timing: all ranks read the same.
    """

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()

    def send(self, numbers: Tensor) -> None:
        """Send numbers to the host without waiting.

        Args:
            numbers: of one step, on any device; unchanged later on.
        """
        if not numbers.is_cuda:
            self._sent.append(_Sent(numbers, None))
            return
        home = torch.empty_like(numbers, device="cpu", pin_memory=True)
        home.copy_(numbers, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record()
        self._sent.append(_Sent(home, arrival))

    def read(self, late: int = 0) -> Iterator[list[float]]:
        """Take the numbers sent before the last `late` ones.

        Args:
            late: how many to leave. Default: 0, which waits for the device.
        """
        while len(self._sent) > late:
            numbers, arrival = self._sent.popleft()
            if arrival is not None:
                arrival.synchronize()
            yield numbers.tolist()
