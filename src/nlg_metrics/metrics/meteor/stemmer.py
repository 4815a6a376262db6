"""The Porter2 ("Snowball English") stemmer as METEOR 1.5 has it: the rules of about 2010.

Later Snowball releases added exceptions and changed rules, so current stemmer packages differ on some words.
Method: M. Porter, https://snowballstem.org/algorithms/english/stemmer.html, checked with
thousands of words of the real tool.
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = frozenset("aeiouy")
_NOT_SHORT = _VOWELS | frozenset("wxY")
_DOUBLES = frozenset(("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt"))
_LI_ENDING = frozenset("cdeghkmnrt")

_EXCEPTIONS = {
    "skis": "ski",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "idly": "idl",
    "gently": "gentl",
    "ugly": "ugli",
    "early": "earli",
    "only": "onli",
    "singly": "singl",
    **{word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")},
}
# Words that are final once their plural ending is gone.
_EXCEPTIONS_AFTER_1A = frozenset(("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"))
_R1_PREFIX = re.compile("gener|commun|arsen")
_REGION = re.compile("[^aeiouy]*[aeiouy]+[^aeiouy]", re.DOTALL)  # up to the first consonant after a vowel

_STEP_2 = {
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "abli": "able",
    "entli": "ent",
    "izer": "ize",
    "ization": "ize",
    "ational": "ate",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "aliti": "al",
    "alli": "al",
    "fulness": "ful",
    "ousli": "ous",
    "ousness": "ous",
    "iveness": "ive",
    "iviti": "ive",
    "biliti": "ble",
    "bli": "ble",
    "ogi": "og",
    "fulli": "ful",
    "lessli": "less",
    "li": "",
}
_STEP_3 = {
    "tional": "tion",
    "ational": "ate",
    "alize": "al",
    "icate": "ic",
    "iciti": "ic",
    "ical": "ic",
    "ful": "",
    "ness": "",
    "ative": "",
}
_STEP_4 = frozenset(
    ("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent")  # the longest wins
) | frozenset(("ism", "ate", "iti", "ous", "ive", "ize", "ion"))


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of one word.

    Args:
        word: a word in lower case (an upper-case letter counts as a consonant).

    Returns:
        Its stem; words of one or two letters are returned as they are.
    """
    if len(word) < 3:
        return word
    if word in _EXCEPTIONS:
        return _EXCEPTIONS[word]
    word = word[1:] if word[0] == "'" else word
    word, marked = _mark_consonant_y(word)
    r1 = _region_start(word, first=True)
    r2 = _region_start(word, start=r1)
    word = _step_1a(word)
    if word not in _EXCEPTIONS_AFTER_1A:
        word = _step_1c(_step_1b(word, r1))
        word = _step_2(word, r1)
        word = _step_3(word, r1, r2)
        word = _step_4(word, r2)
        word = _step_5(word, r1, r2)
    return word.replace("Y", "y") if marked else word


def _mark_consonant_y(word: str) -> tuple[str, bool]:
    """Write Y for each y that is a consonant: the first letter, or after a vowel that is not such a Y itself."""
    if "y" not in word:
        return word, False
    letters = list(word)
    for index, letter in enumerate(letters):
        if letter == "y" and (index == 0 or letters[index - 1] in _VOWELS):
            letters[index] = "Y"
    marked = "".join(letters)
    return marked, marked != word


def _region_start(word: str, start: int = 0, first: bool = False) -> int:
    """Where R1 (with `first`) or R2 (from R1's start) begins; the word's length if nowhere."""
    found = (_R1_PREFIX.match(word) if first else None) or _REGION.match(word, start)
    return found.end() if found else len(word)


def _has_vowel(part: str) -> bool:
    return not _VOWELS.isdisjoint(part)


def _ends_in_short_syllable(word: str) -> bool:
    if len(word) == 2:
        return word[0] in _VOWELS and word[1] not in _VOWELS
    return len(word) > 2 and word[-1] not in _NOT_SHORT and word[-2] in _VOWELS and word[-3] not in _VOWELS


def _longest_suffix(word: str, suffixes: dict[str, str] | frozenset[str], longest: int) -> str:
    for length in range(min(longest, len(word)), 1, -1):
        if word[-length:] in suffixes:
            return word[-length:]
    return ""


def _step_1a(word: str) -> str:
    """Possessives and plurals."""
    for ending in ("'s'", "'s", "'"):
        if word.endswith(ending):
            word = word[: -len(ending)]
            break
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _has_vowel(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, r1: int) -> str:
    """-eed, -ed and -ing, with or without -ly."""
    for ending in ("eedly", "eed"):
        if word.endswith(ending):
            return word[: -len(ending)] + "ee" if len(word) - len(ending) >= r1 else word
    for ending in ("ingly", "edly", "ing", "ed"):
        if word.endswith(ending):
            shorter = word[: -len(ending)]
            if not _has_vowel(shorter):
                return word
            if shorter.endswith(("at", "bl", "iz")):
                return shorter + "e"
            if shorter[-2:] in _DOUBLES:
                return shorter[:-1]
            return shorter + "e" if len(shorter) == r1 and _ends_in_short_syllable(shorter) else shorter
    return word


def _step_1c(word: str) -> str:
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        return word[:-1] + "i"
    return word


def _step_2(word: str, r1: int) -> str:
    ending = _longest_suffix(word, _STEP_2, 7)
    kept = len(word) - len(ending)
    if not ending or kept < r1:
        return word
    before = word[kept - 1 : kept]
    if (ending == "ogi" and before != "l") or (ending == "li" and before not in _LI_ENDING):
        return word
    return word[:kept] + _STEP_2[ending]


def _step_3(word: str, r1: int, r2: int) -> str:
    ending = _longest_suffix(word, _STEP_3, 7)
    kept = len(word) - len(ending)
    if not ending or kept < (r2 if ending == "ative" else r1):
        return word
    return word[:kept] + _STEP_3[ending]


def _step_4(word: str, r2: int) -> str:
    ending = _longest_suffix(word, _STEP_4, 5)
    kept = len(word) - len(ending)
    if not ending or kept < r2 or (ending == "ion" and word[kept - 1 : kept] not in ("s", "t")):
        return word
    return word[:kept]


def _step_5(word: str, r1: int, r2: int) -> str:
    kept = len(word) - 1
    if word.endswith("e"):
        if kept >= r2 or (kept >= r1 and not _ends_in_short_syllable(word[:-1])):
            return word[:-1]
    elif word.endswith("ll") and kept >= r2:
        return word[:-1]
    return word
