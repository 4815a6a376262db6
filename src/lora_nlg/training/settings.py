"""What a run is told about training, and how it says it ended. Each dataclass is also a group of `train`'s flags.

Names are the predecessor's (microsoft/LoRA, examples/NLG) where it had them. Defaults are those of its published E2E
command, save for label smoothing (none) and the optimiser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lora_nlg.dtypes import DtypeName
from lora_nlg.errors import InputError
from lora_nlg.training.schedules import Schedule, parse_points, warmup_steps
from lora_nlg.training.stopping import Best


@dataclass(frozen=True)
class OptimisationSettings:
    """How to train."""

    optimizer: Literal["adamw", "adamw_lora"] = "adamw"
    """adamw (torch's) or adamw_lora (the predecessor's arithmetic, to reproduce its curves)."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    adam_beta1: float = 0.9
    """Decay of the first moment."""
    adam_beta2: float = 0.999
    """Decay of the second moment."""
    adam_epsilon: float = 1e-6
    """Added to the root of the second moment."""
    correct_bias: bool = True
    """Whether the moments' start at zero is corrected for; false needs adamw_lora."""
    scheduler: Literal["linear", "cosine", "constant", "inv_sqrt", "cycle"] = "linear"
    """linear, cosine, constant, inv_sqrt or cycle; one step per optimiser step."""
    warmup_step: int | float = 500
    """Optimiser steps of linear warm-up; below 1 a fraction of the run, such as 0.1."""
    i_steps: str = ""
    """Steps of the points of a cycle, comma-separated."""
    i_lrs: str = ""
    """Rates of the points of a cycle, comma-separated."""
    max_epoch: int = 5
    """Epochs to train, unless max_step or the points of a cycle say where to end."""
    max_step: int | None = None
    """Optimiser steps to train."""
    label_smooth: float = 0.0
    """Label smoothing of the training loss."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it."""
    random_seed: int = 110
    """Decides initialisation, order and dropout."""
    dtype: DtypeName = "fp32"
    """fp32, bf16 or fp16: what is computed in, and how frozen weights are held; what trains stays fp32."""

    def __post_init__(self) -> None:
        if self.max_step is not None and self.max_step < 1:
            raise InputError(f"`max_step` must be at least 1, got {self.max_step}")
        if not self.grad_clip >= 0:
            raise InputError(f"`grad_clip` must be at least 0, got {self.grad_clip}")
        for name, least, most in (
            ("adam_beta1", 0, 1), ("adam_beta2", 0, 1), ("adam_epsilon", 0, math.inf), ("weight_decay", 0, math.inf),
            ("random_seed", 0, 2**63),
        ):  # fmt: skip
            if not least <= getattr(self, name) < most:
                bound = f" and below {most}" if most < math.inf else " and finite"
                raise InputError(f"`{name}` must be at least {least}{bound}, got {getattr(self, name)}")

    @property
    def denominator_offset(self) -> float:
        """Added to the count of target tokens.

        The predecessor divides by (count + 1e-4); its optimiser is chosen to reproduce its numbers.
        """
        return 1e-4 if self.optimizer == "adamw_lora" else 0.0

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """The learning rate of every step, and with it how many steps the run has.

        Raises:
            InputError: the settings don't make a schedule.
        """
        points = parse_points(self.i_steps, self.i_lrs)
        max_step = self.max_step
        if max_step is None:  # the points of a cycle end the run, as the predecessor's do
            max_step = points[-1][0] if points else self.max_epoch * steps_per_epoch
        warmup = warmup_steps(self.warmup_step, max_step)
        return Schedule(self.scheduler, self.lr, max_step, warmup, points)


@dataclass(frozen=True)
class LoopSettings:
    """When to log, validate, save and stop."""

    log_interval: int = 100
    """Optimiser steps between flushes of the log."""
    eval_interval: int = 2000
    """Optimiser steps between validations; 0 means every epoch. The last step always validates."""
    save_interval: int = 1000
    """Optimiser steps between snapshots; the last step always saves."""
    keep_last: int = 2
    """Snapshots to keep."""
    early_stop: int = 0
    """Validations without improvement after which to stop; 0 never does."""
    generate_interval: int = 0
    """Optimiser steps between validations by generation; 0 means every epoch."""
    best_by: Literal["loss", "bleu"] = "loss"
    """loss or bleu: which validation decides what best/ holds and when early_stop stops."""

    def __post_init__(self) -> None:
        least = {"log_interval": 1, "eval_interval": 0, "save_interval": 1, "keep_last": 1}
        least |= {"early_stop": 0, "generate_interval": 0}
        problems = [
            f"`{name}` must be at least {bound}, got {getattr(self, name)}"
            for name, bound in least.items()
            if getattr(self, name) < bound
        ]
        if problems:
            raise InputError("; ".join(problems))


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: optimiser steps taken.
        reason: `finished`, `early stop`, or the name of the signal.
        exit_code: 0, or what the shell knows the signal by.
        best: the best validation.
    """

    step: int
    reason: str
    exit_code: int
    best: Best
