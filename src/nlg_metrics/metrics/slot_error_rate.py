"""Slot error rate of E2E outputs: missing, wrong and added values over the number of slots (Wen et al. 2015).

The realisations that count are in e2e_slots.py. A slot of the context is missing if the text realises none of its
values, wrong if it realises only others. Every other value the text realises is added. Not counted as added:
`restaurant`, a word for any of the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, ContextMetric
from nlg_metrics.metrics.e2e_slots import canonical, find_values, parse_context, place_key
from nlg_metrics.segments import Segments

SLOTS = ("name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near")


@dataclass
class SlotErrors:
    """The errors of one output, as `slot: value` (wrong: `slot: value -> found`)."""

    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    n_slots: int = 0

    @property
    def count(self) -> int:
        """Number of errors."""
        return len(self.missing) + len(self.wrong) + len(self.added)


def slot_errors(context: str, text: str) -> SlotErrors:
    """Compare what a text says with its context.

    Args:
        context: `name : The Eagle | food : French` or `name[The Eagle], food[French]`.
        text: the output.

    Raises:
        InputError: not an E2E context.
    """
    slots = parse_context(context)
    said = find_values(text, [slots[slot] for slot in ("name", "near") if slot in slots])
    errors = SlotErrors(n_slots=len(slots))
    for slot in SLOTS:
        if slot not in ("name", "near"):
            _compare(errors, slot, slots.get(slot), said.values[slot])
    wanted = {slot: place_key(slots[slot]) for slot in ("name", "near") if slot in slots}
    strangers = sorted(said.places - set(wanted.values()))
    for slot, key in wanted.items():
        if key not in said.places:
            if strangers:
                errors.wrong.append(f"{slot}: {slots[slot]} -> {strangers.pop(0)}")
            else:
                errors.missing.append(f"{slot}: {slots[slot]}")
    errors.added += [f"near: {place}" for place in strangers]
    return errors


def _compare(errors: SlotErrors, slot: str, value: str | None, found: set[str]) -> None:
    others = sorted(found)
    if value is not None:
        wanted = canonical(slot, value)
        others = sorted(found - {wanted})
        if wanted not in found:
            if others:
                errors.wrong.append(f"{slot}: {value} -> {others.pop(0)}")
            else:
                errors.missing.append(f"{slot}: {value}")
    errors.added += [f"{slot}: {other}" for other in others if other != "restaurant"]


class SlotErrorRate(ContextMetric):
    """(missing + wrong + added) / slots, over all outputs. Lower is better; 0 is perfect."""

    name = "SER"
    higher_is_better = False

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {"slots": "e2e", "realisations": "nlg_metrics.e2e_slots", "errors": "missing+wrong+added"}

    def compare(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], contexts: Sequence[str]) -> Array:
        """(N, 4): missing, wrong, added, slots. References take no part.

        Raises:
            InputError: an output without context, or one that is not E2E's.
        """
        return self.from_errors(find_errors(contexts, hypotheses))

    def from_errors(self, errors: Sequence[SlotErrors]) -> Array:
        """`statistics` from errors found before."""
        rows = [[len(e.missing), len(e.wrong), len(e.added), e.n_slots] for e in errors]
        return np.array(rows, dtype=np.float64).reshape(len(errors), 4)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., :3].sum(axis=-1) / np.maximum(totals[..., 3], 1.0)

    def parts(self, totals: Array) -> dict[str, float]:
        """The three kinds of error and the number of slots."""
        return dict(zip(("missing", "wrong", "added", "slots"), map(float, totals), strict=True))


def find_errors(contexts: Sequence[str], hypotheses: Sequence[str]) -> list[SlotErrors]:
    """The errors of every output.

    Raises:
        InputError: an output without context, or one that is not E2E's.
    """
    if not all(contexts):
        raise InputError(
            "slot error rate needs contexts: those of a data file, or a TSV/CSV of outputs with a source column"
        )
    return [slot_errors(context, text) for context, text in zip(contexts, hypotheses, strict=True)]


def error_record(segments: Segments, errors: Sequence[SlotErrors]) -> dict[str, Any]:
    """Counts by slot and the list of offending outputs, for a JSON file.

    Returns:
        `{"slots": {slot: {"slots", "missing", "wrong", "added"}}, "outputs": [{"id", "context", "hypothesis", …}]}`.
    """
    counts = {slot: {"slots": 0, "missing": 0, "wrong": 0, "added": 0} for slot in SLOTS}
    for context in segments.contexts:
        for slot in parse_context(context):
            counts[slot]["slots"] += 1
    outputs = []
    for id_, context, text, found in zip(segments.ids, segments.contexts, segments.hypotheses, errors, strict=True):
        kinds = {"missing": found.missing, "wrong": found.wrong, "added": found.added}
        for kind, items in kinds.items():
            for item in items:
                counts[item.partition(":")[0]][kind] += 1
        if found.count:
            outputs.append({"id": id_, "context": context, "hypothesis": text, **kinds})
    return {"slots": counts, "outputs": outputs}
