"""Dispatch: the parts of the check by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu_check import kernels, runs, speed
from gpu_check.rows import Report
from lora_nlg.distributed import pick_device


@dataclass(frozen=True)
class Setting:
    """Where a part works.

    Attributes:
        report: takes its rows.
        device: what is checked.
        folder: for files.
        is_small: no real GPU: few steps and small models, to try the check itself.
        ends: when the part will be ended, on `time.monotonic`'s clock.
    """

    report: Report
    device: torch.device
    folder: Path
    is_small: bool
    ends: float

    @property
    def name(self) -> str:
        """The device as `--device` takes it."""
        return str(self.device)


PARTS: dict[str, Callable[[Setting], None]] = {
    "versions": kernels.versions,
    "attention": kernels.attention,
    "steps": runs.steps,
    "methods": runs.methods,
    "decoding": runs.decoding,
    "golden": runs.golden,
    "repeat": runs.repeat,
    "sweep": runs.sweep,
    "ranks": runs.ranks,
    "training speed": speed.training,
    "peers": speed.peers,
    "decoding speed": speed.decoding,
    "compiled": speed.compiled,
}


def run(name: str, device: str, folder: Path, seconds: float) -> None:
    """Run one part, which will be ended after `seconds`."""
    ends = time.monotonic() + seconds
    place = pick_device(device)
    place_folder = folder / name.replace(" ", "_")
    place_folder.mkdir(parents=True, exist_ok=True)
    is_real = place.type == "cuda" and torch.version.cuda is not None
    PARTS[name](Setting(Report(name), place, place_folder, not is_real, ends))
