"""E2E's slots: reading them from a context, and finding in a text which values it realises.

A value is found through its surface realisations, the regular expressions below, in normalised text: lower case, no
accents, no punctuation but `£`, hyphens as spaces. Two values that people word alike count as one (`cheap` and `less
than £20`; `high` and `5 out of 5`): the corpus' own texts do not keep them apart. Names are matched literally, the
article optional. Overlaps with names (`Raja Indian Cuisine`, `Café Rouge`) are avoided by taking names out first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from nlg_metrics.errors import InputError

# What contexts call a slot, in lower case and without white space -> the slot.
SLOT_NAMES = {
    "name": "name",
    "type": "eatType",
    "eattype": "eatType",
    "food": "food",
    "price": "priceRange",
    "pricerange": "priceRange",
    "customerrating": "customer rating",
    "rating": "customer rating",
    "area": "area",
    "familyfriendly": "familyFriendly",
    "near": "near",
}

# All places of the corpus, so that a wrong or additional one is noticed; those of a context are added to them.
PLACES = re.split(
    r"\|",
    "Alimentum|All Bar One|Aromi|Avalon|Bibimbap House|Blue Spice|Browns Cambridge|Burger King|Café Adriatic|"
    "Café Brazil|Café Rouge|Café Sicilia|Clare Hall|Clowns|Cocum|Cotto|Crowne Plaza Hotel|Express by Holiday Inn|"
    "Fitzbillies|Giraffe|Green Man|Loch Fyne|Midsummer House|Rainbow Vegetarian Café|Raja Indian Cuisine|Ranch|Strada|"
    "Taste of Cambridge|The Bakers|The Cambridge Blue|The Cricketers|The Dumpling Tree|The Eagle|The Golden Curry|"
    "The Golden Palace|The Mill|The Olive Grove|The Phoenix|The Plough|The Portland Arms|The Punter|The Rice Boat|"
    "The Six Bells|The Sorrento|The Twenty Two|The Vaults|The Waterman|The Wrestlers|Travellers Rest Beefeater|"
    "Wildwood|Yippee Noodle Bar|Zizzi",
)

_LINK = (
    r"(?: (?:is|are|was|be|being|been|has|have|of|as|at|a|an|the|very|quite|rather|fairly|considered|it|its|that|in"
    r"|with))"
)
_RATING = r"(?:customer\w*|rat\w+|review\w*|scor\w+|stars?|recommend\w*|satisf\w+|feedback|quality|reputation)"
_PRICE = r"(?:pric\w+|cost\w*|end|class|budget|value|expense)"
_POUNDS = "(?: pounds?)?"
_GUESTS = r"(?:famil(?:y|ies)|kids?|child(?:ren)?|childrens|kiddies?|youngsters?|little ones|all ages)"
_NOT = r"(?:not|no|non|never|nt|cannot|without|un|isnt|doesnt|arent|dont|wont|neither|nor|discourag\w+|unsuitable)"


def _rated(degree: str) -> list[str]:
    """`degree` said of a rating: `high customer rating`, `rated high`, `customers rate it as high`."""
    said_before = rf"(?:{degree})(?: \w+)? {_RATING}"
    return [said_before, rf"{_RATING}{_LINK}{{0,4}} (?:{degree})(?! (?:\w+ )?{_PRICE})"]


def _stars(number: str) -> list[str]:
    """A number given as a rating: `3 out of 5`, `three stars`, `rated 3`, `a 3 customer rating`."""
    return [
        rf"(?:{number})(?: \w+)? (?:out )?of(?: a)?(?: possible)? (?:5|five)",
        rf"(?:{number}) (?:stars?|5)",
        rf"{_RATING}{_LINK}{{0,2}} (?:{number})(?! (?:out|of|stars?|\d))",
        rf"(?<!of )(?:{number}) {_RATING}",
    ]


def _priced(degree: str) -> list[str]:
    """`degree` said of a price: `high price range`, `prices are high`."""
    said_before = rf"(?:{degree})(?: (?:and|to|level|in))? {_PRICE}"
    return [
        said_before,
        rf"{_PRICE}(?: range| level)?{_LINK}{{0,4}} (?:{degree})(?! (?:\w+ )?{_RATING})",
    ]


# slot -> realised value -> expressions, any of which realises it.
_REALISATIONS: dict[str, dict[str, list[str]]] = {
    "eatType": {
        "pub": ["pubs?", "public house", "bar", "tavern"],
        "coffee shop": ["coffee", "cafes?", "cafeteria"],
        "restaurant": ["restaurants?", "eatery", "eateries", "diner", "bistro"],
    },
    "food": {
        "Chinese": ["chinese", "china", "dim sum"],
        "English": ["english", "british", "fish and chips", "england"],
        "Fast food": ["fast foods?", "fast", "burgers?", "fries"],
        "French": ["french", "france"],
        "Indian": ["indian", "india", "curry", "curries"],
        "Italian": ["italian", "italy", "pasta", "pizzas?", "spaghetti"],
        "Japanese": ["japanese", "japan", "sushi"],
    },
    "area": {
        "city centre": [
            "(?:city|town|cambridge)s? (?:centre|center|central)s?",
            r"(?:centre|center|heart|middle) of (?:the |our )?(?:\w+ )?(?:city|town|cambridge)",
            "in the (?:centre|center)",
            "centrally|central|downtown|inner city|city",
        ],
        "riverside": ["rivers?", "river ?(?:side|front|bank)", "water(?:side|front)?", "rive side"],
    },
    "priceRange": {
        "cheap": [
            r"cheap\w*|inexpensive\w*|affordabl\w+|economical|bargain\w*",
            *_priced("low|lower|lowest|budget|small"),
            r"(?:less|lower|cheaper|under|below|within|up|not more)(?: \w+){0,3} £?20(?! (?:to |and )?£?25)",
            rf"£?20{_POUNDS} (?:or|and) (?:less|under|below)|sub £20",
        ],
        "moderate": [
            r"moderate\w*|mid(?:dle)?(?: range| price\w*)|midrange|medium|fair(?:ly)? pric\w+|reasonabl\w+",
            *_priced("average|averagely|mid|middle|medium|fair|decent|normal|standard|modest"),
            rf"£?20{_POUNDS}(?: (?:to|and|or|through|till|until))? £?25",
        ],
        "high": [
            r"expensive|price?y|upscale|upmarket|costly|luxur\w+|fine dining",
            *_priced("high|higher|highly|highest|upper|top|steep|above average"),
            r"(?:more|over|above|upwards?|from|starting|start|exceed\w*|least|higher|beyond|greater|minimum)"
            r"(?: \w+){0,3} £?30",
            rf"£?30{_POUNDS} (?:and|or|plus)(?: \w+)? (?:up|more|above|over|higher|upwards)|£?30 plus|£?30 pounds?",
        ],
    },
    "customer rating": {
        "low": [
            *_rated(
                "low|lower|lowest|poor|poorly|bad|badly|below average|terrible|not (?:well|highly|high|good)|lowly"
            ),
            *_stars("1|one"),
            "poorly|lowly rated|not (?:well|highly) (?:rated|recommended)",
        ],
        "average": [
            *_rated("average|averagely|mediocre|medium|moderate|moderately|decent|ok|okay|middling|fair|mid"),
            *_stars("3|three"),
            r"rated (?:\w+ )?average",
        ],
        "high": [
            "(?<!not )(?:"
            + "|".join(
                _rated(
                    "high|higher|highly|highest|top|excellent|good|great|well|best|perfect|outstanding|superb"
                    "|exceptional|fantastic"
                )
            )
            + ")",
            *_stars("5|five"),
            "(?<!not )highly (?:rated|recommended|regarded|praised)",
        ],
    },
}
REALISATIONS = {
    slot: {value: re.compile(rf"\b(?:{'|'.join(expressions)})\b") for value, expressions in values.items()}
    for slot, values in _REALISATIONS.items()
}

# Values of contexts -> the realised value they count as.
_SAME = {
    "priceRange": {"less than £20": "cheap", "£20-25": "moderate", "more than £30": "high"},
    "customer rating": {"1 out of 5": "low", "3 out of 5": "average", "5 out of 5": "high"},
}
# Said of a place elsewhere: `outside the city centre`.
_ELSEWHERE = re.compile(r"\b(?:outside|out|away|far)(?: of| from)?(?: the| our)? (?:city|town)(?: centre| center)?\b")
_CHILD_MENTION = re.compile(rf"\b{_GUESTS}\b|\badults?\b|\bgrown ups?\b|\bmature\b")
_REFUSED = re.compile(
    rf"\b{_NOT}(?: \w+){{0,5}} {_GUESTS}\b|\b{_GUESTS}(?: \w+){{0,3}} (?:{_NOT}|free|unfriendly|prohibited|banned)\b"
    r"|\badults?\b|\bgrown ups?\b"
)
_WELCOMED = re.compile(rf"\b{_GUESTS}\b")


@dataclass(frozen=True)
class Realised:
    """What a text says: slot -> values found, in E2E's slots; places apart, since a name does not tell its slot."""

    values: dict[str, set[str]]
    places: set[str]


