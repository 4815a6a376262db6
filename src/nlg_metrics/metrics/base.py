"""What every metric here has in common: additive statistics per segment.

A metric turns N segments into an (N, K) array of float64 statistics once; the corpus score is a function of
their column sums. Bootstrap intervals, paired tests, subsets (seen, unseen) and per-segment scores all come
from that one array. The design follows sacrebleu's metrics/base.py (Post 2018,
https://aclanthology.org/W18-6319).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlg_metrics.errors import InputError

VERSION = "0.1.0"
Array = NDArray[np.float64]
Preparation = Callable[[Sequence[str], Sequence[Sequence[str]]], Any]
"""What a metric needs (tokens, n-gram counts), from N hypotheses and their references."""


@dataclass(frozen=True)
class Score:
    """A corpus score and what it was computed from.

    Attributes:
        name: the metric's printed name, as the official tool prints it.
        value: the score at full precision, on the official tool's scale.
        parts: named components (precisions, brevity penalty, chunks, …).
        signature: every setting that can move the number, e.g. `BLEU|tool:e2e-metrics-p|tok:mteval|…`.
    """

    name: str
    value: float
    parts: dict[str, float] = field(default_factory=dict)
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.name} = {self.value:.4f} ({self.signature})"


@dataclass
class Shared:
    """A costly step before several metrics (tokens, counts), taken once while the same texts are given.

    Attributes:
        make: what it does with hypotheses and references.
    """

    make: Preparation
    _of: tuple[Any, Any] = (None, None)
    _made: Any = None

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Any:
        if self._of[0] is not hypotheses or self._of[1] is not references:
            self._of, self._made = (hypotheses, references), self.make(hypotheses, references)
        return self._made


class Metric(ABC):
    """A corpus metric over segments of one hypothesis and one or more references each.

    Subclasses give `name`, `higher_is_better`, `settings()`, `statistics()` and `aggregate()`.
    """

    name: str
    higher_is_better: bool = True

    @abstractmethod
    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """Additive statistics, shape (N, K), of N hypotheses against their N lists of references."""

    @abstractmethod
    def aggregate(self, totals: Array) -> Array:
        """Scores from column sums: (..., K) -> (...). Must be vectorised over the leading axes."""

    def parts(self, totals: Array) -> dict[str, float]:
        """Named components of the score of one vector of column sums, shape (K,). Default: none."""
        return {}

    def caveat(self, statistics: Array) -> str:
        """Why the corpus score of these statistics, (N, K), means nothing; empty where it means what it says."""
        return ""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Every setting that can move the number, in the order the signature prints them."""

    def signature(self, references: Sequence[Sequence[str]] | None = None) -> str:
        """`name|key:value|…|refs:min-max|version:…`; the number of references is part of it when given."""
        fields = dict(self.settings())
        if references is not None:
            counts = [len(group) for group in references] or [0]
            low, high = min(counts), max(counts)
            fields["refs"] = str(low) if low == high else f"{low}-{high}"
        fields["version"] = VERSION
        return "|".join([self.name, *(f"{key}:{value}" for key, value in fields.items())])

    def measure(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str] = ()
    ) -> Array:
        """`statistics`, for a caller that has the inputs too, which a `ContextMetric` needs.

        Args:
            hypotheses: N texts.
            references: N lists of reference texts.
            contexts: N inputs, or none.
        """
        return self.statistics(hypotheses, references)

    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str] = ()
    ) -> Score:
        """The corpus score; the arguments are those of `measure`.

        Raises:
            InputError: hypotheses and references have different lengths, or are empty.
        """
        check_segments(hypotheses, references)
        totals = self.measure(hypotheses, references, contexts).sum(axis=0)
        return Score(self.name, float(self.aggregate(totals)), self.parts(totals), self.signature(references))

    def segment_scores(self, statistics: Array) -> Array:
        """A score for each segment alone, (N, K) -> (N,). Default: `aggregate` of each row."""
        return self.aggregate(statistics)


class ContextMetric(Metric):
    """A metric that also sees what each text was made from. Subclasses give `compare` in place of `statistics`."""

    @abstractmethod
    def compare(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str]) -> Array:
        """Additive statistics, shape (N, K), of N hypotheses, their lists of references and their inputs."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        return self.measure(hypotheses, references)

    def measure(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str] = ()
    ) -> Array:
        """`compare`, after a check of the inputs.

        Raises:
            InputError: no inputs, or other than one for each hypothesis.
        """
        if not any(contexts):
            raise InputError(
                f"{self.name} needs `contexts`, what each text was made from: of a data file, of a table with sources, "
                "or, for nlg-score texts, in a file of its own"
            )
        if len(contexts) != len(hypotheses):
            raise InputError(f"{len(hypotheses)} hypotheses but {len(contexts)} `contexts`; they must be equal")
        return self.compare(hypotheses, references, contexts)


def check_segments(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse what cannot be aligned.

    Raises:
        InputError: different counts, no segment, or a segment without any reference (its number is named).
    """
    if len(hypotheses) != len(references):
        raise InputError(
            f"{len(hypotheses)} hypotheses but references for {len(references)} segments; they must be equal"
        )
    if not hypotheses:
        raise InputError("no segment to score")
    for number, group in enumerate(references, start=1):
        if not group:
            raise InputError(f"segment {number} has no reference; leave it out or give it one")
