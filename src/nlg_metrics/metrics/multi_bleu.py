"""BLEU as Moses' multi-bleu-detok.perl prints it, which GenerationEval's eval.py reports as "BLEU".

Papineni et al. 2002 (https://aclanthology.org/P02-1040) over four orders, case-sensitive, not smoothed, with
the mteval-v13a tokenization applied to UTF-8 bytes. Empty references are kept as references of length 0, as
the tool does: they can become the closest one and so shrink the brevity penalty (padding.py gives the figure
without that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.ngrams import BLEU_ORDERS, LENGTH, REFERENCE, bleu_statistics
from nlg_metrics.tokenizers.mteval import MultiBleuTokenizer


class MultiBleu(Metric):
    """multi-bleu-detok BLEU, 0 to 100.

    Statistics, K = 10: matches of orders 1 to 4, candidates of orders 1 to 4, hypothesis length, reference
    length.
    """

    name = "BLEU"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        tokenize = MultiBleuTokenizer()
        tokens = [[tokenize(text) for text in dict.fromkeys(group)] for group in references]
        return bleu_statistics([tokenize(text) for text in hypotheses], tokens)

    def aggregate(self, totals: Array) -> Array:
        precisions, penalty = self._factors(totals)
        positive = (precisions > 0).all(axis=-1)
        logarithms = np.log(np.where(precisions > 0, precisions, 1.0)).mean(axis=-1)
        return np.asarray(np.where(positive, 100 * penalty * np.exp(logarithms), 0.0))

    def _factors(self, totals: Array) -> tuple[Array, Array]:
        """Precisions (..., 4) and brevity penalty (...); no candidate or no reference word makes them 0."""
        matches, candidates = totals[..., :BLEU_ORDERS], totals[..., BLEU_ORDERS:LENGTH]
        length, reference = totals[..., LENGTH], totals[..., REFERENCE]
        precisions = np.where(candidates > 0, matches / np.maximum(candidates, 1), 0.0)
        shortfall = np.minimum(0.0, 1 - reference / np.maximum(length, 1))
        penalty = np.where((length > 0) & (reference > 0), np.exp(shortfall), 0.0)
        return precisions, penalty

    def parts(self, totals: Array) -> dict[str, float]:
        precisions, penalty = self._factors(totals)
        length, reference = float(totals[LENGTH]), float(totals[REFERENCE])
        return {
            **{f"precision_{order}": 100 * float(value) for order, value in enumerate(precisions, start=1)},
            "brevity_penalty": float(penalty),
            "ratio": length / reference if reference else 0.0,
            "hypothesis_length": length,
            "reference_length": reference,
        }

    def settings(self) -> dict[str, Any]:
        return {
            "tool": "multi-bleu-detok",
            "tok": "mteval13a-bytes",
            "case": "mixed",
            "smooth": "none",
            "empty_refs": "length-0",
        }