def normalise(text: str) -> str:
    """Lower case without accents and punctuation, words separated by one space: `£ 20 - 25` gives `£20 25`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    plain = re.sub(r"(\w) ?n ?['’`]t\b", r"\1 not", plain)
    plain = re.sub(r"['’`]", "", plain)
    plain = re.sub(r"[^\w£]+", " ", plain)
    return re.sub(r"£ ", "£", plain).strip()


def parse_context(context: str) -> dict[str, str]:
    """Slots of a context, either `name : The Eagle | food : French` or `name[The Eagle], food[French]`.

    Raises:
        InputError: neither form, or a slot E2E does not have.
    """
    pairs = re.findall(r"([\w ]+?)\s*\[([^\]]*)\]", context)
    if not pairs:
        pairs = [(key, value) for key, colon, value in (part.partition(":") for part in context.split("|")) if colon]
    slots: dict[str, str] = {}
    for key, value in pairs:
        slot = SLOT_NAMES.get(re.sub(r"\s", "", key).lower())
        if slot is None:
            raise InputError(
                f"slot {key.strip()!r} is not one of E2E's ({', '.join(sorted(set(SLOT_NAMES.values())))})"
            )
        slots[slot] = value.strip()
    if not slots:
        raise InputError(f"{context[:80]!r} is not an E2E context (`name : The Eagle | food : French`)")
    return slots


def canonical(slot: str, value: str) -> str:
    """The realised value a context's value counts as: `£ 20 - 25` is `moderate`, `Café Rouge` stays."""
    compact = re.sub(r"\s*-\s*", "-", re.sub(r"£ ", "£", value.strip()))
    same = _SAME.get(slot, {}).get(compact.lower(), compact)
    for known in REALISATIONS.get(slot, {}):
        if known.lower() == same.lower():
            return known
    return same.lower() if slot == "familyFriendly" else same


