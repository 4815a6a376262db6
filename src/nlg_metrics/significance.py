"""Confidence intervals and paired tests from additive statistics; no metric is computed twice.

Bootstrap resampling of segments: Koehn 2004 (https://aclanthology.org/W04-3250); its p-value centred at the
mean of the resampled differences: Riezler & Maxwell 2005 (https://aclanthology.org/W05-0908); approximate
randomisation: Noreen 1989 as used there. A resample is a row of segment counts, so 1,000 of them are one
matrix product per metric, and because the counts depend on the seed and the number of segments alone, every
metric and system sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array

Aggregate = Callable[[Array], Array]

RESAMPLES = 1000
TRIALS = 10_000
SEED = 12345
LEVEL = 0.95
MOST_DRAWS = 1_000_000
_MOST_COUNTS = 250_000_000  # resamples x segments: 2 GB
_BLOCK = 500  # rows of a count or swap matrix held at a time: 500 x 5,000 segments are 20 MB


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval: its ends, level (0.95), number of resamples and seed."""

    low: float
    high: float
    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED


@dataclass(frozen=True)
class PairedTest:
    """How two systems differ on one metric.

    Attributes:
        difference: score of A minus score of B.
        bootstrap: two-sided p-value of the paired bootstrap test.
        randomization: two-sided p-value of approximate randomisation.
        interval: bootstrap interval of the difference.
    """

    difference: float
    bootstrap: float
    randomization: float
    interval: Interval


@lru_cache(maxsize=4)  # all segments, seen, unseen: 40 MB for 5,000 segments
def resample_counts(segments: int, resamples: int = RESAMPLES, seed: int = SEED) -> Array:
    """How often each resample draws each segment, shape (resamples, segments); rows sum to `segments`.

    Raises:
        InputError: a number of resamples or a seed that can't be used, or too many resamples of so many segments.
    """
    check_draws(resamples, seed)
    if resamples * segments > _MOST_COUNTS:
        raise InputError(
            f"{resamples:,} resamples of {segments:,} segments don't fit into memory; give at most "
            f"{_MOST_COUNTS // segments:,} (1,000 is usual)"
        )
    draw = np.random.default_rng(seed)
    counts = np.empty((resamples, segments), dtype=np.float64)
    for row in range(resamples):
        counts[row] = np.bincount(draw.integers(0, segments, size=segments), minlength=segments)
    counts.setflags(write=False)
    return counts


def bootstrap_scores(aggregate: Aggregate, statistics: Array, resamples: int = RESAMPLES, seed: int = SEED) -> Array:
    """The scores of `resamples` draws of N segments with replacement.

    Args:
        aggregate: column sums (R, K) -> scores (R,).
        statistics: additive statistics, shape (N, K).
        resamples: number of draws, default 1,000.
        seed: of the draws, default 12345; equal seeds draw equal segments for every metric and system.

    Returns:
        Shape (resamples,).
    """
    _check(statistics, resamples)
    return aggregate(resample_counts(len(statistics), resamples, seed) @ statistics)


def bootstrap_interval(
    aggregate: Aggregate,
    statistics: Array,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of `bootstrap_scores`, which explains the arguments; `level` is its coverage.

    Raises:
        InputError: no segment, no resample, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise InputError(f"confidence level {level} is not between 0 and 1; 0.95 is usual")
    return _percentiles(bootstrap_scores(aggregate, statistics, resamples, seed), resamples, seed, level)


def _percentiles(scores: Array, resamples: int, seed: int, level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(scores, [tail, 100 - tail])
    return Interval(float(low), float(high), level, resamples, seed)


def paired_test(
    aggregate: Aggregate,
    first: Array,
    second: Array,
    resamples: int = RESAMPLES,
    trials: int = TRIALS,
    seed: int = SEED,
    level: float = LEVEL,
) -> PairedTest:
    """Test whether two systems' scores on the same segments differ by more than chance.

    Args:
        aggregate: column sums (R, K) -> scores (R,).
        first: statistics of system A, shape (N, K).
        second: statistics of system B on the same segments in the same order, shape (N, K).
        resamples: draws of the bootstrap, default 1,000.
        trials: swaps of the approximate randomisation, default 10,000.
        seed: of both, default 12345.
        level: coverage of the difference's interval, default 0.95.

    Returns:
        The difference with both p-values; each is (hits + 1) / (draws + 1), so never zero.

    Raises:
        InputError: the two have different shapes or hold no segment.
    """
    if first.shape != second.shape:
        raise InputError(f"statistics of shapes {first.shape} and {second.shape} can't be paired")
    _check(first, resamples)
    _check(first, trials)
    scores = aggregate(np.stack([first.sum(axis=0), second.sum(axis=0)]))
    observed = float(scores[0] - scores[1])
    differences = bootstrap_scores(aggregate, first, resamples, seed) - bootstrap_scores(
        aggregate, second, resamples, seed
    )
    return PairedTest(
        observed,
        p_value(differences - differences.mean(), observed),
        p_value(_randomized(aggregate, first, second, trials, seed), observed),
        _percentiles(differences, resamples, seed, level),
    )


def p_value(null_differences: Array, observed: float) -> float:
    """Two-sided p-value: the share of null-hypothesis differences at least as large as the observed one.

    Rounding of sums must not turn an equal difference into a smaller one: equality has a slack of 1e-12.
    """
    reach = abs(observed) * (1 - 1e-12) - 1e-15
    return float((np.count_nonzero(np.abs(null_differences) >= reach) + 1) / (len(null_differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that the chance of any false rejection stays below the level.

    Holm 1979 (https://www.jstor.org/stable/4615733): the smallest is multiplied by the number of tests, the next by one
    fewer, and so on; none comes out below a smaller one.

    Returns:
        The corrected values, in the order given.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def _randomized(aggregate: Aggregate, first: Array, second: Array, trials: int, seed: int) -> Array:
    """Score differences after swapping each segment's two outputs with probability 1/2, shape (trials,)."""
    draw = np.random.default_rng([seed, 1])  # a stream apart from the bootstrap's
    gap = first - second
    totals_a, totals_b = first.sum(axis=0), second.sum(axis=0)
    differences = np.empty(trials, dtype=np.float64)
    for start in range(0, trials, _BLOCK):
        rows = min(_BLOCK, trials - start)
        swaps = draw.integers(0, 2, size=(rows, len(first)), dtype=np.int8).astype(np.float64)
        moved = swaps @ gap
        differences[start : start + rows] = aggregate(totals_a - moved) - aggregate(totals_b + moved)
    return differences


def check_draws(draws: int, seed: int = SEED) -> None:
    """Refuse what can't be drawn.

    Raises:
        InputError: fewer than 1 or more than `MOST_DRAWS` draws, or a negative seed.
    """
    if draws < 1:
        raise InputError(f"{draws} resamples asked for; at least 1 is needed (1,000 is usual)")
    if draws > MOST_DRAWS:
        raise InputError(f"{draws} resamples or trials asked for; at most {MOST_DRAWS:,} are made (1,000 is usual)")
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")


def _check(statistics: Array, draws: int) -> None:
    if statistics.ndim != 2 or not len(statistics):
        raise InputError("no segment to resample")
    check_draws(draws)
