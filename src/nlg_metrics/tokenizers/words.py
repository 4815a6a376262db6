"""The words of a text in its language, as GenerationEval's eval.py takes them: `word_tokenize`, for Russian razdel.

razdel (https://github.com/natasha/razdel, rules for Russian) is an optional library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from functools import lru_cache
from typing import Protocol

from nlg_metrics.errors import InputError
from nlg_metrics.tokenizers.nltk_words import default_tokenizer

_CACHE = 1 << 16


class Words(Protocol):
    """A word tokenizer and what a signature calls it."""

    @property
    def signature(self) -> str:
        """Name, version and tables."""

    def tokens(self, text: str, /) -> tuple[str, ...]:
        """The words of a text."""


class RussianWords:
    """razdel's words.

    Raises:
        InputError: razdel is not installed.
    """

    def __init__(self) -> None:
        try:
            self._split = importlib.import_module("razdel").tokenize
        except ModuleNotFoundError:
            raise InputError("Russian words need the library razdel: pip install razdel==0.5.0") from None
        self.signature = f"razdel-{importlib.metadata.version('razdel')}"
        self._known = lru_cache(maxsize=_CACHE)(self._tokens)

    def tokens(self, text: str, /) -> tuple[str, ...]:
        """The words of a text; several metrics ask for the same."""
        return self._known(text)

    def _tokens(self, text: str) -> tuple[str, ...]:
        return tuple(token.text for token in self._split(text))


def words_of(language: str) -> Words:
    """The tokenizer of a language; all but Russian have `word_tokenize` with its English sentence tables, as there.

    Raises:
        InputError: its library is not installed.
    """
    return RussianWords() if language == "ru" else default_tokenizer()
