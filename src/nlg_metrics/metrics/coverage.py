"""How much of its input a text says: the share of triples whose object, or pairs whose value, it realises.

By rules, for corpora whose values are open (WebNLG, DART): numbers are compared as numbers, dates as dates in any usual
order, and names and phrases by their content words, without case, accents, inflection or order. Slot error rate
(slot_error_rate.py) knows E2E's own wordings and counts added values too. References show what the rules miss: their
rate (docs/metrics.md) is the ceiling to read a system's against. The idea is that of Wiseman et al. 2017's relation
generation (https://aclanthology.org/D17-1239), with rules instead of a trained extractor.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, ContextMetric
from nlg_metrics.metrics.tables import Entry, parse_table, realised

_TOKEN = re.compile(r"\.?\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_SPLIT_NUMBER = re.compile(r"(?<=\d) ([.,:]) (?=\d)")
_ASIDE = re.compile(r"\s*\([^()]*\)")
_ORDINAL = re.compile(r"(?<=\d)\s*(?:st|nd|rd|th)\b", re.IGNORECASE)
_MONTHS = "january february march april may june july august september october november december"
_CARDINALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth"
_WORDS_OF_NUMBERS = {
    word: float(number) for words in (_CARDINALS, _ORDINALS) for number, word in enumerate(words.split())
}
_TIMES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_SHORT = frozenset(
    ("a", "an", "and", "at", "by", "de", "for", "from", "in", "is", "la", "of", "on", "or", "the", "to", "with")
)
_CLASSES = frozenset(("language", "music", "people", "cuisine"))
"""Words that a text leaves out: someone speaks English and plays pop."""
_ALSO = {
    "united states": ("us", "u s", "usa", "u s a", "america", "american", "americans"),
    "united kingdom": ("uk", "u k", "britain", "british"),
}
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "ß": "ss", "đ": "d"})
_SUFFIXES = (
    "land",
    "ings",
    "ing",
    "ers",
    "ied",
    "ies",
    "ian",
    "ish",
    "ese",
    "ed",
    "er",
    "es",
    "an",
    "s",
    "y",
    "e",
    "a",
)
_SHORTEST_STEM = 3
_NEGATIONS = frozenset(("not", "no", "non", "isn't", "aren't", "doesn't", "don't", "without", "isn", "aren", "doesn"))


@dataclass(frozen=True)
class Said:
    """What is looked for in a text: its words, their stems, its numbers, and its letters and digits in a row."""

    words: str
    stems: frozenset[str]
    numbers: frozenset[float]
    letters: str

    @classmethod
    def of(cls, text: str) -> Said:
        """Take a text apart."""
        plain = _plain(_ORDINAL.sub("", text))
        tokens = _TOKEN.findall(plain)
        # Scorers may have split punctuation off: `3 , 310`.
        joined = _TOKEN.findall(_SPLIT_NUMBER.sub(r"\1", plain))
        return cls(
            f" {' '.join(tokens)} ",
            frozenset(map(_stem, tokens)),
            frozenset(_numbers(tokens) + _numbers(joined)),
            _letters(plain),
        )


def is_said(entry: Entry, said: Said) -> bool:
    """Whether a text realises an entry's object or value; of one that is `yes` or `no`, the property."""
    value = realised(entry).strip(" \"'")
    if value.lower() in ("yes", "no"):
        return _property_said(entry[-2], value.lower() == "yes", said)
    if date := _DATE.match(value):
        return _date_said(int(date[1]), int(date[2]), int(date[3]), said)
    plain = _plain(_ORDINAL.sub("", value))
    core = _ASIDE.sub("", plain).strip() or plain
    if _NUMBER.fullmatch(core):
        return _number_said(abs(float(core.replace(",", ""))), said, has_unit=core != plain)
    letters = _letters(core)
    if len(letters) > _SHORTEST_STEM and letters in said.letters:
        return True
    if any(f" {other} " in said.words for other in _ALSO.get(core, ())):
        return True
    words = _TOKEN.findall(core)
    words = [word for word in words if word not in _SHORT | _CLASSES] or words
    return all(_word_said(word, said) for word in words)


