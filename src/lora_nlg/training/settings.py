"""What the training loop is told, and how it says it ended."""

from __future__ import annotations

from dataclasses import dataclass

from lora_nlg.dtypes import DTYPES
from lora_nlg.errors import InputError
from lora_nlg.training.graphs import MODES
from lora_nlg.training.stopping import Best


@dataclass(frozen=True)
class LoopSettings:
    """What the loop itself needs to know.

    Attributes:
        max_step: optimiser steps of the run.
        label_smooth: of the training loss.
        grad_clip: largest norm of the gradient; 0 leaves it.
        dtype: `fp32`, `bf16` or `fp16`.
        random_seed: seeds dropout.
        log_interval, eval_interval, save_interval: optimiser steps between lines, validations and snapshots.
        keep_last: snapshots kept.
        patience: validations without improvement after which to stop; 0 never stops early.
        denominator_offset: added to the count of target tokens; the predecessor adds 1e-4.
        generate_interval: optimiser steps between validations by generation; 0 never generates.
        cuda_graph: `auto`, `true` or `false`; see `graphs.MODES`.
        best_by: `loss` or `bleu`: which validation decides on the best model and on early stopping.
    """

    max_step: int
    label_smooth: float = 0.0
    grad_clip: float = 0.0
    dtype: str = "fp32"
    random_seed: int = 110
    log_interval: int = 100
    eval_interval: int = 2000
    save_interval: int = 1000
    keep_last: int = 2
    patience: int = 0
    denominator_offset: float = 0.0
    generate_interval: int = 0
    best_by: str = "loss"
    cuda_graph: str = "auto"

    def __post_init__(self) -> None:
        problems = [
            f"--{name} must be at least {least}, got {value}"
            for name, value, least in (
                ("max_step", self.max_step, 1),
                ("grad_clip", self.grad_clip, 0),
                ("log_interval", self.log_interval, 1),
                ("eval_interval", self.eval_interval, 1),
                ("save_interval", self.save_interval, 1),
                ("keep_last", self.keep_last, 1),
                ("early_stop", self.patience, 0),
                ("generate_interval", self.generate_interval, 0),
            )
            if not value >= least
        ]
        if self.dtype not in DTYPES:
            problems.append(f"--dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.cuda_graph not in MODES:
            problems.append(f"--cuda_graph must be one of {', '.join(MODES)}, got {self.cuda_graph!r}")
        if self.best_by not in ("loss", "bleu"):
            problems.append(f"--best_by must be loss or bleu, got {self.best_by!r}")
        if self.best_by == "bleu" and not self.generate_interval:
            problems.append("--best_by bleu needs validation by generation: --valid_bleu true")
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
