"""NIST with the arithmetic of e2e-metrics' pymteval (Doddington 2002): matched n-grams weighted by information.

The information of an n-gram comes from all references of all segments, repeats included. The reference length of a
segment is the mean over its references, unlike mteval-v13a.pl (total words over mean number of references).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.bleu import MtevalCounts, mteval_counts
from nlg_metrics.metrics.ngrams import Ints
from nlg_metrics.tokenizers.mteval import MtevalTokenizer

MAX_ORDER = 5
BETA = math.log(2.0) / math.log(1.5) ** 2


class Nist(Metric):
    """NIST as `measure_scores.py -p` computes it.

    The score is not defined (nan) where the hypotheses' n-gram total of some order is exactly zero; the official tool
    divides by zero there. It happens in corpora of one or two short outputs only.

    Args:
        perl: as mteval-v13a.pl instead (`measure_scores.py` without `-p`): the reference length is the number of all
            reference words over the mean number of references, and an order without n-grams adds nothing.
            Default: False
    """

    name = "NIST"

    def __init__(self, perl: bool = False) -> None:
        self.perl = perl

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": "mteval-v13a" if self.perl else "e2e-metrics-p",
            "tok": "mteval",
            "case": "lc-ascii" if self.perl else "lc",
            "order": MAX_ORDER,
            "eff-ref": "mean",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 11): matched information of orders 1 to 5, n-gram totals of orders 1 to 5, mean reference length.

        With `perl` (N, 13): instead of the last, the words of all references, their number, and 1.
        """
        return self.from_counts(mteval_counts(hypotheses, references, MAX_ORDER, MtevalTokenizer(perl=self.perl)))

    def from_counts(self, counts: MtevalCounts) -> Array:
        """`statistics` from counts made before, which must reach order 5."""
        n_segments = counts.n_segments
        statistics = np.zeros((n_segments, 2 * MAX_ORDER + (3 if self.perl else 1)))
        shorter = np.array([counts.reference_lengths.sum()])
        for order, table in enumerate(counts.tables[:MAX_ORDER]):
            of_references = table.sentence >= n_segments
            occurrences = np.bincount(table.ngram[of_references], table.count[of_references], minlength=table.n_types)
            segment, ngram, count, best = counts.matches[order]
            matched = np.minimum(count, best)
            hit = matched > 0  # only these are sure to occur in a reference, so only they have an information
            segment, ngram, matched = segment[hit], ngram[hit], matched[hit]
            information = np.log2(shorter[table.prefix[ngram]] / occurrences[ngram])
            statistics[:, order] = np.bincount(segment, information * matched, minlength=n_segments)
            n_ngrams = counts.hypothesis_lengths - order
            statistics[:, MAX_ORDER + order] = np.maximum(n_ngrams, 0) if self.perl else n_ngrams
            shorter = occurrences
        sums = np.add.reduceat(counts.reference_lengths, counts.first_references)
        if self.perl:
            not_empty = np.add.reduceat(np.minimum(counts.reference_lengths, 1), counts.first_references)
            statistics[:, -3:] = np.stack([sums, not_empty, np.ones(n_segments)], axis=1)
        else:
            statistics[:, -1] = sums / counts.reference_counts
        return statistics

    def _reference_length(self, totals: Array) -> Array:
        if self.perl:
            return totals[..., -3] * totals[..., -1] / np.maximum(totals[..., -2], 1.0)
        return totals[..., -1]

    def _penalty(self, totals: Array) -> Array:
        # The least length keeps a corpus of empty references (Perl's mode only) from dividing by zero.
        ratio = np.clip(totals[..., MAX_ORDER] / np.maximum(self._reference_length(totals), 1e-9), 1e-300, 1.0)
        return np.where(totals[..., MAX_ORDER] <= 0, 0.0, np.exp(-BETA * np.log(ratio) ** 2))

    def _gains(self, totals: Array, undefined: float) -> Array:
        n_ngrams = totals[..., MAX_ORDER : 2 * MAX_ORDER]
        gain = totals[..., :MAX_ORDER] / np.where(n_ngrams == 0, 1.0, n_ngrams)
        return np.where(n_ngrams == 0, undefined, gain)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`; nan where an n-gram total is zero, except as in Perl."""
        return self._penalty(totals) * self._gains(totals, 0.0 if self.perl else np.nan).sum(axis=-1)

    def segment_scores(self, statistics: Array) -> Array:
        """(N,) scores with the whole corpus' information weights; an order without n-grams adds nothing."""
        return self._penalty(statistics) * self._gains(statistics, 0.0).sum(axis=-1)

    def parts(self, totals: Array) -> dict[str, float]:
        """Information gained per n-gram of each order, length penalty and the two lengths."""
        gains = self._gains(totals, 0.0 if self.perl else np.nan)
        return {
            **{f"information_{order + 1}": float(value) for order, value in enumerate(gains)},
            "length_penalty": float(self._penalty(totals)),
            "hypothesis_length": float(totals[MAX_ORDER]),
            "reference_length": float(self._reference_length(totals)),
        }


def alone(counts: MtevalCounts) -> Array:
    """Statistics as `Nist.from_counts`, every segment taken for a corpus of its own.

    Returns:
        (N, 11): the information weights of a segment come from its own references only.
    """
    n_segments = counts.n_segments
    statistics = Nist().from_counts(counts)
    keys = np.arange(n_segments)
    shorter = np.add.reduceat(counts.reference_lengths, counts.first_references)
    size_before = 1
    for order, table in enumerate(counts.tables[:MAX_ORDER]):
        rows = table.sentence >= n_segments
        joined = counts.segment_of[table.sentence[rows]] * table.n_types + table.ngram[rows]
        own_keys, place = np.unique(joined, return_inverse=True)
        occurrences = np.bincount(place, table.count[rows], minlength=len(own_keys)).astype(np.int64)
        segment, ngram, count, best = counts.matches[order]
        matched = np.minimum(count, best)
        hit = matched > 0
        segment, ngram, matched = segment[hit], ngram[hit], matched[hit]
        before = shorter[_positions(keys, segment * size_before + table.prefix[ngram])]
        now = occurrences[_positions(own_keys, segment * table.n_types + ngram)]
        statistics[:, order] = np.bincount(segment, np.log2(before / now) * matched, minlength=n_segments)
        keys, shorter, size_before = own_keys, occurrences, table.n_types
    return statistics


def _positions(keys: Ints, wanted: Ints) -> Ints:
    """Where each of `wanted` is in sorted `keys`; all are there."""
    return np.searchsorted(keys, wanted)
