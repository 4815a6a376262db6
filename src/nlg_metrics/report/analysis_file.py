"""What `lora-nlg analyze` wrote of a run: its update's size, shape and dial, and what it shares with another run's.

The file lies in the run's own `analysis/`, or in that of the folder around several runs; of two that speak of the run
the newer counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_json

FILE_NAME = "analysis.json"
FILE = f"analysis/{FILE_NAME}"
"""As lora_nlg.run_folder and lora_nlg.analysis.results have it."""
FORMAT = "lora-nlg analysis 1"
MEASURES = ("loss", "bleu")
"""What a dial may have measured."""
_PART = (
    "part", "norm", "weight_norm", "relative", "effective_rank", "rank", "directions_90", "amplification",
)  # fmt: skip
_AMPLIFICATION = ("update", "own", "weight", "random", "factor")


@dataclass(frozen=True)
class Analysis:
    """A run's share of a study.

    Attributes:
        path: the file.
        run: the run's entry.
        pairs: comparisons with another run that have this one's name first or second.
    """

    path: Path
    run: Mapping[str, Any]
    pairs: list[Mapping[str, Any]]


def is_study(folder: Path) -> bool:
    """Whether a folder is what `lora-nlg analyze` wrote, and no run."""
    return Path(folder.name, FILE_NAME) == Path(FILE) and (folder / FILE_NAME).is_file()


def read_analysis(folder: Path) -> Analysis | None:
    """What there is of a run's folder; None where nothing speaks of it.

    Raises:
        InputError: a file that is no study of this form.
    """
    found = [
        analysis
        for path in (folder / FILE, folder.resolve().parent / FILE)
        if path.is_file() and (analysis := _of_run(path, folder))
    ]
    return max(found, key=lambda analysis: analysis.path.stat().st_mtime, default=None)


def _of_run(path: Path, folder: Path) -> Analysis | None:
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path} is not what this version of `lora-nlg analyze` writes; run it again")
    try:
        entries = [run for run in value["runs"] if (path.parent / run["folder"]).resolve() == folder.resolve()]
        for run in entries:
            _check(run)
        labels = {run["label"] for run in entries}
        pairs = [pair for pair in value["similarity"] if labels & {*pair["runs"]}]
        for pair in pairs:
            _check_pair(pair)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); run `lora-nlg analyze` again") from None
    return Analysis(path, entries[0], pairs) if entries else None


def _check(run: Mapping[str, Any]) -> None:
    """Look at what the page shows of a run."""
    _ = float(run["norm"])
    if not run["parts"]:
        raise ValueError("a run without parts")
    for part in run["parts"]:
        _ = [part[name] for name in _PART], [part["amplification"][name] for name in _AMPLIFICATION]
        if not isinstance(part["part"], str) or not isinstance(part["layer"], int | None):
            raise TypeError("a part without a name or a layer")
    for point in run["dial"]:
        _ = float(point["factor"])


def _check_pair(pair: Mapping[str, Any]) -> None:
    _ = pair["layer"]
    if len(pair["runs"]) != 2 or not all(isinstance(name, str) for name in pair["runs"]):
        raise ValueError("a comparison is of two runs")
    for grid in pair["grids"]:
        _ = grid["part"], grid["matrix"], float(grid["chance"])
        widths = {len([float(value) for value in row]) for row in grid["phi"]}
        if len(widths) != 1 or 0 in widths:
            raise ValueError("φ must be a table")
