"""chrF++ as chrF++.py computes it for GenerationEval: character 6-grams and word 2-grams, beta 2.

Popović 2017 (https://aclanthology.org/W17-4770). A segment is compared with the reference of highest
sentence-level F (the first of equals); the counts of those pairs are summed over the corpus and an F is
taken of each of the eight orders; their mean is the score. Text is taken raw and case-sensitive; blank
references are left out.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric

_PUNCTUATION = frozenset(string.punctuation)
MOST_ORDER = 100
_TINY = 1e-16  # the tool's precision, recall and F of an order that has nothing to divide by


def split_punctuation(text: str) -> list[str]:
    """White-space words with one ASCII punctuation mark split off: a last one, or else a first one."""
    words = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


def _overlap(first: Counter[Any], second: Counter[Any]) -> int:
    """The size of the multiset intersection (`&` would build it)."""
    if len(second) < len(first):
        first, second = second, first
    other = second.get
    return sum([min(count, other(gram, 0)) for gram, count in first.items()])


class ChrF(Metric):
    """chrF++ over the corpus, 0 to 1.

    Statistics, K = 3 (C + W) for C character and W word orders: matches of each order, characters first;
    n-grams of the hypothesis; n-grams of the best reference.
    """

    name = "chrF++"

    def __init__(self, char_order: int = 6, word_order: int = 2, beta: float = 2.0) -> None:
        """
        Args:
            char_order: longest character n-gram, default 6.
            word_order: longest word n-gram, default 2; 0 gives chrF.
            beta: weight of recall, default 2.

        Raises:
            InputError: an order is negative or above `MOST_ORDER`, both are 0, or beta is not positive.
        """
        orders_fit = 0 <= char_order <= MOST_ORDER and 0 <= word_order <= MOST_ORDER and char_order + word_order > 0
        if not (orders_fit and 0 < beta < math.inf):
            raise InputError(
                f"chrF orders {char_order} (characters) and {word_order} (words) with beta {beta} can't be used; "
                f"orders are 0 to {MOST_ORDER}, not both 0, and beta is positive (6, 2 and 2 are usual)"
            )
        self.char_order, self.word_order, self.beta = char_order, word_order, beta

    @property
    def orders(self) -> int:
        """Number of n-gram orders, characters and words together."""
        return self.char_order + self.word_order

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        table = np.zeros((len(hypotheses), 3 * self.orders))
        for row, (text, group) in enumerate(zip(hypotheses, references, strict=True)):
            kept = [reference for reference in dict.fromkeys(group) if reference.strip()]
            if kept:
                hypothesis = self._counts(text)
                pairs = np.array([self._compare(hypothesis, self._counts(reference)) for reference in kept])
                # argmax is the first of equals, as in the tool.
                table[row] = pairs[np.argmax(self._sentence_f(pairs))]
        return table

    def _counts(self, text: str) -> list[Counter[Any]]:
        characters = text.strip().replace(" ", "")
        words = split_punctuation(text)
        return [
            Counter([characters[start : start + order] for start in range(len(characters) - order + 1)])
            for order in range(1, self.char_order + 1)
        ] + [
            Counter(zip(*(words[start:] for start in range(order)), strict=False))
            for order in range(1, self.word_order + 1)
        ]

    def _compare(self, hypothesis: list[Counter[Any]], reference: list[Counter[Any]]) -> list[int]:
        matches = [_overlap(ours, theirs) for ours, theirs in zip(hypothesis, reference, strict=True)]
        theirs = [counts.total() for counts in reference]
        # An order that the reference is too short for doesn't count the hypothesis's n-grams either.
        ours = [counts.total() if other else 0 for counts, other in zip(hypothesis, theirs, strict=True)]
        return [*matches, *ours, *theirs]

    def _sentence_f(self, statistics: Array) -> Array:
        """The F by which a reference is chosen: orders without a match count 0."""
        matches = statistics[..., : self.orders]
        return np.asarray(np.where(matches > 0, self._order_f(statistics), 0.0).sum(axis=-1))

    def _order_f(self, totals: Array) -> Array:
        """F of each order, (..., 3 (C + W)) -> (..., C + W)."""
        matches, ours, theirs = np.split(totals, 3, axis=-1)
        precision = np.where(ours > 0, matches / np.maximum(ours, 1), _TINY)
        recall = np.where(theirs > 0, matches / np.maximum(theirs, 1), _TINY)
        weight = self.beta**2
        denominator = weight * precision + recall
        f = (1 + weight) * precision * recall / np.where(denominator > 0, denominator, 1.0)
        return np.asarray(np.where(denominator > 0, f, _TINY))

    def aggregate(self, totals: Array) -> Array:
        return np.asarray(self._order_f(totals).sum(axis=-1) / self.orders)

    def parts(self, totals: Array) -> dict[str, float]:
        f = self._order_f(totals)
        names = [f"char_{order}" for order in range(1, self.char_order + 1)]
        names += [f"word_{order}" for order in range(1, self.word_order + 1)]
        return {f"f_{name}": float(value) for name, value in zip(names, f, strict=True)}

    def settings(self) -> dict[str, Any]:
        return {
            "tool": "chrF++.py",
            "nc": self.char_order,
            "nw": self.word_order,
            "beta": f"{self.beta:g}",
            "case": "mixed",
            "empty_refs": "left-out",
        }
