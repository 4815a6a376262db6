"""Bootstrap and paired tests: by hand, by exhaustive enumeration, against sacrebleu, and by properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array
from nlg_metrics.significance import (
    bootstrap_interval,
    bootstrap_scores,
    check_draws,
    holm,
    p_value,
    paired_test,
    resample_counts,
)


def ratio(totals: Array) -> Array:
    """A micro-averaged score: sum of hits over sum of lengths."""
    return totals[..., 0] / totals[..., 1]


def sample(segments: int, shift: float = 0.0, seed: int = 0) -> Array:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(5, 30, size=segments).astype(float)
    hits = np.minimum(lengths, np.maximum(0, lengths * (0.5 + shift) + draw.normal(0, 3, segments)))
    return np.stack([hits, lengths], axis=1)


def test_counts_are_draws_with_replacement() -> None:
    counts = resample_counts(50, 200, seed=1)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.min() == 0
    assert counts.max() > 1
    assert len(np.unique(counts, axis=0)) == 200
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.35)


def test_resampled_scores_equal_scoring_the_drawn_segments() -> None:
    statistics = sample(30)
    counts = resample_counts(30, 5, seed=9)
    expected = []
    for row in counts:
        drawn = np.repeat(statistics, row.astype(int), axis=0)
        expected.append(drawn[:, 0].sum() / drawn[:, 1].sum())
    assert bootstrap_scores(ratio, statistics, 5, seed=9) == pytest.approx(expected, abs=1e-12)


def test_the_seed_decides_the_interval() -> None:
    statistics = sample(40)
    first = bootstrap_interval(ratio, statistics, 300, seed=3)
    assert first == bootstrap_interval(ratio, statistics, 300, seed=3)
    assert first != bootstrap_interval(ratio, statistics, 300, seed=4)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(10, 2, size=(1000, 1))
    interval = bootstrap_interval(lambda totals: totals[..., 0] / 1000, values, 2000)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.015)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.015)


def test_a_constant_score_has_a_point_interval_and_a_wider_level_is_wider() -> None:
    constant = np.tile([[1.0, 4.0]], (20, 1))
    interval = bootstrap_interval(ratio, constant)
    assert (interval.low, interval.high) == (0.25, 0.25)
    wide = bootstrap_interval(ratio, sample(40), level=0.99)
    narrow = bootstrap_interval(ratio, sample(40), level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_systems_do_not_differ() -> None:
    statistics = sample(60)
    test = paired_test(ratio, statistics, statistics.copy(), trials=500)
    assert test.difference == 0.0
    assert test.bootstrap == 1.0
    assert test.randomization == 1.0
    assert (test.interval.low, test.interval.high) == (0.0, 0.0)


def test_a_clear_difference_is_significant_and_swapping_systems_mirrors_it() -> None:
    better, worse = sample(300, shift=0.1, seed=1), sample(300, seed=1)
    test, mirrored = (
        paired_test(ratio, better, worse, trials=999),
        paired_test(ratio, worse, better, trials=999),
    )
    assert test.difference > 0
    assert test.bootstrap < 0.01
    assert test.randomization < 0.01
    assert mirrored.difference == -test.difference
    assert mirrored.bootstrap == test.bootstrap
    assert mirrored.randomization == test.randomization
    assert mirrored.interval.low == pytest.approx(-test.interval.high)


def test_randomization_approaches_the_exact_test() -> None:
    """With 8 segments all 256 swaps can be enumerated: that is the p-value approximated here."""
    first, second = sample(8, shift=0.05, seed=2), sample(8, seed=5)
    observed = abs(ratio(first.sum(axis=0)) - ratio(second.sum(axis=0)))
    hits = 0
    for swaps in itertools.product([False, True], repeat=8):
        mask = np.array(swaps)[:, None]
        a = np.where(mask, second, first).sum(axis=0)
        b = np.where(mask, first, second).sum(axis=0)
        hits += abs(ratio(a) - ratio(b)) >= observed - 1e-12
    test = paired_test(ratio, first, second, trials=20_000)
    assert test.randomization == pytest.approx(hits / 256, abs=0.015)
    assert 0.02 < test.randomization < 0.98


def test_p_values_count_ties_despite_rounding() -> None:
    assert p_value(np.array([0.1 + 0.2, -0.3, 0.1]), 0.3) == 3 / 4
    assert p_value(np.array([0.0, 0.0]), 0.5) == 1 / 3


def test_the_bootstrap_p_value_is_sacrebleus() -> None:
    significance = pytest.importorskip("sacrebleu.significance")
    statistics, other = sample(80, shift=0.03, seed=3), sample(80, seed=4)
    a, b = bootstrap_scores(ratio, statistics), bootstrap_scores(ratio, other)
    observed = float(ratio(statistics.sum(axis=0)) - ratio(other.sum(axis=0)))
    differences = np.abs(a - b - (a - b).mean())
    expected = significance._compute_p_value(differences, abs(observed))
    assert paired_test(ratio, statistics, other, trials=10).bootstrap == pytest.approx(expected, abs=1e-12)


def test_unusable_requests_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(5, 2\) and \(6, 2\) can't be paired"):
        paired_test(ratio, sample(5), sample(6))
    with pytest.raises(InputError, match="no segment"):
        bootstrap_interval(ratio, np.empty((0, 2)))
    with pytest.raises(InputError, match="seed -1 is negative"):
        bootstrap_scores(ratio, sample(5), seed=-1)
    with pytest.raises(InputError, match="0 resamples"):
        bootstrap_scores(ratio, sample(5), resamples=0)
    with pytest.raises(InputError, match="level 95 is not between 0 and 1"):
        bootstrap_interval(ratio, sample(5), level=95)


def test_more_draws_than_fit_are_refused_before_the_work() -> None:
    for draws, seed in ((10**12, 1), (0, 1), (10, -1)):
        with pytest.raises(InputError):
            check_draws(draws, seed)
    with pytest.raises(InputError, match="give at most 250 "):
        resample_counts(1_000_000, 1000)


def test_holm_by_hand() -> None:
    """4·0.01, 3·0.02, 2·0.03, and 1·0.04, which may not fall below the one before it."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_of_one_test_changes_nothing() -> None:
    assert holm([0.2]) == [0.2]
