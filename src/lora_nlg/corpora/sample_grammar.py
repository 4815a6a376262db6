"""The grammar of the built-in sample: boat trips in an archipelago that does not exist, and how to speak of them.

Everything here is made up, so that the sample needs no download and no licence but the project's. A meaning is a dict
slot → value; `describe` says it in one of many ways, choosing how to order, join and word its slots.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Facts = dict[str, str]
"""A meaning: slot → value, in the order of `SLOTS`."""

SLOTS: dict[str, tuple[str, ...]] = {
    "name": (
        "Grey Heron", "Merry Otter", "Lady Marigold", "Silver Gull", "Brave Tern", "Sea Thistle", "Golden Anchor",
        "Blue Petrel", "Morning Star", "Queen Isolde", "Little Dolphin", "North Wind", "Red Lantern", "Kittiwake",
        "Foxglove", "Moonraker", "Sparrow", "Wanderer", "Copper Bell", "Winter Rose", "Nightingale", "Bonny Lass",
        "Old Captain", "Lucky Penny",
    ),
    "vessel": (
        "paddle steamer", "sailing barge", "glass-bottomed boat", "steam launch", "catamaran", "old trawler",
        "tall ship", "mail boat", "houseboat", "ice-breaker",
    ),
    "from": (
        "Saltmouth", "Kelpwick", "Port Amber", "Gullhaven", "Tern Quay", "Brackwater", "Oysterby", "Fishergate",
        "Harrow Pier", "Mussel Bay", "Stonequay", "Wrenport",
    ),
    "to": (
        "Puffin Island", "Lantern Rock", "Skerry Holm", "Fennel Island", "Seal Rock", "Bramble Cay", "Ravensey",
        "Tansy Island", "Thornholm", "Great Wrack", "Little Wrack", "Hollow Island", "Mistholm", "Otter Cay",
    ),
    "departs": (
        "8:30", "9:15", "10:00", "10:45", "11:30", "12:00", "13:15", "14:00", "15:30", "17:00", "18:45", "20:30",
    ),
    "crossing": (
        "20 minutes", "half an hour", "35 minutes", "50 minutes", "an hour", "90 minutes", "two hours", "three hours",
    ),
    "fare": (
        "free", "3 crowns", "4 crowns", "6 crowns", "8 crowns", "9 crowns", "12 crowns", "15 crowns", "18 crowns",
        "20 crowns",
    ),
    "on board": (
        "live fiddle music", "hot fish soup", "fresh waffles", "a small library", "a brass band", "ghost stories",
        "a telescope", "ginger tea", "a chess club", "a sun deck", "hammocks", "a piano bar",
    ),
    "sights": (
        "seals", "puffins", "sea caves", "a lighthouse", "an old shipwreck", "whales", "a smoking volcano",
        "basking sharks", "floating gardens", "a ruined abbey",
    ),
    "dogs": ("yes", "no"),
}  # fmt: skip
"""Slot → its values, in the order in which a context lists them."""

SPOKEN_TIMES = {
    "8:30": "half past eight", "9:15": "a quarter past nine", "10:00": "ten o'clock", "10:45": "a quarter to eleven",
    "11:30": "half past eleven", "12:00": "noon", "13:15": "a quarter past one", "14:00": "two o'clock",
    "15:30": "half past three", "17:00": "five o'clock", "18:45": "a quarter to seven",
    "20:30": "half past eight in the evening",
}  # fmt: skip
"""Time of day → how people say it."""


class Dice:
    """Seeded choices that come out the same on every Python.

    Only `random()` of Python's generator is promised to give the same numbers in every version, so everything
    here is built on it.

    Args:
        seed: a text that names the stream of choices.
    """

    def __init__(self, seed: str):
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Any of the options, all equally likely."""
        return options[int(self._random.random() * len(options))]

    def prefer(self, options: Sequence[T]) -> T:
        """One of the options, the k-th with a weight of 1 / k: people have habits."""
        total = 0.0
        for rank in range(1, len(options) + 1):
            total += 1 / rank  # not sum(), which rounds differently from Python 3.12 on
        mark = self._random.random() * total
        for rank, option in enumerate(options, start=1):
            mark -= 1 / rank
            if mark < 0:
                return option
        return options[-1]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order."""
        return [item for _, item in sorted(((self._random.random(), item) for item in items), key=lambda p: p[0])]


def describe(facts: Facts, dice: Dice) -> str:
    """Say a meaning: every slot once, in one to four sentences.

    Args:
        facts: the meaning; it has a name and at least one other slot.
        dice: decides on order, aggregation and wording.
    """
    left = dict(facts)
    name = left.pop("name")
    sentences: list[str] = []
    subject = _introduce(name, left, dice, sentences)
    if subject is not None:
        sentences.append(_main_sentence(subject, left, dice))
    clauses = [_clause(slot, left, dice) for slot in dice.shuffled(left)]
    while clauses:
        if len(clauses) > 1 and dice.chance(0.6):
            first, second = clauses[:2]
            joint = ", but " if ("not" in second or "ashore" in second) and dice.chance(0.7) else ", and "
            sentences.append(first + joint + second)
            clauses = clauses[2:]
        else:
            sentences.append(clauses.pop(0))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def article(noun: str) -> str:
    """The noun with `a` or `an`."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def spoken_time(time: str, dice: Dice) -> str:
    """`10:45`, or as often as not `a quarter to eleven`."""
    return SPOKEN_TIMES[time] if dice.chance(0.4) else time


