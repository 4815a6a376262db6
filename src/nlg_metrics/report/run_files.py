"""What a run directory says about itself, read for the report: curves, samples, settings, scores and outputs.

Every file is optional, for a report can be made while training still runs; what is absent is left out. The layouts are
those of `lora-nlg train`, `lora-nlg decode` and the scorers.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.files import parse_json, read_json, read_text
from nlg_metrics.report.analysis_file import Analysis, read_analysis
from nlg_metrics.scores_file import read_scores

# Names of files in a run directory, as lora_nlg.run_folder has them.
CONFIG = "config.yaml"
ADAPTER = "adapter.json"
ADAPTER_WEIGHTS = "adapter.safetensors"
METRICS = "metrics.jsonl"
PREDICTIONS = "predictions.jsonl"
SCORES = "scores*.json"
REPORT = "report.html"
MOST_STEPS = 10**12
"""No run has more; larger numbers can't be drawn."""

_LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it


@dataclass
class Series:
    """One number over the steps of training; values may be infinite or NaN."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass
class TrainingLog:
    """`metrics.jsonl`.

    Attributes:
        series: kind ("train", "valid", "speed", …) -> name ("loss", "lr", …) -> series.
        texts: texts noted in training: step, kind, name and text.
    """

    series: dict[str, dict[str, Series]] = field(default_factory=dict)
    texts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """The largest step of any series, 0 where there is none."""
        return max((one.steps[-1] for named in self.series.values() for one in named.values()), default=0)


@dataclass
class RunFiles:
    """What was found in a run directory; None or empty where a file is absent.

    Attributes:
        folder: the directory.
        config: text of config.yaml.
        settings: value of config.yaml, name -> value.
        adapter: value of adapter.json.
        parameters: how many numbers the adapter holds.
        log: metrics.jsonl.
        scores: file name -> record of a scores file.
        predictions: path of the predictions file.
        analysis: what `lora-nlg analyze` says of the run.
    """

    folder: Path
    config: str | None
    settings: dict[str, Any]
    adapter: dict[str, Any] | None
    parameters: int | None
    log: TrainingLog | None
    scores: dict[str, dict[str, Any]]
    predictions: Path | None
    analysis: Analysis | None = None


def is_run(folder: Path) -> bool:
    """Whether a folder holds anything to report on."""
    return any((folder / name).is_file() for name in (METRICS, PREDICTIONS)) or any(folder.glob(SCORES))


def read_run(folder: str | Path, predictions: str | Path | None = None) -> RunFiles:
    """Read what there is.

    Args:
        folder: the run directory.
        predictions: predictions file; default: predictions.jsonl in the directory, if it is there.

    Raises:
        InputError: no such directory, nothing in it to report on, or a file that is there can't be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"no run directory {path}; give the `work_dir` of lora-nlg train")
    if not is_run(path) and predictions is None:
        raise InputError(f"{path} has neither {METRICS}, {PREDICTIONS} nor {SCORES}; train, decode or score first")
    config = read_text(path / CONFIG) if (path / CONFIG).is_file() else None
    outputs = Path(predictions) if predictions else path / PREDICTIONS
    return RunFiles(
        path,
        config,
        _settings(config, path / CONFIG),
        _adapter(path / ADAPTER),
        _parameters(path / ADAPTER_WEIGHTS),
        read_log(path / METRICS) if (path / METRICS).is_file() else None,
        {str(name.relative_to(path)): _scores(name) for name in sorted(path.glob(SCORES))},
        outputs if predictions or outputs.is_file() else None,
        read_analysis(path),
    )


def _settings(config: str | None, path: Path) -> dict[str, Any]:
    if config is None:
        return {}
    yaml = importlib.import_module("yaml")
    try:
        value = yaml.safe_load(config)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputError(f"{path} is not YAML; it is written by lora-nlg train") from None
    return {str(name): setting for name, setting in value.items()} if isinstance(value, dict) else {}


def _parameters(path: Path) -> int | None:
    """How many numbers a safetensors file holds, by its header (https://huggingface.co/docs/safetensors)."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _scores(path: Path) -> dict[str, Any]:
    """A scores file that has what the page shows beside the values: names, signatures and the files' hashes."""
    record = read_scores(path)
    try:
        parts = [record["scores"], *(part["scores"] for part in record.get("subsets", {}).values())]
        _ = [(entry["name"], entry["signature"]) for scores in parts for entry in scores.values()]
        _ = [(file["path"], file["sha256"]) for file in record["files"].values()]
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not a record of scores as a scorer's `scores` writes it ({reason})") from None
    return record


def _adapter(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not an adapter's description: a JSON object is expected")
    targets = value.get("targets", {})
    for name, target in targets.items() if isinstance(targets, dict) else ():
        if not isinstance(target, dict) or not all(map(_is_number, map(target.get, ("r", "alpha", "scaling")))):
            raise InputError(f"{path}: target {name!r} needs numbers r, alpha and scaling")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_log(path: str | Path) -> TrainingLog:
    """Read a `metrics.jsonl`; an unfinished last line (the run is still writing) is left out.

    Raises:
        InputError: the file is absent or another line is not a log line; the message names it.
    """
    log = TrainingLog()
    for line in _log_lines(path):
        kind, step = str(line["kind"]), int(line["step"])
        if isinstance(line.get("text"), str):
            log.texts.append({"step": step, "kind": kind, "name": str(line.get("name", "")), "text": line["text"]})
            continue
        for name, value in line.items():
            if name in ("kind", "step") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            one = log.series.setdefault(kind, {}).setdefault(name, Series())
            one.steps.append(step)
            one.values.append(_number(value))
    return log


def _number(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON's integers have no limit
        return math.inf if value > 0 else -math.inf


def _log_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    lines = read_text(path).split("\n")
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            value = parse_json(text)
        except InputError as error:
            if number == len(lines):
                return
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(value, dict) or "kind" not in value or not isinstance(value.get("step"), int):
            raise InputError(f'{path}, line {number}: a log line needs "kind" and "step"')
        if not 0 <= value["step"] <= MOST_STEPS:
            raise InputError(f'{path}, line {number}: "step" must be 0 to {MOST_STEPS:,}')
        yield value


def smoothed(values: list[float], share: float = 0.02) -> list[float]:
    """A running mean over the nearest `share` of the values, for noisy curves; NaN and infinity are left out."""
    reach = round(share * len(values) / 2)
    sums, counts = [0.0], [0]
    for value in values:
        finite = math.isfinite(value)
        sums.append(sums[-1] + (value if finite else 0.0))
        counts.append(counts[-1] + finite)
    means = []
    for place in range(len(values)):
        first, last = max(0, place - reach), min(len(values), place + reach + 1)
        count = counts[last] - counts[first]
        means.append((sums[last] - sums[first]) / count if count else math.nan)
    return means
