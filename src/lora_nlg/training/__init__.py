"""The trainer: loss, optimisers, schedules, steps, validation, tracking, snapshots and the loop over them.

Takes values, not command lines. What a step computes (`EagerStep`), what is noted about it (`Meter`) and when to
validate, save and stop (`Trainer`) know nothing of each other's insides.
"""

from lora_nlg.training.checkpoints import Checkpoints
from lora_nlg.training.filled import FilledStep
from lora_nlg.training.graphs import GraphMode, check_graph_mode
from lora_nlg.training.loop import Trainer
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.meter import Meter
from lora_nlg.training.optim import MOMENTS, OPTIMIZERS, AdamWLoRA, FlatParameters, make_optimizer
from lora_nlg.training.schedules import LONG_WARMUP, SCHEDULES, Schedule, parse_points, warmup_steps
from lora_nlg.training.settings import LoopSettings, OptimisationSettings, Outcome
from lora_nlg.training.snapshots import Snapshot, latest_snapshot, load_snapshot, save_snapshot
from lora_nlg.training.state import TrainingState
from lora_nlg.training.step import EagerStep, Step, batch_loss, prepare_precision
from lora_nlg.training.stopping import Best
from lora_nlg.training.tracking import (
    JsonlTracker,
    OpenTracker,
    TensorBoardTracker,
    Tracker,
    Trackers,
    find_trackers,
    open_trackers,
)
from lora_nlg.training.validation import LossValidation, Validation

__all__ = [
    "LONG_WARMUP",
    "MOMENTS",
    "OPTIMIZERS",
    "SCHEDULES",
    "AdamWLoRA",
    "Best",
    "Checkpoints",
    "EagerStep",
    "FilledStep",
    "FlatParameters",
    "GraphMode",
    "JsonlTracker",
    "LoopSettings",
    "LossValidation",
    "Meter",
    "OpenTracker",
    "OptimisationSettings",
    "Outcome",
    "Schedule",
    "Snapshot",
    "Step",
    "TargetLoss",
    "TensorBoardTracker",
    "Tracker",
    "Trackers",
    "Trainer",
    "TrainingState",
    "Validation",
    "batch_loss",
    "check_graph_mode",
    "find_trackers",
    "latest_snapshot",
    "load_snapshot",
    "make_optimizer",
    "open_trackers",
    "parse_points",
    "prepare_precision",
    "save_snapshot",
    "warmup_steps",
]
