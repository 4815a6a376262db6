"""BLEU with the arithmetic of e2e-metrics' pymteval: Papineni et al. 2002, clipped counts, closest reference length.

Its quirks are kept: a hypothesis shorter than n lowers the n-gram total below zero, a zero match counts as 1e-15, an
empty hypothesis is one empty token. The counts are shared with NIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.ngrams import Ints, Ngrams, best_reference_counts, count_ngrams
from nlg_metrics.tokenizers.mteval import MtevalTokenizer, Tokenizer

TINY_HITS = 1e-15
TINY_TOTAL = 1e-9


@dataclass(frozen=True)
class MtevalCounts:
    """What BLEU and NIST both need, computed once.

    Attributes:
        n_segments: N.
        tables: n-grams of the N hypotheses, then of all R references, one table an order.
        matches: for each order: segment, n-gram, count in the hypothesis, largest count in any reference.
        segment_of: (N + R,) the segment of each sentence.
        hypothesis_lengths: (N,) in tokens.
        reference_lengths: (R,) in tokens, segment by segment.
        reference_counts: (N,) number of references of each segment.
    """

    n_segments: int
    tables: list[Ngrams]
    matches: list[tuple[Ints, Ints, Ints, Ints]]
    segment_of: Ints
    hypothesis_lengths: Ints
    reference_lengths: Ints
    reference_counts: Ints

    @property
    def first_references(self) -> Ints:
        """(N,) where the references of each segment begin."""
        return np.cumsum(self.reference_counts) - self.reference_counts


def mteval_counts(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    max_order: int = 5,
    tokenize: Tokenizer | None = None,
) -> MtevalCounts:
    """Tokenise and count N hypotheses and their references.

    Args:
        hypotheses: N texts.
        references: N non-empty lists of texts.
        max_order: largest n. Default: 5, what NIST needs
        tokenize: Default: `MtevalTokenizer()`, lower-casing

    Returns:
        The counts; `Bleu.from_counts` and `Nist.from_counts` take them.
    """
    tokenize = tokenize or MtevalTokenizer()
    n_segments = len(hypotheses)
    sentences = [tokenize(text) for text in hypotheses]
    sentences += [tokenize(text) for group in references for text in group]
    reference_counts = np.array([len(group) for group in references], dtype=np.int64)
    segment_of = np.concatenate([np.arange(n_segments), np.repeat(np.arange(n_segments), reference_counts)])
    tables, lengths = count_ngrams(sentences, max_order)
    matches = [best_reference_counts(table, segment_of, n_segments) for table in tables]
    return MtevalCounts(
        n_segments,
        tables,
        matches,
        segment_of,
        lengths[:n_segments],
        lengths[n_segments:],
        reference_counts,
    )


class Bleu(Metric):
    """BLEU as `measure_scores.py -p` computes it.

    Args:
        max_order: largest n-gram order. Default: 4
        smoothing: added to hits and totals of every order; 1 gives the tool's segment-level `sentBLEU`. Default: 0
        perl: as mteval-v13a.pl instead (`measure_scores.py` without `-p`): the k-th order without a match has a
            precision of 1 / (2^k total), an order without n-grams does not count. Default: False
    """

    name = "BLEU"

    def __init__(self, max_order: int = 4, smoothing: float = 0.0, perl: bool = False) -> None:
        self.max_order = max_order
        self.smoothing = smoothing
        self.perl = perl

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        smooth = "mteval" if self.perl else f"add-{self.smoothing:g}" if self.smoothing else "none"
        return {
            "tool": "mteval-v13a" if self.perl else "e2e-metrics-p",
            "tok": "mteval",
            "case": "lc-ascii" if self.perl else "lc",
            "order": self.max_order,
            "smooth": smooth,
            "eff-ref": "closest",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 2n + 1): hits of each order, totals of each order, closest reference length."""
        return self.from_counts(mteval_counts(hypotheses, references, self.max_order, MtevalTokenizer(perl=self.perl)))

    def from_counts(self, counts: MtevalCounts) -> Array:
        """`statistics` from counts made before."""
        n_segments, n = counts.n_segments, self.max_order
        statistics = np.zeros((n_segments, 2 * n + 1))
        for order, (segment, _, count, best) in enumerate(counts.matches[:n]):
            statistics[:, order] = np.bincount(segment, np.minimum(count, best), minlength=n_segments)
            # Not clamped at zero: pymteval lets a short hypothesis lower the total.
            n_ngrams = counts.hypothesis_lengths - order
            statistics[:, n + order] = np.maximum(n_ngrams, 0) if self.perl else n_ngrams
        statistics[:, 2 * n] = closest_lengths(counts)
        return statistics

    def _precisions(self, totals: Array) -> Array:
        if self.perl:
            hits, n_ngrams = totals[..., : self.max_order], totals[..., self.max_order : 2 * self.max_order]
            unmatched = (hits == 0) & (n_ngrams > 0)
            hits = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), hits)
            return np.where(n_ngrams > 0, hits / np.maximum(n_ngrams, 1), 1.0)
        hits = np.maximum(totals[..., : self.max_order] + self.smoothing, TINY_HITS)
        n_ngrams = totals[..., self.max_order : 2 * self.max_order] + self.smoothing
        return hits / np.maximum(n_ngrams, TINY_TOTAL)

    def _brevity_penalty(self, totals: Array) -> Array:
        hypothesis, reference = totals[..., self.max_order], totals[..., -1]
        ratio = reference / np.where(hypothesis == 0, 1e-5, hypothesis)
        return np.where(hypothesis <= reference, np.exp(1.0 - ratio), 1.0)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        precision = np.exp(np.log(self._precisions(totals)).sum(axis=-1) / self.max_order)
        score = self._brevity_penalty(totals) * precision
        return np.where(totals[..., self.max_order] > 0, score, 0.0) if self.perl else score

    def parts(self, totals: Array) -> dict[str, float]:
        """Precisions, brevity penalty and the two lengths."""
        precisions = self._precisions(totals)
        return {
            **{f"precision_{order + 1}": float(value) for order, value in enumerate(precisions)},
            "brevity_penalty": float(self._brevity_penalty(totals)),
            "hypothesis_length": float(totals[self.max_order]),
            "reference_length": float(totals[-1]),
        }


def closest_lengths(counts: MtevalCounts) -> Array:
    """(N,) the reference length closest to the hypothesis', of two equally close ones the shorter."""
    hypothesis = np.repeat(counts.hypothesis_lengths, counts.reference_counts)
    reference = counts.reference_lengths
    # One number orders by distance, then by length.
    size = int(reference.max(initial=0)) + 1
    ranked = np.abs(reference - hypothesis) * size + reference
    return np.minimum.reduceat(ranked, counts.first_references).astype(np.float64) % size
