"""ROUGE-L as the COCO caption evaluation computes it (Lin 2004), on text that is tokenized already.

Precision and recall of the longest common subsequence are maximised over the references independently; the corpus
score is the mean over segments. The subsequence length is found with bit-parallel dynamic programming (Hyyrö 2004,
"Bit-parallel LCS-length computation revisited").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric

BETA = 1.2


def positions(tokens: Sequence[str]) -> dict[str, int]:
    """For each token, the set of its positions as the bits of an integer."""
    masks: dict[str, int] = {}
    for position, token in enumerate(tokens):
        masks[token] = masks.get(token, 0) | (1 << position)
    return masks


def subsequence_length(masks: dict[str, int], length: int, tokens: Sequence[str]) -> int:
    """Length of the longest common subsequence of the `length` tokens behind `masks` and `tokens`."""
    everything = (1 << length) - 1
    row = everything
    for token in tokens:
        mask = masks.get(token)
        if mask is not None:
            matched = row & mask
            row = ((row + matched) | (row - matched)) & everything
    return length - row.bit_count()


class RougeL(Metric):
    """ROUGE-L of tokenized text, tokens separated by single spaces; an empty text is one empty token."""

    name = "ROUGE_L"

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {"tool": "coco-caption", "tok": "ptb-3.4.1", "case": "lc", "beta": BETA, "average": "segment"}

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 2): the segment's score and 1."""
        statistics = np.ones((len(hypotheses), 2))
        for number, (hypothesis, group) in enumerate(zip(hypotheses, references, strict=True)):
            statistics[number, 0] = self._segment(hypothesis, group)
        return statistics

    def _segment(self, hypothesis: str, references: Sequence[str]) -> float:
        tokens = hypothesis.split(" ")
        masks = positions(tokens)
        precision = recall = 0.0
        for reference in references:
            reference_tokens = reference.split(" ")
            common = subsequence_length(masks, len(tokens), reference_tokens)
            precision = max(precision, common / len(tokens))
            recall = max(recall, common / len(reference_tokens))
        if not precision or not recall:
            return 0.0
        return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 0] / totals[..., 1]
