"""NIST with the arithmetic of e2e-metrics' pymteval (Doddington 2002): matched n-grams weighted by information.

The information of an n-gram comes from all references of all segments, repeats included. The reference length of a
segment is the mean over its references, unlike mteval-v13a.pl (total words over mean number of references).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric, Preparation
from nlg_metrics.metrics.bleu import MAX_ORDER, mteval_counts, perl_mteval_counts
from nlg_metrics.metrics.ngrams import Ints, SegmentNgrams, short_outputs_caveat

BETA = math.log(2.0) / math.log(1.5) ** 2


class Nist(Metric):
    """NIST as `measure_scores.py -p` computes it.

    The score is not defined (nan) where the hypotheses' n-gram total of some order is exactly zero; the official tool
    divides by zero there. It happens in corpora of one or two short outputs only.

    Args:
        counts: makes the counts of texts. Default: `mteval_counts`
    """

    name = "NIST"
    undefined = np.nan
    """What an order without n-grams adds to the corpus score."""

    def __init__(self, counts: Preparation | None = None) -> None:
        self._counts = counts or mteval_counts

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": "e2e-metrics-p",
            "tok": "mteval",
            "case": "lc",
            "order": MAX_ORDER,
            "eff-ref": "mean",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 11): matched information of orders 1 to 5, n-gram totals of orders 1 to 5, mean reference length."""
        return self.from_counts(self._counts(hypotheses, references))

    def from_counts(self, counts: SegmentNgrams) -> Array:
        """`statistics` from counts made before, which must reach order 5."""
        n_segments = counts.n_segments
        statistics = np.zeros((n_segments, 2 * MAX_ORDER))
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
            statistics[:, MAX_ORDER + order] = self._n_ngrams(counts.hypothesis_lengths, order + 1)
            shorter = occurrences
        return np.concatenate([statistics, self._reference_statistics(counts)], axis=1)

    def _n_ngrams(self, lengths: Ints, order: int) -> Ints:
        """(N,) n-grams of hypotheses; as in `Bleu`, a short one lowers the total."""
        return lengths - (order - 1)

    def caveat(self, statistics: Array) -> str:
        """See `Metric.caveat`; as for `Bleu`."""
        return short_outputs_caveat(statistics[:, MAX_ORDER : 2 * MAX_ORDER])

    def _reference_statistics(self, counts: SegmentNgrams) -> Array:
        """(N, 1 or more) what `_reference_length` needs."""
        sums = np.add.reduceat(counts.reference_lengths, counts.first_references)
        return (sums / counts.reference_counts)[:, None]

    def _reference_length(self, totals: Array) -> Array:
        return totals[..., -1]

    def _penalty(self, totals: Array) -> Array:
        # The least length keeps a corpus of empty references (Perl's only) from dividing by zero.
        ratio = np.clip(totals[..., MAX_ORDER] / np.maximum(self._reference_length(totals), 1e-9), 1e-300, 1.0)
        return np.where(totals[..., MAX_ORDER] <= 0, 0.0, np.exp(-BETA * np.log(ratio) ** 2))

    def _gains(self, totals: Array, undefined: float) -> Array:
        n_ngrams = totals[..., MAX_ORDER : 2 * MAX_ORDER]
        gain = totals[..., :MAX_ORDER] / np.where(n_ngrams == 0, 1.0, n_ngrams)
        return np.where(n_ngrams == 0, undefined, gain)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`; an order whose n-gram total is zero adds `undefined`."""
        return self._penalty(totals) * self._gains(totals, self.undefined).sum(axis=-1)

    def segment_scores(self, statistics: Array) -> Array:
        """(N,) scores with the whole corpus' information weights; an order without n-grams adds nothing."""
        return self._penalty(statistics) * self._gains(statistics, 0.0).sum(axis=-1)

    def parts(self, totals: Array) -> dict[str, float]:
        """Information gained per n-gram of each order, length penalty and the two lengths."""
        gains = self._gains(totals, self.undefined)
        return {
            **{f"information_{order + 1}": float(value) for order, value in enumerate(gains)},
            "length_penalty": float(self._penalty(totals)),
            "hypothesis_length": float(totals[MAX_ORDER]),
            "reference_length": float(self._reference_length(totals)),
        }


class PerlNist(Nist):
    """NIST of mteval-v13a.pl, which `measure_scores.py` runs without `-p`.

    The reference length is the number of all reference words over the mean number of references, and an order without
    n-grams adds nothing. Statistics are (N, 13): instead of the last, the words of all references, their number, and 1.

    Args:
        counts: makes the counts of texts. Default: `perl_mteval_counts`
    """

    undefined = 0.0

    def __init__(self, counts: Preparation | None = None) -> None:
        super().__init__(counts or perl_mteval_counts)

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {**super().settings(), "tool": "mteval-v13a", "case": "lc-ascii"}

    def caveat(self, statistics: Array) -> str:
        """See `Metric.caveat`; there is none."""
        return ""

    def _n_ngrams(self, lengths: Ints, order: int) -> Ints:
        return np.maximum(super()._n_ngrams(lengths, order), 0)

    def _reference_statistics(self, counts: SegmentNgrams) -> Array:
        sums = np.add.reduceat(counts.reference_lengths, counts.first_references)
        not_empty = np.add.reduceat(np.minimum(counts.reference_lengths, 1), counts.first_references)
        return np.stack([sums, not_empty, np.ones(counts.n_segments)], axis=1)

    def _reference_length(self, totals: Array) -> Array:
        return totals[..., -3] * totals[..., -1] / np.maximum(totals[..., -2], 1.0)


def single_segment_statistics(counts: SegmentNgrams) -> Array:
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
