"""What the members of a sweep share. Also a group of `sweep`'s flags; names and meaning are `train`'s."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lora_nlg.errors import InputError
from lora_nlg.training import warmup_steps


@dataclass(frozen=True)
class SweepSettings:
    """How each member is trained."""

    max_step: int = 200
    """Optimiser steps of each member."""
    train_batch_size: int = 8
    """Examples of each member's step."""
    valid_batch_size: int = 16
    """Examples of each member's validation batch."""
    scheduler: Literal["linear", "cosine", "constant", "inv_sqrt"] = "linear"
    """linear, cosine, constant or inv_sqrt."""
    warmup_step: int | float = 0
    """Steps of linear warm-up; below 1 a fraction of max_step, such as 0.1."""
    label_smooth: float = 0.0
    """Label smoothing of the training loss."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    adam_beta2: float = 0.999
    """Decay of the second moment."""
    adam_epsilon: float = 1e-6
    """Added to the root of the second moment."""
    grad_clip: float = 0.0
    """Largest norm of a member's gradient; 0 leaves it."""
    eval_interval: int = 2000
    """Steps between validations of a group, of which the best is kept; the last step always validates."""
    save_interval: int = 100
    """Steps between snapshots of a group."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """fp32 or bf16: what is computed in; what trains stays fp32."""
    cuda_graph: Literal["auto", "true", "false"] = "auto"
    """On CUDA, record a step's kernels and start them together: auto (where it can be done), true or false."""

    def __post_init__(self) -> None:
        for name in ("max_step", "train_batch_size", "valid_batch_size", "eval_interval", "save_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        warmup_steps(self.warmup_step, self.max_step)

    def to_json(self) -> dict[str, Any]:
        """What decides a member's result."""
        values = asdict(self)
        del values["save_interval"], values["cuda_graph"]
        return values
