"""Tuning methods compared: what scripts/methods.sh leaves, read and put side by side.

A folder holds `methods.json` (from `lora-nlg methods`: what each trains), `rates/METHOD/RATE/` (short runs that try a
learning rate) and `METHOD/seed-S/` (runs, decoded and scored). A part counts once it has a file `done`.

Significance: a method's statistics are averaged over its seeds, segment by segment, and segments are resampled (paired
bootstrap, see `significance`), so a test asks whether other inputs would turn the difference round. It can't say what
other seeds would do; the deviation over seeds does. p-values of all methods and metrics are corrected together (Holm).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Result
from nlg_metrics.files import read_json
from nlg_metrics.metrics.base import Array
from nlg_metrics.report.published import COLUMNS, KEYS, PUBLISHED, SUBSETS, PublishedRow, unit
from nlg_metrics.report.run_files import METRICS, RunFiles, read_log, read_run
from nlg_metrics.report.systems import System, score_systems
from nlg_metrics.significance import LEVEL, bootstrap_scores, holm, p_value

RESAMPLES = 10_000
"""Of the tests: the smallest p-value, 1e-4, must outlast the correction for some hundred comparisons."""
DONE = "done"
REFERENCE = "lora"
"""The method that the others are tested against."""


@dataclass(frozen=True)
class Score:
    """A method's score on one column, in the papers' units.

    Attributes:
        values: of each seed.
        low, high: the bootstrap interval of the pooled seeds.
        p: against `REFERENCE`, corrected; None for itself.
    """

    values: list[float]
    low: float
    high: float
    p: float | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; None of one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass
class Compared:
    """One method.

    Attributes:
        name, title: of the preset.
        published: beginnings of the published rows' names that are this method.
        trained, kept: parameters that train, and of those that are kept.
        rates: learning rate, as it was written → validation loss of the short run; infinite where it diverged.
        runs: seed → its run.
        scores: column → score; a column that isn't defined for a seed's outputs is absent.
    """

    name: str
    title: str
    published: Sequence[str]
    trained: int
    kept: int
    rates: Mapping[str, float]
    runs: Mapping[int, RunFiles]
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """The learning rate of the runs."""
        return float(next(iter(self.runs.values())).settings["lr"])

    @property
    def rate_is_at_the_edge(self) -> bool:
        """Whether the best rate is the lowest or highest tried, so that a better one may lie beyond."""
        tried = sorted(map(float, self.rates))
        return len(tried) > 1 and self.rate in (tried[0], tried[-1])

    @property
    def seconds_a_step(self) -> float:
        """Median over the log's intervals, mean over the seeds."""
        return statistics.fmean(_seconds_a_step(run) for run in self.runs.values())

    @property
    def peak_memory_mib(self) -> float:
        """The most memory a run's process held while training."""
        return max(max(_series(run, "speed", "peak_memory_mib"), default=math.nan) for run in self.runs.values())

    @property
    def bytes_on_disk(self) -> int:
        """Of what is decoded: the adapter, or the whole model."""
        best = next(iter(self.runs.values())).folder / "best"
        files = [*best.glob("adapter.*"), *best.glob("model/model*.safetensors")]
        return sum(file.stat().st_size for file in files)


def tried_rates(root: Path, method: str) -> dict[str, float]:
    """Learning rate, as its folder is named → validation loss at the end of its short run, lowest rate first.

    Raises:
        InputError: none is done.
    """
    folders = [path.parent for path in (root / "rates" / method).glob(f"*/{DONE}")]
    if not folders:
        raise InputError(f"no learning rate was tried under {root / 'rates' / method}; run scripts/methods.sh")
    return {folder.name: _last_loss(folder) for folder in sorted(folders, key=lambda folder: float(folder.name))}


def best_rate(root: Path, method: str) -> str:
    """The rate with the lowest validation loss.

    Raises:
        InputError: none was tried, or all diverged.
    """
    rates = tried_rates(root, method)
    best = min(rates, key=lambda rate: rates[rate])
    if not math.isfinite(rates[best]):
        raise InputError(f"{method} diverged at every learning rate tried ({', '.join(rates)}); try lower ones (GRID)")
    return best


def _last_loss(folder: Path) -> float:
    """Infinite where the run ended before its validation, because its loss was no longer finite."""
    series = read_log(folder / METRICS).series.get("valid", {}).get("loss")
    loss = series.values[-1] if series else math.inf
    return loss if math.isfinite(loss) else math.inf


