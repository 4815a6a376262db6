"""METEOR 1.5's English text normaliser (its `-norm`): a Moses-like tokenizer that keeps punctuation.

METEOR applies it to every hypothesis and reference, also to text that has been tokenized before. Each step is one
left-to-right replacement pass whose matches consume their neighbours, so overlapping contexts leave survivors
(`a-b-c` -> `a b-c`); that is the tool's behaviour and scores depend on it.
Method: Denkowski & Lavie 2014 (https://aclanthology.org/W14-3348), checked character by character with the real tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Letters as the tool knows them: plain code point ranges, no Unicode property. Everything else that is not a
# digit, a space or one of . ' ` , - ‘ ’ becomes a word of its own.
_ALPHA = (
    "A-Za-z\u0160\u0161\u017d\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e"
    "\u0400-\u04ff\u0500-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
)
_ALNUM = _ALPHA + "0-9"

_OTHER = re.compile(f"([^{_ALNUM}\t\n\x0b\x0c\r .'`,\u2018\u2019\\-])")
_DOTS = re.compile(r"\.{2,}")
# In this order. Each has a text that must occur for it to match, which is much faster to look for.
_PASSES = tuple(
    (needed, re.compile(pattern), replacement)
    for needed, pattern, replacement in (
        # Commas, unless between two digits.
        (",", "([^0-9]),([^0-9])", r"\1 , \2"),
        (",", "([0-9]),([^0-9])", r"\1 , \2"),
        (",", "([^0-9]),([0-9])", r"\1 , \2"),
        # Quotes: single ones become ', doubled ones and curly double ones become ".
        ("", "[`\u2018\u2019]", "'"),
        ("", "[\u201c\u201d]|''", ' " '),
        # Dashes, then hyphens inside words.
        ("\u2013", "\u2013", "-"),
        ("--", "--", "-"),
        ("-", f"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
        # English apostrophes.
        ("'", f"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        ("'", f"([^{_ALNUM}])'([{_ALPHA}])", r"\1 ' \2"),
        ("'", f"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        ("'", f"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        ("'", "([0-9])'(s)", r"\1 '\2"),
    )
)
_HAS_ALPHA = re.compile(f"[{_ALPHA}]")
_WORD = re.compile(r"[^ \t\n\r\f]+")  # neither vertical tab nor any Unicode space separates words
_SPACES = re.compile("[ \u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_TRIMMED = "".join(map(chr, range(0x21)))

# Stands for a dot of a run of two or more. Any NUL of the input is alone between spaces once `_OTHER` has run,
# so a run of NULs can only come from `_DOTS`.
_RUN = re.compile("\0{2,}")

# The tool's own stand-in, a word; it is used, to the letter, where an input holds that word.
_MARK = "DOTMULTI"


@dataclass(frozen=True)
class Prefixes:
    """Words after which a dot does not end a sentence: everywhere, or only before a number."""

    anywhere: frozenset[str]
    before_number: frozenset[str]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Prefixes:
        """Read the tool's `nonbreaking/english.prefixes`: one prefix a line, `#` starts a comment line."""
        anywhere: set[str] = set()
        before_number: set[str] = set()
        for line in lines:
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            numeric = len(fields) > 1 and fields[1] == "#NUMERIC_ONLY#"
            (before_number if numeric else anywhere).add(fields[0])
        return cls(frozenset(anywhere), frozenset(before_number))


def normalize(line: str, prefixes: Prefixes) -> str:
    """Normalise one line, keeping punctuation and case.

    Args:
        line: any text, tokenized or not.
        prefixes: the non-breaking prefixes.

    Returns:
        The words of the line, separated by single spaces.
    """
    text = _OTHER.sub(r" \1 ", f" {line} ")
    marked = _MARK in line
    text = _mark_runs(text) if marked else _DOTS.sub(lambda run: f" {chr(0) * len(run[0])} ", text)
    for needed, pattern, replacement in _PASSES:
        if needed in text:
            text = pattern.sub(replacement, text)
    text = " ".join(_split_final_dots(_WORD.findall(text), prefixes))
    text = _unmark_runs(text) if marked else _RUN.sub(lambda run: "." * len(run[0]), text)
    return _SPACES.sub(" ", text).strip(_TRIMMED)


def _mark_runs(text: str) -> str:
    """Each run of n dots as n - 1 times DOT before the mark, as the tool has it; marks of the input count with them."""
    text = re.sub(r"\.(\.+)", rf" {_MARK}\1", text)
    while f"{_MARK}." in text:
        text = re.sub(rf"{_MARK}\.([^.])", rf"DOT{_MARK} \1", text)
        text = text.replace(f"{_MARK}.", f"DOT{_MARK}")
    return text


def _unmark_runs(text: str) -> str:
    while f"DOT{_MARK}" in text:
        text = text.replace(f"DOT{_MARK}", f"{_MARK}.")
    return text.replace(_MARK, ".")


def normalized_words(line: str, prefixes: Prefixes) -> tuple[str, ...]:
    """The words METEOR compares: normalised, then lower-cased."""
    return tuple(_WORD.findall(normalize(line, prefixes).lower()))


def _split_final_dots(words: list[str], prefixes: Prefixes) -> Iterable[str]:
    """Yield the words with a sentence-final dot split off, an abbreviation's dots deleted or kept."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if len(word) == 1 or not word.endswith("."):
            yield word
            continue
        stem = word[:-1]
        if "." in stem and _HAS_ALPHA.search(stem):
            yield word.replace(".", "")  # U.S. -> US
        elif (
            stem in prefixes.anywhere
            or "a" <= following[:1] <= "z"
            or (stem in prefixes.before_number and "0" <= following[:1] <= "9")
        ):
            yield word
        else:
            yield stem
            yield "."
