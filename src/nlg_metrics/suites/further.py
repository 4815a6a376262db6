"""Metrics that no official tool's table has and every scorer takes by name; a new one is its file and a line here.

A name may come with a value after `=`: PARENT's weight of the table, the model of a learned metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Metric
from nlg_metrics.metrics.bert_score import BertScore
from nlg_metrics.metrics.bleurt import Bleurt
from nlg_metrics.metrics.coverage import Coverage
from nlg_metrics.metrics.parent import Parent, Tokenization
from nlg_metrics.metrics.slot_error_rate import SlotErrorRate


@dataclass(frozen=True)
class Texts:
    """What a metric may want to know of the texts it gets.

    Attributes:
        tokens: whether they are words still to be found or have blanks between all tokens.
        prepare: what the scorer has done to each text; None: nothing.
        language: its code.
    """

    tokens: Tokenization = "words"
    prepare: Callable[[str], str] | None = None
    language: str = "en"


def _number(value: str) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        raise InputError(f"parent={value}: the weight of the table (lambda) must be a number") from None


FURTHER: Mapping[str, Callable[[str, Texts], Metric]] = {
    "parent": lambda weight, texts: Parent(_number(weight), texts.tokens, texts.prepare),
    "coverage": lambda _, texts: Coverage(),
    "ser": lambda _, texts: SlotErrorRate(),
    "bertscore": lambda model, texts: BertScore(model, texts.language),
    "bleurt": lambda model, texts: Bleurt(model),
}
"""Name -> maker of a metric from the value after `=`, empty where none was given, and what is known of the texts."""

ALIASES = {"bert": "bertscore"}
"""eval.py's name of a metric -> ours."""