class Coverage(ContextMetric):
    """Entries said over all entries of all inputs, 0 to 1."""

    name = "Coverage"

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {"of": "objects", "rules": "nlg_metrics.coverage"}

    def compare(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str]) -> Array:
        """(N, 2): entries said, entries. References take no part.

        Raises:
            InputError: an input that can't be taken apart; its segment is named.
        """
        rows = []
        for number, (text, context) in enumerate(zip(hypotheses, contexts, strict=True), start=1):
            try:
                entries = parse_table(context)
            except InputError as error:
                raise InputError(f"segment {number}: {error}") from None
            rows.append((len(entries) - len(unsaid(context, text)), len(entries)))
        return np.array(rows, np.float64)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 0] / np.maximum(totals[..., 1], 1.0)

    def parts(self, totals: Array) -> dict[str, float]:
        """The two counts."""
        return {"said": float(totals[0]), "entries": float(totals[1])}


def unsaid(context: str, text: str) -> list[str]:
    """The values of an input that a text does not realise, in the input's order."""
    said = Said.of(text)
    return [realised(entry) for entry in parse_table(context) if not is_said(entry, said)]


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _stem(word: str) -> str:
    """A word without its endings: `germany`, `german` and `germans` are one."""
    word = word.replace("’", "'").removesuffix("'s").replace("'", "")
    suffix = _ending(word)
    while suffix:
        word = word.removesuffix(suffix)
        suffix = _ending(word)
    return word


def _ending(word: str) -> str:
    return next((s for s in _SUFFIXES if word.endswith(s) and len(word) - len(s) >= _SHORTEST_STEM), "")


def _numbers(tokens: Sequence[str]) -> list[float]:
    """The numbers of a text; `3.5 million` is 3.5 and 3,500,000."""
    found = []
    for token, after in zip(tokens, [*tokens, ""][1:], strict=True):
        digits = token.replace(",", "")
        number = _WORDS_OF_NUMBERS.get(token)
        if digits[-1].isdigit() and digits.count(".") < 2 and ":" not in digits:
            number = float(digits)
        if number is not None:
            found.append(number)
            if after in _TIMES:
                found.append(number * _TIMES[after])
    return found


def _number_said(amount: float, said: Said, has_unit: bool) -> bool:
    """Exactly, rounded to fewer digits, or, with a unit, in thousandths or thousands of it."""
    wanted = {amount, *(round(amount, digits) for digits in (0, 1, 2))}
    if amount >= 1000:
        wanted |= {float(f"{amount:.{digits}g}") for digits in (3, 4, 5, 6)}
    if has_unit:
        wanted |= {round(amount / 1000, digits) for digits in (0, 1, 2, 6)} | {round(amount * 1000, 6)}
    return bool(wanted & said.numbers)


def _property_said(name: str, holds: bool, said: Said) -> bool:
    """Whether a text speaks of a property, with a negation where it does not hold."""
    # Names of properties are words run together: `familyFriendly`.
    whole = _letters(name.lower())
    spoken = any(len(word) > _SHORTEST_STEM and whole.endswith(word) for word in said.words.split())
    return spoken and (holds or any(f" {word} " in said.words for word in _NEGATIONS))


def _date_said(year: int, month: int, day: int, said: Said) -> bool:
    if _letters(f"{year}-{month:02}-{day:02}") in said.letters:
        return True
    name = _MONTHS.split()[month - 1] if 1 <= month <= 12 else ""
    named = bool(name) and not said.stems.isdisjoint((_stem(name), _stem(name[:3])))
    return float(year) in said.numbers and float(day) in said.numbers and (named or float(month) in said.numbers)


def _word_said(word: str, said: Said) -> bool:
    if word[-1].isdigit():
        return _letters(word) in said.letters or any(number in said.numbers for number in _numbers([word]))
    return _stem(word) in said.stems
