"""PARENT: a text against its references and the table it was written from.

Dhingra et al. 2019, "Handling Divergent Reference Texts when Evaluating Table-to-Text Generation",
https://aclanthology.org/P19-1483; the numbers are those of the authors' program table_text_eval.py (google-research,
April 2020). An n-gram of the output is right if a reference has it or the table entails it; recall is how much of what
the reference takes from the table is said, and how much of the table. A reimplementation from a description of the
program's behaviour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, ContextMetric
from nlg_metrics.metrics.tables import Entry, parse_table

Tokens = list[str]
Table = list[tuple[Tokens, ...]]
Counts = dict[tuple[str, ...], int]
Entailment = Callable[[tuple[str, ...]], float]
"""The probability that an n-gram is true of the table."""

Tokenization = Literal["words", "blanks"]
_WORDS = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*|[^\w\s]|_")


class Parent(ContextMetric):
    """PARENT; the F-score of the official program, a mean over segments, 0 to 1.

    Args:
        weight: lambda, the table's share of recall; None: 1 minus what the reference covers of the table, segment by
            segment (the official command's default).
        tokens: "words": texts and tables are taken apart into words, numbers and punctuation; underscores of heads
            and tails are blanks. "blanks": they are tokenised already, as the official program takes its files.
        prepare: what the scorer has done to the texts before, done to the table's values as well.
        counts: of a training set, `{"b": n, "b|||x": m}` for table tokens b and text tokens x: an n-gram is then
            entailed by co-occurrence instead of word overlap.
        smoothing: in place of a zero at orders above 1.
        max_order: longest n-gram.

    Raises:
        InputError: another tokenisation, or a `max_order` below 1.
    """

    name = "PARENT"

    def __init__(
        self,
        weight: float | None = None,
        tokens: Tokenization = "words",
        prepare: Callable[[str], str] | None = None,
        counts: Mapping[str, float] | None = None,
        smoothing: float = 1e-5,
        max_order: int = 4,
    ) -> None:
        if tokens not in get_args(Tokenization):
            raise InputError(f"`tokens` is {tokens!r}; it must be one of {', '.join(get_args(Tokenization))}")
        if max_order < 1:
            raise InputError(f"`max_order` is {max_order}; it must be at least 1")
        if weight is not None:
            self.name = f"PARENT (lambda {weight:g})"
        self._weight, self._tokens, self._prepare, self._counts = weight, tokens, prepare, counts
        self._smoothing, self._orders = smoothing, range(1, max_order + 1)

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": "table_text_eval",
            "lambda": "heuristic" if self._weight is None else self._weight,
            "entailment": "overlap" if self._counts is None else "cooccurrence",
            "order": self._orders[-1],
            "smooth": self._smoothing,
            "tok": self._tokens,
            "case": "lc",
        }

    def compare(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str]) -> Array:
        """(N, 4): precision, recall and F with the reference of the highest F, and 1.

        Args:
            hypotheses: N texts.
            references: N lists of texts; a blank one counts as a reference without tokens.
            contexts: N inputs, see `tables.parse_table`.

        Raises:
            InputError: an input that has no entry, or one without a value, or that mixes pairs and triples.
        """
        rows = []
        for number, (text, group, context) in enumerate(zip(hypotheses, references, contexts, strict=True), start=1):
            try:
                rows.append([*self._segment(text, group, self._table(parse_table(context))), 1.0])
            except InputError as error:
                raise InputError(f"segment {number}: {error}") from None
        return np.array(rows, np.float64)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 2] / np.maximum(totals[..., 3], 1.0)

    def parts(self, totals: Array) -> dict[str, float]:
        """Mean precision and recall; the score is the mean of F, not the F of these."""
        return {"precision": float(totals[0] / totals[3]), "recall": float(totals[1] / totals[3])}

    def _split(self, text: str) -> Tokens:
        lower = text.lower()
        return _WORDS.findall(lower) if self._tokens == "words" else lower.split()

    def _table(self, entries: Sequence[Entry]) -> Table:
        def split(place: int, member: str, of: int) -> Tokens:
            if self._tokens == "words" and of == 3 and place != 1:
                member = member.replace("_", " ")
            return self._split(self._prepare(member) if self._prepare else member)

        return [tuple(split(place, member, len(entry)) for place, member in enumerate(entry)) for entry in entries]

    def _segment(self, text: str, references: Sequence[str], table: Table) -> tuple[float, float, float]:
        """Precision, recall and F of one text."""
        said = self._split(text)
        values = _values(table)
        hypothesis = [_ngrams(said, order) for order in self._orders]
        entailed = self._entailment(table, values)
        table_recall = _mean(_covered(value, said) for value in values) or self._smoothing
        best: tuple[float, float, float] | None = None
        for reference in map(self._split, references):
            grams = [_ngrams(reference, order) for order in self._orders]
            precision = self._precision(hypothesis, grams, entailed)
            weight = self._weight
            if weight is None:
                weight = 1 - _mean(_covered(value, reference) for value in values)
            recall = _weighted(self._reference_recall(hypothesis, grams, entailed), table_recall, weight)
            f = 2 * precision * recall / (precision + recall + 1e-8)
            if best is None or f > best[2]:
                best = precision, recall, f
        assert best is not None, "a segment without references passed the check"
        return best

    def _precision(self, hypothesis: list[Counts], reference: list[Counts], entailed: Entailment) -> float:
        """The share of the hypothesis's n-grams that the reference has or the table entails."""
        found = []
        for ours, theirs in zip(hypothesis, reference, strict=True):
            right, total = 0.0, 0
            for gram, count in ours.items():
                shared = min(1.0, theirs.get(gram, 0) / count)
                right += count * (shared + (1 - shared) * entailed(gram))
                total += count
            found.append(right / total if total else 0.0)
        return self._geometric_mean(found, 0.0)

    def _reference_recall(self, hypothesis: list[Counts], reference: list[Counts], entailed: Entailment) -> float:
        """The share that the hypothesis has of those n-grams of the reference that the table entails."""
        found = []
        for ours, theirs in zip(hypothesis, reference, strict=True):
            said, total = 0.0, 0.0
            for gram, count in theirs.items():
                weight = count * entailed(gram)
                total += weight
                said += weight * min(1.0, ours.get(gram, 0) / count)
            found.append(said / total if total else 1.0)
        return self._geometric_mean(found, self._smoothing)

    def _geometric_mean(self, values: list[float], of_nothing: float) -> float:
        """Over the orders; the first is not smoothed, and any zero left makes it `of_nothing`."""
        smoothed = [values[0], *(value or self._smoothing for value in values[1:])]
        if not all(smoothed):
            return of_nothing
        share = 1 / len(smoothed)
        return math.exp(math.fsum(share * math.log(value) for value in smoothed))

    def _entailment(self, table: Table, values: list[Tokens]) -> Entailment:
        """The entailment of n-grams by a table, each computed once."""
        known: dict[tuple[str, ...], float] = {}
        make = _overlap(table, values) if self._counts is None else _cooccurrence(table, self._counts)

        def entailed(gram: tuple[str, ...]) -> float:
            found = known.get(gram)
            if found is None:
                found = known[gram] = make(gram)
            return found

        return entailed


def _values(table: Table) -> list[Tokens]:
    """The tokens that a text should say of each entry: a pair's value; a triple's head and tail."""
    values = []
    for entry in table:
        if len(entry) < 2:
            raise InputError("an entry of its table has one member; it must be a pair or a triple")
        values.append(entry[1] if len(entry) == 2 else entry[0] + entry[2])
    if not values:
        raise InputError("its table has no entry")
    if not all(values):
        raise InputError("an entry of its table has no value")
    return values


def _overlap(table: Table, values: list[Tokens]) -> Entailment:
    """The share of an n-gram's tokens that are values of the table."""
    vocabulary = {token for value in values for token in value}
    uniform = {len(entry) for entry in table} in ({2}, {3})

    def entailed(gram: tuple[str, ...]) -> float:
        if not uniform:
            raise InputError("its table must be all pairs or all triples")
        return sum(token in vocabulary for token in gram) / len(gram)

    return entailed


def _cooccurrence(table: Table, counts: Mapping[str, float]) -> Entailment:
    """The geometric mean over an n-gram's tokens of the highest probability that a token of the table brings each."""
    tokens: set[str] = set()
    for entry in table:
        name, *rest = (entry[0], entry[1]) if len(entry) == 2 else (entry[1], entry[0], entry[2])
        tokens.update(["_".join(name)], *rest)
    causes = [(token, counts[token]) for token in tokens if token in counts]

    def entailed(gram: tuple[str, ...]) -> float:
        product = 1.0
        for token in gram:
            if token not in tokens:
                if not all(count for _, count in causes):
                    raise InputError("`counts` has 0 for a token of its table; leave such tokens out")
                product *= max([0.0, *(counts.get(f"{cause}|||{token}", 0) / count for cause, count in causes)])
        return math.pow(product, 1 / len(gram))

    return entailed


def _ngrams(tokens: Tokens, order: int) -> Counts:
    """Counts in order of first occurrence."""
    counts: Counts = {}
    for gram in zip(*(tokens[start:] for start in range(order)), strict=False):
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def _covered(value: Tokens, text: Tokens) -> float:
    """The longest common subsequence of a value and a text over the value's length."""
    # A bit a token of the value (Hyyrö 2004): a zero is a step of the longest common subsequence.
    places: dict[str, int] = {}
    for place, token in enumerate(value):
        places[token] = places.get(token, 0) | 1 << place
    everything = (1 << len(value)) - 1
    state = everything
    for token in text:
        if token in places:
            hit = state & places[token]
            state = (state + hit) | (state - hit)
    return (everything & ~state).bit_count() / len(value)


def _mean(values: Iterable[float]) -> float:
    """The mean by a plain running sum; `sum` has been exact since Python 3.12, the recorded scores are not."""
    total, count = 0.0, 0
    for value in values:
        total += value
        count += 1
    return total / count


def _weighted(of_reference: float, of_table: float, weight: float) -> float:
    """The two recalls' weighted geometric mean; 0 if either is 0."""
    if not of_reference or not of_table:
        return 0.0
    return math.exp((1 - weight) * math.log(of_reference) + weight * math.log(of_table))
