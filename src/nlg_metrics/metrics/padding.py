"""Scores without the effect of padding: files of equal length have empty lines where a segment has fewer
references.

The official tools count such a line as a reference of no words. That shortens multi-bleu's reference length,
caps TER at 1 and can become METEOR's reference of a segment without a match. The corrected number is given
beside theirs, under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric


def without_blanks(references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each segment's references without the blank ones, unless all are blank."""
    return [[text for text in group if text.strip()] or list(group) for group in references]


def padded_rows(references: Sequence[Sequence[str]]) -> list[int]:
    """The segments that have blank references beside others."""
    return [
        row
        for row, group in enumerate(references)
        if any(not text.strip() for text in group) and any(text.strip() for text in group)
    ]


class Unpadded(Metric):
    """Another metric with blank references left out."""

    def __init__(self, metric: Metric) -> None:
        """
        Args:
            metric: the metric to correct; its statistics of a segment must not depend on other segments.
        """
        self.metric = metric
        self.name = f"{metric.name} (no padding)"
        self.higher_is_better = metric.higher_is_better

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        return self.metric.statistics(hypotheses, without_blanks(references))

    def correct(
        self, statistics: Array, hypotheses: Sequence[str], references: Sequence[Sequence[str]], rows: list[int]
    ) -> Array:
        """The statistics of the padded metric, (N, K), with those of the padded segments `rows` made anew."""
        corrected = statistics.copy()
        corrected[rows] = self.statistics([hypotheses[row] for row in rows], [references[row] for row in rows])
        return corrected

    def aggregate(self, totals: Array) -> Array:
        return np.asarray(self.metric.aggregate(totals))

    def parts(self, totals: Array) -> dict[str, float]:
        return self.metric.parts(totals)

    def settings(self) -> dict[str, Any]:
        return {**self.metric.settings(), "empty_refs": "left-out"}
