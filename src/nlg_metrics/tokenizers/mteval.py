"""The mteval / multi-bleu tokenization of e2e-metrics (pymteval) and multi-bleu-detok, memoised word by word.

The rules are those of NIST's mteval-v13a for Western languages. No rule looks across white space, so a text is
split into words first and each distinct word is tokenized once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Unescaping runs in this order, so `&amp;lt;` becomes `<` and `&amp;quot;` stays `&quot;`.
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))

# Always a token of its own: ASCII punctuation and symbols except apostrophe, comma, hyphen and full stop.
_SYMBOL = re.compile(r"([{-~\[-`!-&(-+:-@/])")
_STOP_AFTER_NON_DIGIT = re.compile(r"([^0-9])([.,])")
_STOP_BEFORE_NON_DIGIT = re.compile(r"([.,])([^0-9])")
_HYPHEN_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII_SPACE = re.compile(r"[ \t\n\r\f\v]+")


def _join_lines(text: str) -> str:
    """Undo end-of-line hyphenation and put the text on one line."""
    return text.replace("-\n", "").replace("\n", " ") if "\n" in text else text


def _separate(word: str) -> str:
    """Put spaces around what is a token of its own in `word`, which holds no white space."""
    word = word.replace("<skipped>", "")
    for entity, character in _ENTITIES:
        word = word.replace(entity, character)
    word = _SYMBOL.sub(r" \1 ", f" {word} ")
    word = _STOP_AFTER_NON_DIGIT.sub(r"\1 \2 ", word)
    word = _STOP_BEFORE_NON_DIGIT.sub(r" \1 \2", word)
    return _HYPHEN_AFTER_DIGIT.sub(r"\1 \2 ", word)


class MtevalTokenizer:
    """Tokenizes as pymteval does: Unicode white space, an empty text is one empty token.

    Args:
        lowercase: lower-case the tokens. Default: True.
    """

    empty: tuple[str, ...] = ("",)
    """The tokens of a text that has none."""

    def __init__(self, lowercase: bool = True) -> None:
        self._lowercase = lowercase
        self._memo: dict[str, list[str]] = {}

    def _lower(self, token: str) -> str:
        """The token in lower case: the whole of Unicode."""
        return token.lower()

    def _word(self, word: str) -> list[str]:
        tokens = _separate(word).split()
        if self._lowercase:
            tokens = [self._lower(token) for token in tokens]
        self._memo[word] = tokens
        return tokens

    def __call__(self, text: str) -> list[str]:
        """The tokens of one text.

        Args:
            text: any string; `\\n` joins lines, and a hyphen before it is removed.

        Returns:
            A text without any token gives `empty`.
        """
        memo, make = self._memo, self._word
        tokens: list[str] = []
        for word in _join_lines(text).split():
            known = memo.get(word)
            tokens += make(word) if known is None else known
        return tokens or list(self.empty)


class PerlMtevalTokenizer(MtevalTokenizer):
    """Tokenizes as mteval-v13a.pl does: lower-cases A to Z alone, and an empty text has no token."""

    empty = ()

    def _lower(self, token: str) -> str:
        return token.translate(_ASCII_LOWER)


class MultiBleuTokenizer:
    """Tokenizes as multi-bleu-detok.perl does: on bytes, so only ASCII white space separates; case is kept.

    Tokens come back as text, one character a byte (Latin-1), which leaves equality and length unchanged.
    """

    def __init__(self) -> None:
        self._memo: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        """The tokens of one text; a text without any gives `[]`."""
        octets = _join_lines(text).encode("utf-8", "surrogatepass").decode("latin-1")
        tokens: list[str] = []
        for word in _ASCII_SPACE.split(octets):
            known = self._memo.get(word)
            if known is None:
                known = [token for token in _ASCII_SPACE.split(_separate(word)) if token]
                self._memo[word] = known
            tokens += known
        return tokens


Tokenizer = Callable[[str], list[str]]
