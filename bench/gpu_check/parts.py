"""Dispatch: the parts of the check by name."""

from __future__ import annotations

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
    """

    report: Report
    device: torch.device
    folder: Path
    is_small: bool

    @property
    def name(self) -> str:
        """The device as `--device` takes it."""
        return str(self.device)


PARTS: dict[str, Callable[[Setting], None]] = {
    "versions": kernels.versions,
    "attention": kernels.attention,
    "steps": runs.steps,
    "training speed": speed.training,
    "decoding": runs.decoding,
    "decoding speed": speed.decoding,
    "peers": speed.peers,
    "golden": runs.golden,
    "repeat": runs.repeat,
    "sweep": runs.sweep,
    "ranks": runs.ranks,
}


def run(name: str, device: str, folder: Path) -> None:
    """Run one part."""
    place = pick_device(device)
    place_folder = folder / name.replace(" ", "_")
    place_folder.mkdir(parents=True, exist_ok=True)
    is_real = place.type == "cuda" and torch.version.cuda is not None
    PARTS[name](Setting(Report(name), place, place_folder, not is_real))
