"""A run's folder: the names of its files, where they lie, and how it is cleared for a run that begins.

Every room takes the names from here. nlg_metrics, which knows nothing of this package, has its own list of those it
reads (`nlg_metrics/report/run_files.py`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from lora_nlg.errors import InputError

ADAPTER, ADAPTER_DESCRIPTION = "adapter.safetensors", "adapter.json"
"""What a LoRA run trained; a folder of its own for each is all that `decode` needs beside the base."""
MODEL, MODEL_DESCRIPTION = "model", "lora_nlg.json"
"""What a run that trained everything leaves: a folder in Hugging Face's form, and the description in it."""
TOKENIZER = "tokenizer"
"""Folder of the vocabulary."""
CONFIG = "config.yaml"
"""The resolved arguments, as `--config` reads them back."""
METRICS, TENSORBOARD = "metrics.jsonl", "tb"
SNAPSHOTS, SNAPSHOT_TENSORS, SNAPSHOT_DESCRIPTION = "snapshots", "state.safetensors", "snapshot.json"
"""Folder of the snapshots, and the two files of each."""
BEST = "best"
PREDICTIONS = "predictions.jsonl"
VALIDATIONS = ("loss", "bleu")
"""Kinds of validation that pick a best model."""
_FOLDERS = (BEST, *(f"{BEST}_{kind}" for kind in VALIDATIONS), MODEL, TOKENIZER, SNAPSHOTS, TENSORBOARD)
_FILES = (
    ADAPTER, ADAPTER_DESCRIPTION, CONFIG, METRICS,
    "predictions*.jsonl", "predictions*.config.json", "predictions*.jsonl.partial", "scores*.json", "report.html",
)  # fmt: skip
_STEP = re.compile(r"step-(\d{8,})$")


def best_folder(kind: str, decides: str) -> str:
    """Where the best model by one kind of validation lies, given the kind that decides: it alone has `best`."""
    return BEST if kind == decides else f"{BEST}_{kind}"


def snapshot_name(step: int) -> str:
    """A snapshot's folder name."""
    return f"step-{step:08d}"


def snapshot_folders(folder: str | Path) -> list[Path]:
    """The snapshots in a run's `snapshots/`, oldest first; whether they are sound is not looked at."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = ((_STEP.match(path.name), path) for path in folder.iterdir())
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def ranked_predictions(predictions: str | Path, length_penalty: float) -> Path:
    """The file beside the predictions that ranks the same search by a further length penalty."""
    path = Path(predictions)
    return path.with_suffix(f".lp{length_penalty:g}{path.suffix}")


def predictions_config(predictions: str | Path) -> Path:
    """What says how predictions were made: `predictions.config.json` for `predictions.jsonl`."""
    path = Path(predictions)
    return path.with_name(path.name.removesuffix(".jsonl") + ".config.json")


def journal_folder(predictions: str | Path) -> Path:
    """Where a decode that isn't done keeps what it has found."""
    path = Path(predictions)
    return path.with_name(path.name + ".partial")


def prepare_run_folder(folder: str | Path, restart: bool) -> None:
    """Make a run's folder ready to train in.

    Args:
        folder: made if absent; what a killed run was in the middle of writing is removed from it.
        restart: remove what belongs to a run, decoded and scored files included; nothing else.

    Raises:
        InputError: it holds a trained model but no snapshot to continue from, and `restart` isn't asked for.
    """
    folder = Path(folder)
    results = [name for name in (ADAPTER, MODEL) if (folder / name).exists()]
    if restart:
        _remove(path for name in (*_FOLDERS, *_FILES) for path in folder.glob(name))
    elif results and not snapshot_folders(folder / SNAPSHOTS):
        raise InputError(
            f"`work_dir` {folder} holds {results[0]} but no snapshot to continue from; use another `work_dir` (RUN= in "
            "the scripts), or `resume` restart to overwrite it"
        )
    # Only where a run writes: a folder within may be another run's, and that one at work.
    for place in (folder, *(folder / name for name in _FOLDERS)):
        _remove([*place.glob(".*.tmp"), *place.glob(".step-*.old")])
    folder.mkdir(parents=True, exist_ok=True)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
