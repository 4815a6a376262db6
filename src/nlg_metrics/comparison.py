"""Two systems on the same segments: scores side by side and, for every metric, whether chance explains the gap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result
from nlg_metrics.significance import TRIALS, PairedTest, paired_test

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """One metric's verdict on systems A and B."""

    first: Result
    second: Result
    test: PairedTest

    @property
    def better(self) -> str:
        """ "A" or "B" where both tests reject chance at 0.05, else "-"."""
        if max(self.test.bootstrap, self.test.randomization) >= SIGNIFICANT or self.test.difference == 0:
            return "-"
        return "A" if (self.test.difference > 0) == self.first.metric.higher_is_better else "B"


def compare_results(
    first: Mapping[str, Result],
    second: Mapping[str, Result],
    bootstrap: Bootstrap | None = None,
    trials: int = TRIALS,
) -> dict[str, Comparison]:
    """Test every metric that both systems have.

    Args:
        first: key -> result of system A.
        second: key -> result of system B on the same segments and references, in the same order.
        bootstrap: resamples, seed and level; default 1,000, 12345, 0.95.
        trials: swaps of the approximate randomisation, default 10,000.

    Raises:
        InputError: the systems have different numbers of segments.
    """
    plan = bootstrap or Bootstrap()
    verdicts = {}
    for key, ours in first.items():
        if key not in second:
            continue
        theirs = second[key]
        if len(ours.statistics) != len(theirs.statistics):
            raise InputError(
                f"system A has {len(ours.statistics)} segments but B has {len(theirs.statistics)}; "
                "only outputs for the same inputs can be compared"
            )
        test = paired_test(
            ours.metric.aggregate,
            ours.statistics,
            theirs.statistics,
            plan.resamples,
            trials,
            plan.seed,
            plan.level,
        )
        verdicts[key] = Comparison(ours, theirs, test)
    return verdicts


def comparison_record(verdicts: Mapping[str, Comparison]) -> dict[str, Any]:
    """Key -> everything a table shows, at full precision, for a JSON file; null where it isn't defined."""
    return {
        key: {
            "name": verdict.first.score.name,
            "a": _finite(verdict.first.score.value),
            "b": _finite(verdict.second.score.value),
            "difference": _finite(verdict.test.difference),
            "interval": [_finite(verdict.test.interval.low), _finite(verdict.test.interval.high)],
            "p_bootstrap": verdict.test.bootstrap,
            "p_randomization": verdict.test.randomization,
            "better": verdict.better,
            "signature": verdict.first.score.signature,
        }
        for key, verdict in verdicts.items()
    }


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def comparison_table(verdicts: Mapping[str, Comparison], first: str = "A", second: str = "B") -> str:
    """A line a metric: scores, difference with its interval, both p-values, and who is better at 0.05.

    Args:
        verdicts: from `compare_results`.
        first, second: what the systems are called.
    """
    names = {"A": first, "B": second, "-": "-"}
    interval, *_ = [f"{100 * verdict.test.interval.level:g}% interval" for verdict in verdicts.values()] or [""]
    headings = ["metric", first, second, f"{first}-{second}", interval, "p(bootstrap)", "p(randomization)", "better"]
    rows = [headings]
    for verdict in verdicts.values():
        test = verdict.test
        rows.append(
            [
                verdict.first.score.name,
                f"{verdict.first.score.value:.4f}",
                f"{verdict.second.score.value:.4f}",
                f"{test.difference:+.4f}",
                f"[{test.interval.low:+.4f}, {test.interval.high:+.4f}]",
                f"{test.bootstrap:.4f}",
                f"{test.randomization:.4f}",
                names[verdict.better],
            ]
        )
    return _aligned(rows)


def systems_table(systems: Mapping[str, Mapping[str, Result]]) -> str:
    """A line a metric, a column a system: score and interval; `-` where a system has no score."""
    keys = dict.fromkeys(key for results in systems.values() for key in results)
    rows = [["metric", *systems]]
    for key in keys:
        name = next(results[key].score.name for results in systems.values() if key in results)
        rows.append([name, *(_with_interval(results.get(key)) for results in systems.values())])
    return _aligned(rows)


def _with_interval(result: Result | None) -> str:
    if result is None:
        return "-"
    value, interval = f"{result.score.value:.4f}", result.interval
    return value if interval is None else f"{value} [{interval.low:.4f}, {interval.high:.4f}]"


def _aligned(rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(widths[column]) if column == 0 else cell.rjust(widths[column]) for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
