"""A scorer as data: its metrics by key and how it reads its files; and one `run` for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result, from_statistics, labelled
from nlg_metrics.metrics.base import Array, Metric, check_segments
from nlg_metrics.metrics.padding import Unpadded, padded_rows
from nlg_metrics.segments import Segments, read_segments, read_segments_and_lines
from nlg_metrics.suites.further import ALIASES, FURTHER, Texts

PaddingTest = Callable[[Array, Sequence[Sequence[str]]], Array]
"""(statistics (N, K), references) → (N,) where a blank reference may be the one that counted."""


@dataclass(frozen=True)
class Suite:
    """A scorer.

    Attributes:
        tool: its name in scores.json.
        metrics: key -> metric, in the order of its table.
        unavailable: key -> why a metric that was asked for can't be made.
        reader: references and hypotheses in the form of the official tool → segments.
        prepare: what the scorer does with texts of any source before its metrics see them.
        style: how the texts were prepared, for the signatures; empty where the scorer has one way only.
        subsets: whether seen and unseen segments get scores of their own: only where no metric's statistics of a
            segment depend on other segments.
        padding: key -> test, of metrics that blank references change.
    """

    tool: str
    metrics: Mapping[str, Metric]
    unavailable: Mapping[str, str]
    reader: Callable[[str, str], Segments]
    prepare: Callable[[Segments], Segments] = lambda segments: segments
    style: str = ""
    subsets: bool = False
    padding: Mapping[str, PaddingTest] = field(default_factory=dict)

    def read(self, references: str, hypotheses: str) -> Segments:
        """The segments of the official tool's files.

        Raises:
            InputError: a file can't be used, or the two don't pair.
        """
        return self.prepare(self.reader(references, hypotheses))

    def read_predictions(self, data: str, predictions: str, unit: str) -> Segments:
        """The segments of a data file and a predictions file; as `segments.read_segments`."""
        return self.prepare(read_segments(data, predictions, unit))

    def read_texts(self, data: str, hypotheses: str, unit: str) -> Segments:
        """The segments of a data file and plain text; as `segments.read_segments_and_lines`."""
        return self.prepare(read_segments_and_lines(data, hypotheses, unit))


@dataclass
class SuiteResult:
    """What a suite says about one system.

    Attributes:
        results: key -> result, in the order of the suite.
        unpadded: key -> result without blank references, for those metrics that padding has changed.
        subsets: "seen", "unseen" -> key -> result.
        unavailable: key -> why there is no score.
    """

    results: dict[str, Result] = field(default_factory=dict)
    unpadded: dict[str, Result] = field(default_factory=dict)
    subsets: dict[str, dict[str, Result]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def all_results(self) -> dict[str, Result]:
        """The results, then the corrected ones under keys like `bleu_unpadded`."""
        return {**self.results, **{f"{key}_unpadded": result for key, result in self.unpadded.items()}}


def parse_names(text: str, own: Sequence[str]) -> list[str]:
    """The metrics named in `-m bleu,meteor,parent=0.5`, spelt as the scorer spells them.

    Args:
        text: names and commas; case doesn't matter. What follows `=` is the metric's own: a model, a weight.
        own: names of the scorer's own metrics; those of `further.FURTHER` are every scorer's.

    Raises:
        InputError: a name isn't one of them, or there is none.
    """
    spelt = {name.lower(): name for name in (*own, *FURTHER)}
    names = []
    for given in filter(None, map(str.strip, text.split(","))):
        name, equals, value = given.partition("=")
        name = ALIASES.get(name.lower(), name.lower())
        if name not in spelt:
            raise InputError(f"no metric {name!r}; there are {', '.join(spelt.values())}")
        if equals and name not in FURTHER:
            raise InputError(f"{given}: {name} takes no value; of the metrics {', '.join(FURTHER)} do")
        names.append(spelt[name] + equals + value)
    if not names:
        raise InputError(f"`metrics` names no metric; there are {', '.join(spelt.values())}")
    return names


def make_metrics(
    names: Sequence[str], own: Mapping[str, Callable[[], Metric]], texts: Texts | None = None
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics, and of those that can't be made (METEOR without its resources) why.

    Args:
        names: as `parse_names` gives them, in the order wanted.
        own: name -> maker of the scorer's own metrics.
        texts: how the texts are prepared, for the further metrics.

    Raises:
        InputError: a name isn't one of those.
    """
    metrics: dict[str, Metric] = {}
    unavailable: dict[str, str] = {}
    for key in parse_names(",".join(names), list(own)):
        name, _, value = key.partition("=")
        try:
            metrics[key] = own[name]() if name in own else FURTHER[name](value, texts or Texts())
        except InputError as error:
            unavailable[key] = str(error)
    return metrics, unavailable


def run(suite: Suite, segments: Segments, bootstrap: Bootstrap | None = None) -> SuiteResult:
    """Score one system.

    Args:
        suite: the scorer.
        segments: from its `read…`.
        bootstrap: how to make the intervals; default 1,000 resamples, seed 12345, 95%.

    Returns:
        Results of every metric that is defined on these texts, the others with the reason; and, where the corpus knows
        them and the suite has them, those of the seen and unseen segments.

    Raises:
        InputError: no segment, or one without a reference.
    """
    hypotheses, references = segments.hypotheses, segments.references
    check_segments(hypotheses, references)
    masks = segments.subsets() if suite.subsets else {}
    parts = {name: segments.subset(mask) for name, mask in masks.items()}
    outcome = SuiteResult(subsets={name: {} for name in masks}, unavailable=dict(suite.unavailable))
    labels = {"segments": segments.unit, "style": suite.style} if suite.style else {}

    def result(metric: Metric, statistics: Array, texts: Sequence[Sequence[str]]) -> Result:
        return labelled(from_statistics(metric, statistics, texts, bootstrap), labels)

    for key, metric in suite.metrics.items():
        try:
            statistics = metric.measure(hypotheses, references, segments.contexts)
        except InputError as error:
            outcome.unavailable[key] = str(error)
            continue
        whole = result(metric, statistics, references)
        if not np.isfinite(whole.score.value):
            outcome.unavailable[key] = (
                "not defined: too few words (the outputs have no n-gram of some order); the official tool stops here"
            )
            continue
        outcome.results[key] = whole
        for name, mask in masks.items():
            outcome.subsets[name][key] = result(metric, statistics[mask], parts[name].references)
        if key in suite.padding:
            counted = suite.padding[key](statistics, references)
            touched = [row for row in padded_rows(references) if counted[row]]
            if touched:
                plain = Unpadded(metric)
                corrected = plain.correct(statistics, hypotheses, references, touched)
                if (corrected != statistics).any():
                    outcome.unpadded[key] = result(plain, corrected, references)
    return outcome
