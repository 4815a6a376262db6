"""Several systems' outputs for one data file, scored alike: corpus scores, segment scores, tests, what carries them.

The tests of all pairs share one draw of resamples (`nlg_metrics.significance`): a system's 1,000 scores are computed
once and subtracted pair by pair, so six systems and five metrics take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result
from nlg_metrics.files import read_jsonl
from nlg_metrics.metrics.base import Array
from nlg_metrics.metrics.e2e_slots import parse_context
from nlg_metrics.segments import Segments, read_segments
from nlg_metrics.significance import bootstrap_scores, p_value
from nlg_metrics.suites import e2e, webnlg
from nlg_metrics.suites.suite import Suite, SuiteResult
from nlg_metrics.suites.suite import run as run_suite

SUITES = ("e2e", "webnlg", "dart")


@dataclass(frozen=True)
class System:
    """One run's outputs and their scores.

    Attributes:
        label: the run's name on the page.
        segments: texts as they are in the files.
        outcome: what the suite says of them.
        columns: metric -> a score for each segment, shape (N,).
    """

    label: str
    segments: Segments
    outcome: SuiteResult
    columns: Mapping[str, Array]


@dataclass(frozen=True)
class Scored:
    """Systems on the same segments.

    Attributes:
        corpus: "e2e", "webnlg" or "dart" where the data is that corpus', so that published rows may stand beside.
        suite: whose metrics, of `SUITES`.
        systems: in the page's order.
        categories: each segment's category; None where there is none.
        slots: whether contexts are E2E's, so that slot errors are known.
    """

    corpus: str | None
    suite: str
    systems: Sequence[System]
    categories: Sequence[str | None]
    slots: bool


def score_systems(
    data: str | Path,
    predictions: Mapping[str, str | Path],
    suite: str | None = None,
    unit: str = "contexts",
    bootstrap: Bootstrap | None = None,
) -> Scored:
    """Pair the data with every system's predictions and score them alike.

    Args:
        data: data file with references.
        predictions: label -> predictions file, at least one.
        suite: of `SUITES`; default: webnlg for contexts of triples whose categories are seen or unseen, dart for other
            triples, else e2e.
        unit: what a segment is, as in `read_segments`.
        bootstrap: how intervals are made; default 1,000 resamples.

    Raises:
        InputError: a file can't be used, or an id has no prediction.
    """
    read = {label: read_segments(data, path, unit) for label, path in predictions.items()}
    first = next(iter(read.values()))
    guess = corpus_of(first)
    chosen = suite or guess or "e2e"
    if chosen not in SUITES:
        raise InputError(f"`suite` is {chosen!r}; it must be one of {', '.join(SUITES)}")
    scorer, slots = make_suite(chosen), guess == "e2e"
    systems = []
    for label, segments in read.items():
        outcome = run_suite(scorer, scorer.prepare(segments), bootstrap)
        columns = segment_columns(chosen, segments, outcome)
        if slots:
            e2e.add_slot_error_rate(outcome, segments, bootstrap)
            columns["SER"] = outcome.results["SER"].segment_scores()
        systems.append(System(label, segments, outcome, columns))
    return Scored(guess if guess == chosen else None, chosen, systems, read_categories(data, first.ids), slots)


def make_suite(name: str) -> Suite:
    """The suite with all its metrics, texts prepared as the papers do."""
    return e2e.make_suite() if name == "e2e" else webnlg.make_suite(style="lora")


def corpus_of(segments: Segments) -> str | None:
    """Which corpus the contexts are of: E2E's slots, triples with seen and unseen categories, other triples."""
    if all(is_triples(context) for context in segments.contexts):
        return "webnlg" if any(seen is not None for seen in segments.seen) else "dart"
    try:
        for context in segments.contexts:
            parse_context(context)
    except InputError:
        return None
    return "e2e"


def is_triples(context: str) -> bool:
    """Whether a context is `subject : predicate : object | …`."""
    return bool(context) and all(part.count(" : ") >= 2 for part in context.split(" | "))


def segment_columns(suite: str, segments: Segments, outcome: SuiteResult) -> dict[str, Array]:
    """Metric -> (N,) for the metrics that mean something on one segment.

    E2E's BLEU of a single segment is mostly zero, so its smoothed form stands instead, as in the official table.
    """
    if suite == "e2e":
        columns = e2e.segment_columns(segments, outcome)
        return {key: column for key, column in columns.items() if key != "BLEU" and np.isfinite(column).any()}
    return {key: result.segment_scores() for key, result in outcome.results.items()}


def read_categories(data: str | Path, ids: Sequence[str]) -> list[str | None]:
    """The category of each segment's first entry, where the data file has one."""
    found = {str(record["id"]): record.get("category") for _, record in read_jsonl(data)}
    return [str(found[id_]) if found.get(id_) else None for id_ in ids]


def paired_tests(scored: Scored, bootstrap: Bootstrap) -> dict[str, dict[str, list[float]]]:
    """`"A-B"` (places of two systems) -> metric -> difference, p-value, ends of the difference's interval.

    The p-value is the two-sided one of the paired bootstrap (see `significance`), not corrected for the number of
    comparisons.
    """
    results = [system.outcome.all_results for system in scored.systems]
    keys = [key for key in results[0] if all(key in other for other in results)]
    drawn = {
        key: [
            bootstrap_scores(one[key].metric.aggregate, one[key].statistics, bootstrap.resamples, bootstrap.seed)
            for one in results
        ]
        for key in keys
    }
    tail = 100 * (1 - bootstrap.level) / 2
    tests: dict[str, dict[str, list[float]]] = {}
    for a, b in combinations(range(len(results)), 2):
        tests[f"{a}-{b}"] = {}
        for key in keys:
            differences = drawn[key][a] - drawn[key][b]
            observed = results[a][key].score.value - results[b][key].score.value
            low, high = np.percentile(differences, [tail, 100 - tail])
            p = p_value(differences - differences.mean(), observed)
            tests[f"{a}-{b}"][key] = [observed, p, float(low), float(high)]
    return tests


def carried(result: Result) -> Array:
    """How much each segment carries of a corpus score: the score less the score without that segment, shape (N,).

    Exact for every metric here, whose scores are functions of sums; nan where the rest has no score.
    """
    totals = result.statistics.sum(axis=0)
    with np.errstate(all="ignore"):
        rest = np.asarray(result.metric.aggregate(totals - result.statistics), dtype=np.float64)
    return float(result.metric.aggregate(totals)) - rest


def higher_is_better(system: System, key: str) -> bool:
    """Whether more of a segment column is better; a column without a metric of its own (sentBLEU) is like BLEU."""
    result: Any = system.outcome.results.get(key)
    return True if result is None else bool(result.metric.higher_is_better)