def _introduce(name: str, left: Facts, dice: Dice, sentences: list[str]) -> str | None:
    """The subject of the main sentence, after a sentence of its own in `sentences` if it gets one.

    None if the sentence of its own leaves nothing for a main sentence.
    """
    vessel = left.pop("vessel", None)
    if vessel is None:
        return f"the {name}"
    if left and dice.chance(0.7):
        return dice.prefer(
            [
                f"the {name}, {article(vessel)},",
                f"the {vessel} {name}",
                f"{article(vessel)} called the {name}",
                f"the {name} is {article(vessel)} that",
            ]
        )
    sentence = dice.prefer([f"the {name} is {article(vessel)}", f"{article(vessel)} goes by the name of {name}"])
    if "on board" in left and dice.chance(0.5):
        sentence += f" with {left.pop('on board')} on board"
    sentences.append(sentence)
    if not {"from", "to", "departs"} & left.keys():
        return None
    return dice.prefer(["she", "the boat"])


def _main_sentence(subject: str, left: Facts, dice: Dice) -> str:
    """The sentence that carries the route, or without one any other slot; takes what it says out of `left`."""
    time = left.pop("departs", None) if {"from", "to"} & left.keys() and dice.chance(0.7) else None
    front = f"at {spoken_time(time, dice)} " if time and " that" not in subject and dice.chance(0.25) else ""
    arrives = "to" in left
    verb = _route(left, dice)
    moves = verb is not None and (arrives or verb.startswith("sails"))
    if verb is None:
        verb = _other_verb(left, dice)
    tail = f" at {spoken_time(time, dice)}" if time and not front else ""
    additions = {
        "crossing": " in {}" if arrives else "",
        "sights": " past {}" if moves else "",
        "fare": " for {}" if moves else "",
        "on board": "" if "on board" in verb else " with {} on board",
    }
    room = 2 - bool(tail)
    for slot, form in additions.items():
        if room and form and slot in left and dice.chance(0.35):
            value = left.pop(slot)
            tail += " free of charge" if value == "free" else form.format(value)
            room -= 1
    return f"{front}{subject} {verb}{tail}"


def _route(left: Facts, dice: Dice) -> str | None:
    """A verb phrase for where and when the boat goes, or None if the meaning does not say."""
    start, end = left.pop("from", None), left.pop("to", None)
    if start and end:
        return dice.prefer(
            [
                f"sails from {start} to {end}",
                f"takes you from {start} to {end}",
                f"runs between {start} and {end}",
                f"leaves {start} for {end}",
                f"carries passengers from {start} over to {end}",
            ]
        )
    if start:
        return dice.prefer([f"sails from {start}", f"casts off in {start}", f"starts in {start}"])
    if end:
        return dice.prefer([f"sails to {end}", f"takes you to {end}", f"is bound for {end}", f"calls at {end}"])
    if "departs" in left:
        time = spoken_time(left.pop("departs"), dice)
        return dice.prefer([f"departs at {time}", f"casts off at {time}", f"leaves every day at {time}"])
    return None


def _other_verb(left: Facts, dice: Dice) -> str:
    """A verb phrase for a boat whose route is not given."""
    slot = dice.pick([slot for slot in left if slot != "dogs"] or ["dogs"])
    value = left.pop(slot)
    if slot == "on board":
        return dice.prefer([f"offers {value} on board", f"has {value} on board", f"is known for {value}"])
    if slot == "sights":
        return dice.prefer([f"sails past {value}", f"shows you {value}", f"goes to see {value}"])
    if slot == "crossing":
        return dice.prefer([f"makes the crossing in {value}", f"takes {value} for the crossing"])
    if slot == "fare":
        if value == "free":
            return dice.prefer(["takes you for free", "charges no fare"])
        return dice.prefer([f"charges {value}", f"takes you for {value}"])
    if value == "yes":
        return dice.prefer(["welcomes dogs", "takes dogs along"])
    return dice.prefer(["does not take dogs", "is no place for dogs"])


def _clause(slot: str, left: Facts, dice: Dice) -> str:
    """A clause of its own for one slot."""
    value = left[slot]
    forms = {
        "departs": ["she casts off at {}", "departure is at {}", "the boat leaves at {}"],
        "crossing": ["the crossing takes {}", "the trip lasts {}", "it takes {} to get there"],
        "fare": ["a ticket costs {}", "the fare is {}", "you pay {}"],
        "on board": ["she offers {} on board", "you can enjoy {} on board", "passengers enjoy {}"],
        "sights": ["you may see {} on the way", "the route passes {}", "look out for {}"],
        "dogs": (
            ["dogs are welcome", "you may bring your dog", "dogs may come along"]
            if value == "yes"
            else ["dogs are not allowed", "dogs must stay ashore", "you may not bring your dog"]
        ),
    }[slot]
    if slot == "fare" and value == "free":
        forms = ["the trip is free", "tickets are free", "there is no fare"]
    if slot == "departs":
        value = spoken_time(value, dice)
    return dice.prefer(forms).format(value)
