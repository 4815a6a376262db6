"""What a run leaves on the disk: snapshots to continue from, and the files of the model it trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.run_folder import SNAPSHOTS, best_folder, snapshot_folders
from lora_nlg.training.snapshots import Snapshot, differences, latest_snapshot, save_snapshot
from lora_nlg.training.state import TrainingState
from lora_nlg.training.stopping import Best
from lora_nlg.weights.run import saved_step

log = logging.getLogger(__name__)


class Checkpoints:
    """Writes and reads the state of a run; only rank 0 touches the disk.

    Args:
        folder: the run directory.
        state: what is saved and restored.
        identity: configuration and hashes of the inputs; a snapshot of another identity is refused.
        save_model: called with a folder and the step, writes the model's files there.
        world: the ranks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        state: TrainingState,
        identity: Mapping[str, Any],
        save_model: Callable[[Path, int], None],
        world: World,
    ) -> None:
        self.folder, self.state, self.identity = folder, state, dict(identity)
        self.save_model, self.world = save_model, world
        self._resumed_step = self._saved_step = -1

    @property
    def snapshots(self) -> Path:
        """Where snapshots lie."""
        return self.folder / SNAPSHOTS

    def resume(self) -> tuple[int, dict[str, Best]] | None:
        """Restore the newest sound snapshot, if there is one; gives its step and the best validations so far.

        Raises:
            InputError: the snapshot belongs to another configuration (all differences are listed), or none is sound.
        """
        snapshot, problem = None, ""
        if self.world.is_main:
            try:
                snapshot = latest_snapshot(self.snapshots)
                if snapshot is not None and (changed := differences(snapshot.identity, self.identity)):
                    problem = (
                        f"{self.folder} holds a run with another configuration ({'; '.join(changed)}); use the "
                        f"same values, another `work_dir` (RUN= in the scripts), or `resume` restart"
                    )
            except InputError as error:
                problem = str(error)
        header = None if snapshot is None else (snapshot.step, dict(snapshot.state))
        header, problem = self.world.from_main((header, problem))
        if problem:
            self.world.fail(problem)
        if header is None:
            return None
        step, values = header
        self.state.restore(None if snapshot is None else snapshot.tensors, values, self.world)
        for name, now in self._circumstances().items():
            if values[name] != now and self.world.is_main:
                log.warning(
                    "warning: the snapshot was taken with %s %s, now %s: the run continues, but not bit for bit",
                    values[name], name, now,
                )  # fmt: skip
        self._resumed_step = self._saved_step = step
        return step, {measure: Best(**best) for measure, best in values["best"].items()}

    def save(self, step: int, bests: Mapping[str, Best], keep_last: int) -> None:
        """Write a snapshot and the model's files, while the other ranks wait at their next reduction.

        Also called by a run that is resumed at its last step: one killed between the two lacks the model's files.

        Args:
            step: the last one taken.
            bests: measure -> the best validation so far.
            keep_last: snapshots to keep.
        """
        if not self.world.is_main:
            return
        if step != self._saved_step:
            tensors, values = self.state.capture()
            best = {measure: asdict(best) for measure, best in bests.items()}
            state = {"best": best, **values, **self._circumstances()}
            save_snapshot(self.snapshots, Snapshot(step, tensors, state, self.identity), keep_last)
            self._saved_step = step
        self._save_model(self.folder, step)

    def save_best(self, step: int, measure: str, best_by: str) -> None:
        """Keep the model that is the best by a measure: in best/ if that one decides, else in a folder of its own."""
        if self.world.is_main:
            self._save_model(self.folder / best_folder(measure, best_by), step)

    def newest(self) -> Path | None:
        """The newest snapshot, sound or not."""
        return next(reversed(snapshot_folders(self.snapshots)), None) if self.world.is_main else None

    def _save_model(self, folder: Path, step: int) -> None:
        # A run started again at its last step leaves its files alone: their times tell which results are older.
        if step > self._resumed_step or saved_step(folder) != step:
            self.save_model(folder, step)

    def _circumstances(self) -> dict[str, int]:
        """What a run must have in common with its snapshot to continue bit for bit."""
        return {"ranks": self.world.size, "threads": torch.get_num_threads()}
