"""The contexts on offer: those of a prepared file, their references, and the values their slots are known to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from lora_nlg.corpora.record import Record

PART, FIELD = " | ", " : "
"""What separates slots or triples, and what separates the fields of one, in linearised contexts."""
MOST_VALUES = 300
"""Values offered for one slot, the most frequent first."""
ALIKE = 0.95
"""The part of a corpus' contexts that must be of one form for it to be offered as slots or triples."""


def split_context(context: str) -> list[list[str]]:
    """`name : Gull | fare : free` → `[["name", "Gull"], ["fare", "free"]]`; triples have three fields."""
    return [[own.strip() for own in part.split(FIELD)] for part in context.split(PART) if part.strip()]


@dataclass(frozen=True)
class Corpus:
    """What the page offers to choose from.

    Attributes:
        contexts: distinct contexts in order of first appearance → all their references.
        width: fields of each part: 2 for slots, 3 for triples, 0 where the corpus has no such form.
        values: slots: name → known values; triples: `subject`, `relation`, `object` → known ones.
    """

    contexts: dict[str, list[str]] = field(default_factory=dict)
    width: int = 0
    values: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Corpus:
        """The corpus of prepared records; equal contexts are pooled."""
        contexts: dict[str, list[str]] = {}
        for record in records:
            contexts.setdefault(record.context, []).extend(record.references)
        parts = [split_context(context) for context in contexts]
        for width in (2, 3):
            alike = [own for own in parts if own and all(len(fields) == width for fields in own)]
            if alike and len(alike) >= ALIKE * len(parts):
                return cls(contexts, width, _known_values(alike, width))
        return cls(contexts)


def _known_values(contexts: Iterable[list[list[str]]], width: int) -> dict[str, list[str]]:
    counts: dict[str, Counter[str]] = {}
    for fields in (fields for parts in contexts for fields in parts):
        named = [(fields[0], fields[1])] if width == 2 else zip(("subject", "relation", "object"), fields, strict=True)
        for slot, value in named:
            counts.setdefault(slot, Counter())[value] += 1
    return {slot: [value for value, _ in own.most_common(MOST_VALUES)] for slot, own in counts.items()}
