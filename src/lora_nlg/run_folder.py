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
WANDB_ID = "wandb-run-id"
"""Names the wandb run that a resumed run continues."""
SNAPSHOTS, SNAPSHOT_TENSORS, SNAPSHOT_DESCRIPTION = "snapshots", "state.safetensors", "snapshot.json"
"""Folder of the snapshots, and the two files of each."""
RECORDS = "records"
"""Folder of the data that a run was given in memory: an input, which a restart leaves alone."""
MEMBER = "member.json"
"""The result of a run that `lora-nlg sweep` trained; alone, that of one that diverged."""
BEST = "best"
PREDICTIONS = "predictions.jsonl"
ANALYSIS = "analysis"
"""Folder of what `lora-nlg analyze` says of the run."""
VALIDATIONS = ("loss", "bleu")
"""Kinds of validation that pick a best model."""
_VOCABULARY = (
    "vocab.json", "merges.txt", "sentencepiece.model", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_WHOLE_MODEL = ("model.safetensors", "config.json", "generation_config.json", MODEL_DESCRIPTION, *_VOCABULARY)
_BEST_FILES = (ADAPTER, ADAPTER_DESCRIPTION, *(f"{MODEL}/{name}" for name in _WHOLE_MODEL))
_OWN = {
    "": (
        ADAPTER, ADAPTER_DESCRIPTION, CONFIG, METRICS, WANDB_ID, "predictions*.jsonl", "predictions*.config.json",
        "predictions*.jsonl.partial/rank-*.jsonl", "scores*.json", "report.html",
    ),
    MODEL: _WHOLE_MODEL,
    **dict.fromkeys((BEST, *(f"{BEST}_{kind}" for kind in VALIDATIONS)), _BEST_FILES),
    TOKENIZER: _VOCABULARY,
    SNAPSHOTS: ("step-*",),
    TENSORBOARD: ("events*",),
    ANALYSIS: (
        "analysis.json", "analysis.md", "dial.png", "size.png", "spectrum.png", "amplification.png", "similarity-*.png",
    ),
}  # fmt: skip
"""What a run writes: in its folder, and in each folder within."""
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


def run_lock(folder: str | Path) -> Path:
    """The file that a process locks while it trains in a run's folder."""
    return Path(folder) / ".lock"


def predictions_lock(predictions: str | Path) -> Path:
    """The file that a process locks while it decodes into a predictions file."""
    path = Path(predictions)
    return path.with_name(f".{path.name}.lock")


def journal_folder(predictions: str | Path) -> Path:
    """Where a decode that isn't done keeps what it has found."""
    path = Path(predictions)
    return path.with_name(path.name + ".partial")


def prepare_run_folder(folder: str | Path, restart: bool) -> list[str]:
    """Make a run's folder ready to train in.

    Args:
        folder: made if absent; what a killed run was in the middle of writing is removed from it.
        restart: remove what the record of a run shows to be the run's, decoded and scored files included; nothing else.

    Returns:
        What a restart did, in lines for people.

    Raises:
        InputError: it holds files that a run would write over and that no run's record speaks of, or a trained model
            but no snapshot to continue from, and `restart` isn't asked for.
    """
    folder = Path(folder)
    named = {path.relative_to(folder).parts[0] for place in _OWN for path in _named(folder, place)}
    # Arguments and a vocabulary may be there to start from; they are only written over by their like.
    strangers = sorted(named if restart else named & {ADAPTER, *_OWN} - {TOKENIZER, TENSORBOARD})
    if strangers and not _is_run(folder):
        raise InputError(
            f"`work_dir` {folder} holds {', '.join(strangers)}, but no record of a run (such as {CONFIG}) that says a "
            "run wrote them; they are left alone: use another `work_dir` (RUN= in the scripts)"
        )
    results = [name for name in (ADAPTER, MODEL) if (folder / name).exists()]
    if results and not restart and not snapshot_folders(folder / SNAPSHOTS):
        raise InputError(
            f"`work_dir` {folder} holds {results[0]} but no snapshot to continue from; use another `work_dir` (RUN= in "
            "the scripts), or `resume` restart to overwrite it"
        )
    for place, patterns in _OWN.items():
        for name in patterns:
            _remove((folder / place).glob(f".{name}.*.tmp"))
    _remove([*(folder / SNAPSHOTS).glob(".step-*.tmp"), *(folder / SNAPSHOTS).glob(".step-*.old")])
    folder.mkdir(parents=True, exist_ok=True)
    return _clear(folder) if restart else []


def _named(folder: Path, place: str) -> list[Path]:
    """What bears a name that a run writes in its folder or in one within."""
    return sorted(path for name in _OWN[place] for path in (folder / place).glob(name))


def _is_run(folder: Path) -> bool:
    """Whether a record of a run is there: its arguments, the description of what it trained, or a snapshot."""
    config = _text(folder / CONFIG)
    if all(re.search(rf"^{name}:", config, re.MULTILINE) for name in ("train_data", "work_dir", "lora_dim")):
        return True
    descriptions = [folder / ADAPTER_DESCRIPTION, folder / MODEL / MODEL_DESCRIPTION]
    descriptions += [path / SNAPSHOT_DESCRIPTION for path in snapshot_folders(folder / SNAPSHOTS)]
    return any('"format": "lora-nlg ' in _text(path) for path in descriptions)


def _is_the_runs(folder: Path, place: str) -> bool:
    """Whether a folder within a run's, which may have been there before it, holds a model the run wrote."""
    if place == MODEL:
        everything = re.search("^(lora_dim: 0|method: full)$", _text(folder / CONFIG), re.MULTILINE)
        return everything is not None or (folder / MODEL / MODEL_DESCRIPTION).is_file()
    if place.startswith(BEST):
        return any((folder / place / name).is_file() for name in (ADAPTER_DESCRIPTION, f"{MODEL}/{MODEL_DESCRIPTION}"))
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _clear(folder: Path) -> list[str]:
    """Remove what a run wrote; says what went, and what bears such a name but stays."""
    own = [path for place in _OWN if _is_the_runs(folder, place) for path in _named(folder, place)]
    gone = sorted({path.relative_to(folder).parts[0] for path in own})
    _remove(own)
    places = [folder / place / MODEL for place in _OWN if place.startswith(BEST)]
    for path in [*places, *(folder / place for place in _OWN if place), *folder.glob("predictions*.jsonl.partial")]:
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    left = sorted(place for place in _OWN if place and (folder / place).exists())
    said = [f"restart: removed the old run's {', '.join(gone)} from {folder}"] if gone else []
    return said + ([f"restart: left alone what else is in {', '.join(left)}: no run wrote it"] if left else [])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
