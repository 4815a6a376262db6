"""BLEU with the arithmetic of e2e-metrics' pymteval: Papineni et al. 2002, clipped counts, closest reference length.

Its quirks are kept: a hypothesis shorter than n lowers the n-gram total below zero, a zero match counts as 1e-15, an
empty hypothesis is one empty token. The counts are shared with NIST. mteval-v13a.pl, which the tool runs without `-p`,
has quirks of its own. A decision (which checkpoint is the best) must not rest on the first quirk, which lets a BLEU
pass 1 where most outputs are empty: `ClippedBleu` is for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric, Preparation
from nlg_metrics.metrics.ngrams import Ints, SegmentNgrams, segment_ngrams, short_outputs_caveat
from nlg_metrics.tokenizers.mteval import MtevalTokenizer, PerlMtevalTokenizer, Tokenizer

MAX_ORDER = 5
"""What NIST needs; BLEU takes the first four."""
TINY_HITS = 1e-15
TINY_TOTAL = 1e-9


def mteval_counts(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenize: Tokenizer | None = None
) -> SegmentNgrams:
    """Tokenize and count N hypotheses and their references, for `Bleu.from_counts` and `Nist.from_counts`.

    Args:
        hypotheses: N texts.
        references: N non-empty lists of texts.
        tokenize: Default: `MtevalTokenizer()`, lower-casing
    """
    tokenize = tokenize or MtevalTokenizer()
    tokens = [tokenize(text) for text in hypotheses]
    return segment_ngrams(tokens, [[tokenize(text) for text in group] for group in references], MAX_ORDER)


def perl_mteval_counts(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> SegmentNgrams:
    """`mteval_counts` with the tokens of mteval-v13a.pl."""
    return mteval_counts(hypotheses, references, PerlMtevalTokenizer())


class Bleu(Metric):
    """BLEU as `measure_scores.py -p` computes it.

    Args:
        max_order: largest n-gram order, at most 5. Default: 4.
        smoothing: added to hits and totals of every order; 1 gives the tool's segment-level `sentBLEU`. Default: 0.
        counts: makes the counts of texts. Default: `mteval_counts`
    """

    name = "BLEU"

    def __init__(self, max_order: int = 4, smoothing: float = 0.0, counts: Preparation | None = None) -> None:
        self.max_order = max_order
        self.smoothing = smoothing
        self._counts = counts or mteval_counts

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": "e2e-metrics-p",
            "tok": "mteval",
            "case": "lc",
            "order": self.max_order,
            "smooth": f"add-{self.smoothing:g}" if self.smoothing else "none",
            "eff-ref": "closest",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 2n + 1): hits of each order, totals of each order, closest reference length."""
        return self.from_counts(self._counts(hypotheses, references))

    def from_counts(self, counts: SegmentNgrams) -> Array:
        """`statistics` from counts made before."""
        n = self.max_order
        statistics = np.zeros((counts.n_segments, 2 * n + 1))
        for order in range(1, n + 1):
            statistics[:, order - 1] = counts.clipped_matches(order)
            statistics[:, n + order - 1] = self._n_ngrams(counts.hypothesis_lengths, order)
        statistics[:, 2 * n] = counts.closest_lengths()
        return statistics

    def _n_ngrams(self, lengths: Ints, order: int) -> Ints:
        """(N,) n-grams of hypotheses; not clamped at zero: pymteval lets a short hypothesis lower the total."""
        return lengths - (order - 1)

    def caveat(self, statistics: Array) -> str:
        """See `Metric.caveat`: where short outputs have taken so many n-grams away that the score means nothing."""
        return short_outputs_caveat(statistics[:, self.max_order : 2 * self.max_order])

    def _precisions(self, totals: Array) -> Array:
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
        return self._brevity_penalty(totals) * precision

    def parts(self, totals: Array) -> dict[str, float]:
        """Precisions, brevity penalty and the two lengths."""
        precisions = self._precisions(totals)
        return {
            **{f"precision_{order + 1}": float(value) for order, value in enumerate(precisions)},
            "brevity_penalty": float(self._brevity_penalty(totals)),
            "hypothesis_length": float(totals[self.max_order]),
            "reference_length": float(totals[-1]),
        }


class ClippedBleu(Bleu):
    """`Bleu` in which a hypothesis shorter than n has no n-gram instead of less than none: never above 1.

    Outputs that are mostly empty score next to nothing, so it may choose between models. Where every hypothesis has
    `max_order` words or more it equals `Bleu`.
    """

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {**super().settings(), "totals": "clipped"}

    def _n_ngrams(self, lengths: Ints, order: int) -> Ints:
        return np.maximum(super()._n_ngrams(lengths, order), 0)

    def caveat(self, statistics: Array) -> str:
        """See `Metric.caveat`; there is none."""
        return ""


class PerlBleu(ClippedBleu):
    """BLEU of mteval-v13a.pl, which `measure_scores.py` runs without `-p`.

    The k-th order without a match has a precision of 1 / (2^k total), an order without n-grams does not count.

    Args:
        counts: makes the counts of texts. Default: `perl_mteval_counts`
    """

    def __init__(self, counts: Preparation | None = None) -> None:
        super().__init__(counts=counts or perl_mteval_counts)

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {**Bleu.settings(self), "tool": "mteval-v13a", "case": "lc-ascii", "smooth": "mteval"}

    def _precisions(self, totals: Array) -> Array:
        hits, n_ngrams = totals[..., : self.max_order], totals[..., self.max_order : 2 * self.max_order]
        unmatched = (hits == 0) & (n_ngrams > 0)
        hits = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), hits)
        return np.where(n_ngrams > 0, hits / np.maximum(n_ngrams, 1), 1.0)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`; 0 without any word."""
        return np.where(totals[..., self.max_order] > 0, super().aggregate(totals), 0.0)