def read_methods(root: Path) -> list[Compared]:
    """Every method with a run that is done, in the order of `methods.json`.

    Raises:
        InputError: no list of methods, or no run that is done.
    """
    listed = read_json(root / "methods.json")
    found = []
    try:
        for entry in listed["methods"]:
            folders = {int(path.parent.name[5:]): path.parent for path in (root / entry["name"]).glob(f"seed-*/{DONE}")}
            if folders:
                runs = {seed: read_run(folders[seed]) for seed in sorted(folders)}
                rates = tried_rates(root, entry["name"])
                said = {key: entry[key] for key in ("name", "title", "published", "trained", "kept")}
                found.append(Compared(**said, rates=rates, runs=runs))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{root / 'methods.json'} is not what `lora-nlg methods` writes: {error!r}") from None
    if not found:
        raise InputError(f"no method under {root} has a run that is done; run scripts/methods.sh")
    return found


def score_methods(methods: Sequence[Compared], corpus: str, data: Path, resamples: int = RESAMPLES) -> list[str]:
    """Fill in every method's scores.

    Args:
        methods: from `read_methods`; `REFERENCE` should be among them, or nothing is tested.
        corpus: of `COLUMNS`.
        data: the records that were decoded.
        resamples: of the bootstrap.

    Returns:
        The columns: the papers', then the suite's other metrics.

    Raises:
        InputError: data and predictions don't pair.
    """
    outputs = {f"{one.name}/{seed}": run.predictions or "" for one in methods for seed, run in one.runs.items()}
    systems = {system.label: system for system in score_systems(data, outputs, corpus).systems}
    columns = _columns(corpus, list(systems.values()))
    drawn: dict[tuple[str, str], tuple[float, Array]] = {}
    for one in methods:
        seeds = [systems[f"{one.name}/{seed}"] for seed in one.runs]
        for column in columns:
            results = [result for system in seeds if (result := _result(corpus, column, system))]
            if len(results) < len(seeds):
                continue
            scale = unit(corpus, column)
            aggregate = results[0].metric.aggregate
            pooled = np.mean([result.statistics for result in results], axis=0)
            scores = scale * bootstrap_scores(aggregate, pooled, resamples)
            drawn[one.name, column] = scale * float(aggregate(pooled.sum(axis=0))), scores
            low, high = np.percentile(scores, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
            one.scores[column] = Score([scale * result.score.value for result in results], float(low), float(high))
    if any(one.name == REFERENCE for one in methods):
        _test(methods, columns, drawn)
    return columns


def _test(
    methods: Sequence[Compared], columns: Sequence[str], drawn: Mapping[tuple[str, str], tuple[float, Array]]
) -> None:
    """Put the corrected p-values against the reference in place."""
    others = [one for one in methods if one.name != REFERENCE]
    places = [
        (one, column) for one in others for column in columns
        if (one.name, column) in drawn and (REFERENCE, column) in drawn
    ]  # fmt: skip
    found = []
    for one, column in places:
        (value, scores), (reference, reference_scores) = drawn[one.name, column], drawn[REFERENCE, column]
        differences = scores - reference_scores
        found.append(p_value(differences - differences.mean(), value - reference))
    for (one, column), p in zip(places, holm(found), strict=True):
        score = one.scores[column]
        one.scores[column] = Score(score.values, score.low, score.high, p)


def _columns(corpus: str, systems: Sequence[System]) -> list[str]:
    """The papers' columns that were computed, and the names of the other metrics."""
    papers = [column for column in COLUMNS[corpus] if any(_result(corpus, column, system) for system in systems)]
    others = dict.fromkeys(key for system in systems for key in system.outcome.results)
    return papers + [key for key in others if key not in KEYS[corpus].values()]


def _result(corpus: str, column: str, system: System) -> Result | None:
    metric, _, subset = column.partition(" ")
    name = SUBSETS.get(subset) if subset else None
    results: Mapping[str, Result] = system.outcome.subsets.get(name, {}) if name else system.outcome.results
    return results.get(KEYS[corpus].get(metric, column))


def _series(run: RunFiles, kind: str, name: str) -> list[float]:
    series = run.log.series.get(kind, {}).get(name) if run.log else None
    return [value for value in series.values if math.isfinite(value)] if series else []


def _seconds_a_step(run: RunFiles) -> float:
    series = run.log.series.get("speed", {}).get("seconds") if run.log else None
    if series is None:
        return math.nan
    ends = [0, *series.steps]
    taken = [
        value / (end - begin)
        for begin, end, value in zip(ends, series.steps, series.values, strict=False)
        if end > begin
    ]
    return statistics.median(taken) if taken else math.nan


def published_rows(corpus: str, one: Compared) -> list[PublishedRow]:
    """The published rows of a method."""
    return [row for row in PUBLISHED[corpus] if row.method.startswith(tuple(one.published))]
