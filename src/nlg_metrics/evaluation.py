"""One pass over the segments gives every number: corpus scores, subsets, intervals, segment scores.

The suites and the comparison of two systems share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric, Score, check_segments
from nlg_metrics.significance import LEVEL, RESAMPLES, SEED, Interval, bootstrap_interval


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: number of resamples (0: no interval), seed and coverage."""

    resamples: int = RESAMPLES
    seed: int = SEED
    level: float = LEVEL


@dataclass(frozen=True)
class Result:
    """What one metric says about one system.

    Attributes:
        metric: the metric, for further aggregation.
        score: the corpus score.
        interval: its bootstrap interval, or None where it was not asked for or a resample has no score.
        statistics: additive statistics, shape (N, K).
    """

    metric: Metric
    score: Score
    interval: Interval | None
    statistics: Array

    def segment_scores(self) -> Array:
        """A score for each segment alone, shape (N,)."""
        return self.metric.segment_scores(self.statistics)

    @property
    def caveat(self) -> str:
        """Why the score means nothing; empty where it means what it says."""
        return self.metric.caveat(self.statistics)


def evaluate(
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    bootstrap: Bootstrap | None = None,
    contexts: Sequence[str] = (),
) -> Result:
    """Score one system with one metric.

    Args:
        metric: the metric.
        hypotheses: N texts.
        references: N lists of reference texts.
        bootstrap: how to make the interval; default 1,000 resamples, seed 12345, 95%.
        contexts: N inputs, for a metric that needs them.

    Raises:
        InputError: the two have different lengths, are empty, or a segment has no reference.
    """
    check_segments(hypotheses, references)
    return from_statistics(metric, metric.measure(hypotheses, references, contexts), references, bootstrap)


def from_statistics(
    metric: Metric,
    statistics: Array,
    references: Sequence[Sequence[str]],
    bootstrap: Bootstrap | None = None,
) -> Result:
    """As `evaluate`, from statistics (N, K) that are there already, for example those of a subset.

    A subset may be taken by rows only where a segment's statistics don't depend on the other segments.
    (CIDEr's and NIST's do, through document frequencies and n-gram information.)
    """
    bootstrap = bootstrap or Bootstrap()
    totals = statistics.sum(axis=0)
    score = Score(metric.name, float(metric.aggregate(totals)), metric.parts(totals), metric.signature(references))
    interval = None
    if bootstrap.resamples:
        interval = bootstrap_interval(
            metric.aggregate, statistics, bootstrap.resamples, bootstrap.seed, bootstrap.level
        )
        # A score that is undefined on a resample, such as NIST on outputs too short for its n-grams, has no interval.
        if not np.isfinite([interval.low, interval.high]).all():
            interval = None
    return Result(metric, score, interval, statistics)


def labelled(result: Result, labels: Mapping[str, str]) -> Result:
    """The result with `|key:value` for each label in its signature: how the texts were prepared before scoring."""
    signature = "|".join([result.score.signature, *(f"{key}:{value}" for key, value in labels.items())])
    return replace(result, score=replace(result.score, signature=signature))


def segment_rows(ids: Sequence[str], results: dict[str, Result]) -> Iterator[dict[str, Any]]:
    """One `{"id", metric: score, …}` for each segment, for a JSON lines file of per-segment scores."""
    columns = {name: np.asarray(result.segment_scores()) for name, result in results.items()}
    for row, id_ in enumerate(ids):
        yield {"id": id_, **{name: float(column[row]) for name, column in columns.items()}}
