"""A metric on text that a scorer tokenizes first, and the tokenizations that scorers share between metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nlg_metrics.metrics.base import Array, Metric, Preparation
from nlg_metrics.tokenizers.ptb import PtbTokenizer

if TYPE_CHECKING:  # the E2E suite needs no NLTK
    from nlg_metrics.tokenizers.words import Words

Texts = tuple[list[str], list[list[str]]]
"""Hypotheses and references, their tokens joined by spaces."""


def coco_captions(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Texts:
    """The COCO tokenization: N hypotheses are one file, all their references the other."""
    tokenizer = PtbTokenizer()
    flat = iter(tokenizer.captions([text for group in references for text in group]))
    return tokenizer.captions(hypotheses), [[next(flat) for _ in group] for group in references]


def words(tokenizer: Words) -> Preparation:
    """The tokens of `word_tokenize` or its like, as eval.py feeds METEOR; case and punctuation are kept."""

    def join(text: str) -> str:
        return " ".join(tokenizer.tokens(text))

    def prepare(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Texts:
        return [join(text) for text in hypotheses], [[join(text) for text in group] for group in references]

    return prepare


class Tokenized(Metric):
    """A metric of tokenized text, given text."""

    def __init__(self, metric: Metric, tokenize: Preparation, **settings: str) -> None:
        """
        Args:
            metric: gets the tokens joined by spaces.
            tokenize: makes `Texts` of N hypotheses and their references.
            settings: what the signature says of it, before the metric's own settings.
        """
        self.metric = metric
        self._tokenize, self._settings = tokenize, settings
        self.name, self.higher_is_better = metric.name, metric.higher_is_better

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        return self.metric.statistics(*self._tokenize(hypotheses, references))

    def aggregate(self, totals: Array) -> Array:
        return self.metric.aggregate(totals)

    def segment_scores(self, statistics: Array) -> Array:
        return self.metric.segment_scores(statistics)

    def parts(self, totals: Array) -> dict[str, float]:
        return self.metric.parts(totals)

    def settings(self) -> dict[str, Any]:
        return {**self._settings, **self.metric.settings()}
