"""Learning-rate schedules: pure functions of the optimiser step, so resuming needs no state.

All but `cycle` warm up linearly from 0 over `warmup_step` steps. `cycle` is piecewise linear through given points, as
the predecessor's (microsoft/LoRA, examples/NLG); `inv_sqrt` follows Vaswani et al. 2017, section 5.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_nlg.errors import InputError

LONG_WARMUP = 0.2
"""Part of a run above which a warm-up is longer than people mean it."""
SCHEDULES = ("linear", "cosine", "constant", "inv_sqrt", "cycle")


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every optimiser step.

    Attributes:
        name: `linear` (to 0 at max_step), `cosine` (to 0 at max_step), `constant`, `inv_sqrt` or `cycle`.
        lr: the peak.
        max_step: optimiser steps of the run.
        warmup_step: steps of linear warm-up (`cycle` has none); the first step has rate 0 if there are any.
        points: for `cycle`, (step, rate) pairs in order of steps; constant after the last.

    Raises:
        InputError: an unknown name, a negative rate, a warm-up longer than the run, or points that don't fit.
    """

    name: str
    lr: float
    max_step: int
    warmup_step: int = 0
    points: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise InputError(f"`scheduler` must be one of {', '.join(SCHEDULES)}, got {self.name!r}")
        if self.max_step < 1:
            raise InputError(f"`max_step` must be at least 1, got {self.max_step}")
        if not self.lr >= 0 or math.isinf(self.lr):
            raise InputError(f"`lr` must be a number of at least 0, got {self.lr}")
        if self.name != "cycle" and not 0 <= self.warmup_step <= self.max_step:
            raise InputError(
                f"`warmup_step` {self.warmup_step} must lie between 0 and the run's {self.max_step} steps; "
                "for a short run add `warmup_step` 0, or a fraction of it such as 0.1"
            )
        if (self.name == "cycle") != bool(self.points):
            raise InputError("`i_steps` and `i_lrs` give the points of `scheduler` cycle, and only of it")
        steps = [step for step, _ in self.points]
        if steps != sorted(set(steps)):
            raise InputError(f"`i_steps` must rise, got {steps}")

    def __call__(self, done: int) -> float:
        """The rate of the next step.

        Args:
            done: optimiser steps taken before it, from 0.
        """
        if self.name == "cycle":
            return self._between_points(done)
        if done < self.warmup_step:
            return self.lr * done / self.warmup_step
        if self.name == "constant":
            return self.lr
        if self.name == "inv_sqrt":
            return self.lr * math.sqrt(max(self.warmup_step, 1) / max(done, 1))
        left = (self.max_step - done) / max(self.max_step - self.warmup_step, 1)
        if self.name == "linear":
            return self.lr * left
        return self.lr * 0.5 * (1 - math.cos(math.pi * left))

    def _between_points(self, done: int) -> float:
        first_step, rate = self.points[0]
        if done < first_step:
            return rate
        for (start, low), (end, high) in zip(self.points, self.points[1:], strict=False):
            if start <= done < end:
                return low + (high - low) * (done - start) / (end - start)
        return self.points[-1][1]


def warmup_steps(given: float, max_step: int) -> int:
    """The steps of a warm-up that is given in steps, or as a fraction of the run.

    Args:
        given: below 1 a fraction, else a whole number.
        max_step: optimiser steps of the run.

    Raises:
        InputError: it is negative, or above 1 and not whole.
    """
    if 0 < given < 1:
        return round(given * max_step)
    if not (given >= 0 and math.isfinite(given) and given == int(given)):
        raise InputError(f"`warmup_step` must be a number of steps or a fraction of the run such as 0.1, got {given}")
    return int(given)


def parse_points(steps: str, rates: str) -> tuple[tuple[int, float], ...]:
    """The points of a `cycle` schedule from two lists, e.g. `0,100,200` and `0,2e-4,0`.

    Raises:
        InputError: not numbers, or not equally many.
    """
    try:
        numbers = [int(part) for part in steps.split(",") if part.strip()]
        values = [float(part) for part in rates.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"`i_steps` and `i_lrs` are comma-separated numbers, got {steps!r} and {rates!r}") from None
    if len(numbers) != len(values):
        raise InputError(f"`i_steps` has {len(numbers)} numbers and `i_lrs` {len(values)}; they must be as many")
    return tuple(zip(numbers, values, strict=True))
