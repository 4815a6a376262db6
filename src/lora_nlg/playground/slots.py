"""Which slots of a context a text says: by a scorer where one knows the corpus, else by looking for the values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lora_nlg.playground.corpus import split_context


@dataclass(frozen=True)
class SlotState:
    """One slot, or the object of a triple, as a text treats it.

    Attributes:
        slot, value: as the context gives them; for an added one, as the text says it.
        state: `said`, `wrong` (another value), `missing` or `added` as a scorer found; `unseen`: the value is not in
            the text word for word, though a paraphrase may be.
        found: the value said in place of a wrong one.
    """

    slot: str
    value: str
    state: Literal["said", "wrong", "missing", "added", "unseen"]
    found: str = ""


SlotFinder = Callable[[str, str], Sequence[SlotState] | None]
"""Context and text → states of its slots; None where the context is not of the kind it knows."""


def literal_states(context: str, text: str) -> list[SlotState]:
    """The states of a context's slots by looking for their values in the text, whatever the case and punctuation."""
    said = f" {_plain(text)} "
    return [
        SlotState(fields[-2], fields[-1], "said" if f" {_plain(fields[-1])} " in said else "unseen")
        for fields in split_context(context)
        if len(fields) > 1 and _plain(fields[-1])
    ]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
