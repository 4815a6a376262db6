"""The tokenisation of the E2E text form (`family - friendly`, `£ 20`), restated from what the files show.

The community's `context||completion` files were made with two tokenisers. Train and valid read like the Moses
tokeniser with aggressive hyphens (`isn 't`, `5 - star`, `£ 20- £ 25`), test like spaCy's English rules (`is n't`,
`5-star`, `£ 20-£25`). Both conventions are given here as far as the corpus's English shows them: enough to turn the
released CSV into the text form, not general tokenisers. A model is therefore trained on `isn 't` and scored
against `is n't` by everybody who uses those files; `--tokenise` keeps it so, to stay comparable.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LETTER = r"[^\W\d_]"
_ALNUM = r"[^\W_]"
_OTHER = r"(?:[\W\d_])"  # anything but a letter

# Words that keep their full stop, besides single capitals (`L.`) and words with a stop inside (`e.g.`).
_ABBREVIATIONS = frozenset({"Dr", "Mr", "Mrs", "Ms", "Prof", "St"})

_AGGRESSIVE_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(rule), replacement)
    for rule, replacement in [
        # A sign stands alone, inside a word too; . ' ` , - have rules of their own.
        (r"([^\w\s.'`,\-])", r" \1 "),
        # A hyphen between two letters or digits stands alone; beside a space or a sign it stays where it is.
        (rf"({_ALNUM})-(?={_ALNUM})", r"\1 - "),
        # Two or more full stops are one token.
        (r"(\.{2,})", r" \1 "),
        # A comma stands alone, unless digits are on both sides or it ends the text after a digit.
        (r"(\D),", r"\1 , "),
        (r",(\D)", r" , \1"),
        # A quote stands alone; a contraction keeps its apostrophe with the second half. Every rule wants a
        # neighbour on both sides, so a quote that opens or ends the text stays attached.
        (rf"({_OTHER})'({_OTHER})", r"\1 ' \2"),
        (rf"(\W)'({_LETTER})", r"\1 ' \2"),
        (rf"({_LETTER})'({_OTHER})", r"\1 ' \2"),
        (rf"({_LETTER})'({_LETTER})", r"\1 '\2"),
        (r"(\d)'s", r"\1 's"),
    ]
]


def tokenize_aggressive(text: str) -> str:
    """The convention of the text form's train and valid files.

    Args:
        text: one text of the released CSV.

    Returns:
        The tokens, joined by single spaces.
    """
    text = " ".join(text.split())
    for rule, replacement in _AGGRESSIVE_RULES:
        text = rule.sub(replacement, text)
    words = text.split()
    following = [*words[1:], ""][: len(words)]
    return " ".join(_split_full_stop(word, after) for word, after in zip(words, following, strict=True))


def _split_full_stop(word: str, following: str) -> str:
    stem = word[:-1]
    if not word.endswith(".") or not stem.strip("."):
        return word
    if stem in _ABBREVIATIONS or (len(stem) == 1 and stem.isupper()):
        return word
    if "." in stem and re.search(_LETTER, stem):
        return word
    # `1 out of 5. in the city` keeps its stop: after a digit, only a capital starts a new sentence.
    if stem[-1].isdigit() and following[:1].islower():
        return word
    return f"{stem} ."


_PREFIX = re.compile(r"""\.{2,}|[£$€"'(,;:!?]""")
_SUFFIX = re.compile(
    r"""(?:'s|'S|n't|N't|'re|'ve|'ll|'d|'m|\.{2,}|[£$€"'),;:!?]|(?<=[0-9a-zà-ÿ%"')])\.|(?<=[A-Z]{2})\.)$"""
)
_INFIX = re.compile(
    rf"(\.{{2,}}|(?<=[a-zà-ÿ])\.(?=[A-Z])|(?<={_LETTER})(?:[,:<>=/]|-+)(?={_LETTER})|(?<=[0-9])[-+*](?=[0-9-]))"
)
# Whole words that are two tokens: contractions typed without their apostrophe.
_CONTRACTED = {
    "cannot": "can not",
    "cant": "ca nt",
    "doesnt": "does nt",
    "dont": "do nt",
    "isnt": "is nt",
    "thats": "that s",
    "wont": "wo nt",
}


def tokenize_affixes(text: str) -> str:
    """The convention of the text form's test file: prefixes, suffixes and infixes split off each word.

    Args:
        text: one text of the released CSV.

    Returns:
        The tokens, joined by single spaces.
    """
    tokens: list[str] = []
    for word in text.split():
        before: list[str] = []
        after: list[str] = []
        start, end = 0, len(word)
        while start < end:
            prefix, suffix = _PREFIX.match(word, start, end), _suffix(word, start, end)
            if prefix and prefix.end() < end:
                before.append(prefix[0])
                start = prefix.end()
            elif suffix and suffix.start() > start:
                after.append(suffix[0])
                end = suffix.start()
            else:
                break
        middle = word[start:end]
        inner = _CONTRACTED.get(middle) or _INFIX.sub(r" \1 ", middle)
        tokens += [*before, *inner.split(), *reversed(after)]
    return " ".join(tokens)


def _suffix(word: str, start: int, end: int) -> re.Match[str] | None:
    """The suffix at the end of `word[start:end]`; looks at its last characters only, whatever its length."""
    dots = end
    while dots > start and word[dots - 1] == ".":
        dots -= 1
    return _SUFFIX.search(word, max(start, min(dots, end - 3)), end)


TOKENIZERS: dict[str, Callable[[str], str]] = {
    "train": tokenize_aggressive,
    "valid": tokenize_aggressive,
    "test": tokenize_affixes,
}
"""Split → the convention its text form has."""
