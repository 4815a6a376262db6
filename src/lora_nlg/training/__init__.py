"""The trainer: loss, optimisers, schedules, tracking, snapshots and the loop. Takes values, not command lines."""

from lora_nlg.training.loop import Trainer
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.optim import OPTIMIZERS, AdamWLoRA, FlatParameters, make_optimizer
from lora_nlg.training.schedules import SCHEDULES, Schedule, parse_points
from lora_nlg.training.settings import LoopSettings, Outcome
from lora_nlg.training.snapshots import Snapshot, latest_snapshot, load_snapshot, save_snapshot
from lora_nlg.training.step import batch_loss, prepare_precision
from lora_nlg.training.stopping import Best
from lora_nlg.training.tracking import JsonlTracker, TensorBoardTracker, Tracker, Trackers
from lora_nlg.training.validation import validation_loss

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AdamWLoRA",
    "Best",
    "FlatParameters",
    "JsonlTracker",
    "LoopSettings",
    "Outcome",
    "Schedule",
    "Snapshot",
    "TargetLoss",
    "TensorBoardTracker",
    "Tracker",
    "Trackers",
    "Trainer",
    "batch_loss",
    "latest_snapshot",
    "load_snapshot",
    "make_optimizer",
    "parse_points",
    "prepare_precision",
    "save_snapshot",
    "validation_loss",
]
