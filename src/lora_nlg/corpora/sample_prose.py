"""General text of the sample's archipelago, to pretrain a small base model on: prose without meaning representations.

What GPT-2 brings to E2E (the language, and the habit of taking up what the text before has said) a base this small must
learn somewhere. These paragraphs retell, ask and answer, and compare, as letters and guide books do; a line of
`slot : value` pairs never occurs.
"""

from __future__ import annotations

from collections.abc import Callable

from lora_nlg.corpora.sample_grammar import Dice, Facts, article, describe, spoken_time

Sampler = Callable[[Dice, int, int], Facts]
"""Draws a meaning with between so many and so many slots beside the name."""

RETELLING = (
    "In other words:", "The guide book says:", "My aunt puts it like this:", "The harbour master told me:",
    "To say it again:", "A sailor would say:", "The newspaper wrote:", "On the way home we read it once more:",
)  # fmt: skip
WEATHER = (
    "The sea was calm.", "It rained all day.", "A cold wind blew from the north.", "The sun came out at last.",
    "Fog lay on the water.", "The waves were high, and nobody minded.", "It was a bright morning.",
)  # fmt: skip
COMPANY = (
    "my sister", "two friends", "the whole class", "my neighbour", "grandmother", "the new teacher",
    "nobody but the dog",
)  # fmt: skip
VERDICTS = (
    "We will come again.", "It was well worth the trip.", "I would not do it twice.", "The children loved it.",
    "We came home late and happy.", "I slept all the way back.",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def paragraph(sample: Sampler, dice: Dice) -> str:
    """One paragraph of the archipelago's prose."""
    kind = dice.prefer([_retelling, _questions, _diary, _comparison])
    return kind(sample, dice)


def _retelling(sample: Sampler, dice: Dice) -> str:
    """The same boat two or three times, in other words and not every time with every detail."""
    facts = sample(dice, 3, 6)
    parts = [describe(facts, dice)]
    for _ in range(dice.number(1, 2)):
        dropped = dice.shuffled(slot for slot in facts if slot != "name")[: dice.number(0, 1)]
        again = {slot: value for slot, value in facts.items() if slot not in dropped}
        parts.append(f"{dice.pick(RETELLING)} {describe(again, dice)}")
    return " ".join(parts)


def _questions(sample: Sampler, dice: Dice) -> str:
    """A boat described, then questions about it and their answers."""
    facts = sample(dice, 3, 6)
    parts = [describe(facts, dice)]
    for slot in dice.shuffled(facts)[:3]:
        parts.append(_question(slot, facts, dice))
    return " ".join(parts)


def _question(slot: str, facts: Facts, dice: Dice) -> str:
    value, boat = facts[slot], f"the {facts['name']}"
    if slot == "departs":
        value = spoken_time(value, dice)
    if slot == "dogs":
        return f"Does {boat} take dogs? " + ("Yes, dogs are welcome." if value == "yes" else "No, no dogs.")
    if slot == "fare" and value == "free":
        return f"What is the fare of {boat}? There is none."
    question, answer = {
        "name": ("Which boat is that?", f"It is {boat}."),
        "vessel": (f"What kind of vessel is {boat}?", f"She is {article(value)}."),
        "from": (f"Where does {boat} start from?", f"From {value}."),
        "to": (f"Where does {boat} go to?", f"To {value}."),
        "departs": (f"When does {boat} leave?", f"She departs at {value}."),
        "crossing": ("How long is the crossing?", f"It takes {value}."),
        "fare": (f"What is the fare of {boat}?", f"It is {value}."),
        "on board": (f"What is there on board {boat}?", f"You can enjoy {value}."),
        "sights": ("What sights are there on the way?", f"Look out for {value}."),
    }[slot]
    return f"{question} {answer}"


def _diary(sample: Sampler, dice: Dice) -> str:
    """A day out: what we took, what we saw, and the boat in the words of whoever wrote the day up."""
    facts = sample(dice, 2, 5)
    name = facts["name"]
    opening = dice.pick(
        [
            f"On {dice.pick(DAYS)} I took the {name} with {dice.pick(COMPANY)}.",
            f"Last {dice.pick(DAYS)} we went aboard the {name}.",
            f"Dear friend, today I must tell you of the {name}.",
        ]
    )
    parts = [opening, dice.pick(WEATHER), describe(facts, dice)]
    if "sights" in facts and dice.chance(0.6):
        parts.append(f"We saw {facts['sights']} on the way.")
    if "to" in facts and dice.chance(0.6):
        parts.append(f"In the evening we walked all over {facts['to']}.")
    if "on board" in facts and dice.chance(0.6):
        parts.append(f"Best of all we liked {facts['on board']}.")
    return " ".join([*parts, dice.pick(VERDICTS)])


def _comparison(sample: Sampler, dice: Dice) -> str:
    """Two boats, and which of them somebody should take."""
    one, other = sample(dice, 2, 4), sample(dice, 2, 4)
    parts = [describe(one, dice), describe(other, dice)]
    shared = [slot for slot in one if slot in ("on board", "sights", "to") and slot != "name"]
    for slot in shared[:1]:
        wish = {"on board": "enjoy", "sights": "see", "to": "go to"}[slot]
        parts.append(f"If you want to {wish} {one[slot]}, take the {one['name']} and not the {other['name']}.")
    parts.append(f"{dice.pick(RETELLING)} {describe(other if dice.chance(0.5) else one, dice)}")
    return " ".join(parts)
