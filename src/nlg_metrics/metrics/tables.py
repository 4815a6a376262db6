"""The input of a text as a table: what it was written from, entry by entry.

Three forms of one line are read: a meaning representation (`name[Blue Spice], food[French]`), linearised pairs or
triples (`name : Blue Spice | food : French`, `Alan_Bean : birthPlace : Wheeler,_Texas | …`), and the table files of
PARENT's official program (`name|||Blue Spice` and `head|||relation|||tail`, entries apart by tabs).
"""

from __future__ import annotations

import re

from nlg_metrics.errors import InputError

Entry = tuple[str, ...]
"""(attribute, value) or (head, relation, tail)."""

BARS = "|||"
_SLOT = re.compile(r"([^\[\],]+)\[([^\[\]]*)\]")
_MEANING = re.compile(r"(?:\s*[^\[\],:|]+\[[^\[\]]*\]\s*(?:,|$))+\s*")


def parse_table(context: str) -> list[Entry]:
    """The entries of an input in any of the three forms.

    Linearised parts are triples where every one of them has two ` : ` or more (a third belongs to the object), else
    pairs.

    Raises:
        InputError: none of the forms.
    """
    if BARS in context:
        return [tuple(entry.split(BARS)) for entry in context.split("\t")]
    if _MEANING.fullmatch(context):
        return [(attribute.strip(), value) for attribute, value in _SLOT.findall(context)]
    parts = context.split(" | ")
    members = 3 if all(part.count(" : ") >= 2 for part in parts) else 2
    entries = [tuple(part.split(" : ", members - 1)) for part in parts]
    if any(len(entry) != members for entry in entries):
        raise InputError(
            f"{context[:60]!r} is no input that can be taken apart; it must be `name[value], …`, `name : value | …`, "
            "`head : relation : tail | …` or `name|||value` entries with tabs between them"
        )
    return entries


def realised(entry: Entry) -> str:
    """What a text should say of an entry: a pair's value, a triple's object; underscores are a triple's blanks."""
    return entry[1] if len(entry) == 2 else entry[2].replace("_", " ")
