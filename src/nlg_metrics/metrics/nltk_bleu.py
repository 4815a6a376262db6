"""BLEU as NLTK's `corpus_bleu` computes it with smoothing method 3, which eval.py reports as "BLEU NLTK".

Papineni et al. 2002 over four orders on `word_tokenize` tokens, case-sensitive; blank references are left
out, segments with none left are skipped. Smoothing: Chen & Cherry 2014, method 3
(https://aclanthology.org/W14-3346), the k-th order without a match counts 1/2^k matches. A quirk is kept: a
hypothesis shorter than n adds 1 to order n's candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.ngrams import BLEU_ORDERS, LENGTH, REFERENCE, bleu_statistics
from nlg_metrics.tokenizers.nltk_words import default_tokenizer
from nlg_metrics.tokenizers.words import Words


class NltkBleu(Metric):
    """NLTK corpus BLEU with method 3, 0 to 1.

    Statistics, K = 10: matches of orders 1 to 4, candidates of orders 1 to 4, hypothesis length, reference
    length.
    """

    name = "BLEU NLTK"

    def __init__(self, tokenizer: Words | None = None) -> None:
        """
        Args:
            tokenizer: default: the one all metrics share.
        """
        self.tokenizer = tokenizer or default_tokenizer()

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        tokens = self.tokenizer.tokens
        groups = [[tokens(text) for text in dict.fromkeys(group)] for group in references]
        groups = [[words for words in group if words] for group in groups]
        kept = [row for row, group in enumerate(groups) if group]
        table = np.zeros((len(hypotheses), 2 * BLEU_ORDERS + 2))
        table[kept] = bleu_statistics(
            [tokens(hypotheses[row]) for row in kept], [groups[row] for row in kept], fewest_candidates=1
        )
        return table

    def aggregate(self, totals: Array) -> Array:
        precisions, penalty = self._factors(totals)
        score = penalty * np.exp(np.log(precisions).mean(axis=-1))
        return np.asarray(np.where(totals[..., 0] > 0, score, 0.0))

    def _factors(self, totals: Array) -> tuple[Array, Array]:
        """Smoothed precisions (..., 4) and brevity penalty (...)."""
        matches, candidates = totals[..., :BLEU_ORDERS], np.maximum(totals[..., BLEU_ORDERS:LENGTH], 1)
        empty = matches == 0
        smoothed = np.where(empty, 0.5 ** np.cumsum(empty, axis=-1), matches)
        length, reference = totals[..., LENGTH], totals[..., REFERENCE]
        penalty = np.exp(np.minimum(0.0, 1 - reference / np.maximum(length, 1)))
        return smoothed / candidates, np.where(length > 0, penalty, 0.0)

    def parts(self, totals: Array) -> dict[str, float]:
        precisions, penalty = self._factors(totals)
        return {
            **{f"precision_{order}": float(value) for order, value in enumerate(precisions, start=1)},
            "brevity_penalty": float(penalty),
            "hypothesis_length": float(totals[LENGTH]),
            "reference_length": float(totals[REFERENCE]),
        }

    def settings(self) -> dict[str, Any]:
        return {
            "tool": "nltk-corpus_bleu",
            "tok": self.tokenizer.signature,
            "case": "mixed",
            "smooth": "method3",
            "empty_refs": "left-out",
        }
