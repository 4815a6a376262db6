"""Where a run's numbers go: `metrics.jsonl` for scripts; TensorBoard, wandb and others for people; one protocol.

A line of `metrics.jsonl` is `{"kind": "train" | "valid" | "speed" | …, "step": …, …}`. Lines of a kind other than
`speed` hold nothing that depends on the clock, so a resumed run writes the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Protocol

from lora_nlg.errors import InputError, first_line
from lora_nlg.files import atomic_write
from lora_nlg.run_folder import METRICS, TENSORBOARD

Values = Mapping[str, float]
log = logging.getLogger(__name__)


class Tracker(Protocol):
    """What the training loop tells numbers to; rank 0 has one."""

    def log(self, kind: str, step: int, values: Values) -> None:
        """Note values of one kind (`train`, `valid`, `speed`, `update`) at a step."""
        ...

    def text(self, kind: str, step: int, name: str, text: str) -> None:
        """Note a piece of text, such as a generated sample."""
        ...

    def flush(self) -> None:
        """Make everything noted so far survive a crash."""
        ...

    def close(self) -> None:
        """Flush and let go of files."""
        ...


class JsonlTracker:
    """`metrics.jsonl`: one JSON object a line.

    Args:
        path: the file; continued if it exists.
        after: the last step whose lines are kept: what a resumed run will write again is cut off first.
    """

    def __init__(self, path: str | Path, after: int = 0) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            kept = [line for line, step in _sound_lines(self.path) if step <= after]
            with atomic_write(self.path) as file:
                file.writelines(kept if after else [])
        self._file: IO[str] = open(self.path, "a", encoding="utf-8")  # noqa: SIM115

    def log(self, kind: str, step: int, values: Values) -> None:
        """See `Tracker.log`."""
        self._file.write(json.dumps({"kind": kind, "step": step, **values}, allow_nan=True) + "\n")

    def text(self, kind: str, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        self._file.write(
            json.dumps({"kind": kind, "step": step, "name": name, "text": text}, ensure_ascii=False) + "\n"
        )

    def flush(self) -> None:
        """See `Tracker.flush`."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """See `Tracker.close`."""
        self._file.close()


def _sound_lines(path: Path) -> Iterable[tuple[str, int]]:
    """Lines with their steps. Others are left out, and said, save for the last: a kill can leave half a line."""
    bad, torn = 0, False
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            step = _step_of(line)
            if step is not None:
                yield line if line.endswith("\n") else line + "\n", step
            bad, torn = bad + (step is None), step is None and not line.endswith("\n")
    if bad > torn:
        log.warning("warning: %d lines of %s are damaged and left out; the others are kept", bad - torn, path)


def _step_of(line: str) -> int | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = value.get("step") if isinstance(value, dict) else None
    return step if isinstance(step, int) and not isinstance(step, bool) else None


class TensorBoardTracker:
    """TensorBoard event files.

    Args:
        folder: where they go.
        after: on resuming, the last step kept; later ones of earlier files are hidden by TensorBoard.
    """

    def __init__(self, folder: str | Path, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def log(self, kind: str, step: int, values: Values) -> None:
        """See `Tracker.log`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def text(self, kind: str, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        self._writer.add_text(f"{kind}/{name}", text, step)

    def flush(self) -> None:
        """See `Tracker.flush`."""
        self._writer.flush()

    def close(self) -> None:
        """See `Tracker.close`."""
        self._writer.close()


class Trackers:
    """Several trackers as one; none of them on ranks that don't write."""

    def __init__(self, *trackers: Tracker) -> None:
        self.trackers = trackers

    def log(self, kind: str, step: int, values: Values) -> None:
        """See `Tracker.log`."""
        for tracker in self.trackers:
            tracker.log(kind, step, values)

    def text(self, kind: str, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        for tracker in self.trackers:
            tracker.text(kind, step, name, text)

    def flush(self) -> None:
        """See `Tracker.flush`."""
        for tracker in self.trackers:
            tracker.flush()

    def close(self) -> None:
        """See `Tracker.close`."""
        for tracker in self.trackers:
            tracker.close()


OpenTracker = Callable[[Path, int, Mapping[str, Any]], Tracker]
"""(the run directory, the last step whose numbers are kept, the run's settings by field) -> where numbers go."""
GROUP = "lora_nlg.trackers"
"""Entry points of this group, each an `OpenTracker`, are trackers by their names."""


def _open_tensorboard(folder: Path, after: int, settings: Mapping[str, Any]) -> Tracker:
    return TensorBoardTracker(folder / TENSORBOARD, after)


def _open_wandb(folder: Path, after: int, settings: Mapping[str, Any]) -> Tracker:
    from lora_nlg.training.wandb_tracker import WandbTracker

    return WandbTracker(folder, settings)


_BUILT_IN: dict[str, OpenTracker] = {"tensorboard": _open_tensorboard, "wandb": _open_wandb}


def find_trackers(report_to: str) -> list[OpenTracker]:
    """What opens the trackers that are asked for beside `metrics.jsonl`, found before anything else is done.

    Args:
        report_to: names, comma-separated: `tensorboard`, `wandb`, or what an installed package registers under
            `lora_nlg.trackers`; `none` for none.

    Raises:
        InputError: an unknown name, or what it needs isn't installed.
    """
    names = list(dict.fromkeys(name.strip() for name in report_to.split(",") if name.strip()))
    if names in ([], ["none"]):
        return []
    others = {point.name: point for point in entry_points(group=GROUP)}
    found = []
    for name in names:
        if name not in _BUILT_IN and name not in others:
            known = ", ".join([*_BUILT_IN, *others])
            raise InputError(f"`report_to` knows no tracker {name!r}; choose from {known}, or none alone")
        if name == "wandb" and find_spec("wandb") is None:
            raise InputError("`report_to` wandb needs a package that isn't installed: pip install 'lora-nlg[wandb]'")
        try:
            found.append(_BUILT_IN[name] if name in _BUILT_IN else others[name].load())
        except Exception as error:  # another package's code, at its import
            raise InputError(f"`report_to` {name} can't be loaded: {first_line(error)}") from error
    return found


def open_trackers(found: Iterable[OpenTracker], folder: Path, after: int, settings: Mapping[str, Any]) -> Trackers:
    """What a run directory records, and where else its numbers go.

    Args:
        found: see `find_trackers`.
        folder: the run directory, whose `metrics.jsonl` there always is.
        after: the last step whose numbers are kept.
        settings: the run's, by field.
    """
    return Trackers(JsonlTracker(folder / METRICS, after), *(open_(folder, after, settings) for open_ in found))