def place_key(place: str) -> str:
    """The form in which `find_values` returns a place: normalised, without a leading article."""
    return re.sub(r"^the ", "", normalise(place))


@lru_cache(maxsize=1024)
def _place_pattern(more: frozenset[str]) -> re.Pattern[str]:
    """Any place, the longest name first; group 1 is its key."""
    keys = sorted(({place_key(place) for place in PLACES} | more) - {""}, key=len, reverse=True)
    return re.compile(rf"\b(?:the )?({'|'.join(map(re.escape, keys))})s?\b")


def find_values(text: str, places: Sequence[str] = ()) -> Realised:
    """The values a text realises.

    Args:
        text: a system's output.
        places: names to look for beside the corpus' own. Default: none.

    Returns:
        Values by slot and the places, these in their normalised form (`place_key`).
    """
    found: set[str] = set()

    def take(match: re.Match[str]) -> str:
        found.add(match[1])
        return "@"

    plain = _place_pattern(frozenset(map(place_key, places))).sub(take, normalise(text))
    plain = _ELSEWHERE.sub("@", plain)
    values = {slot: {value for value, p in kinds.items() if p.search(plain)} for slot, kinds in REALISATIONS.items()}
    values["familyFriendly"] = set()
    if _CHILD_MENTION.search(plain):
        refused = _REFUSED.search(plain) is not None
        if refused:
            values["familyFriendly"].add("no")
        elif _WELCOMED.search(plain):
            values["familyFriendly"].add("yes")
    return Realised(values, found)
