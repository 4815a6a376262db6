"""METEOR 1.5 for English as the E2E and GenerationEval scorers run it (`-l en -norm`), without Java.

A reimplementation from a description of the published tool's behaviour; statistics are those of the tool, segment by
segment. Paper: Denkowski & Lavie 2014, https://aclanthology.org/W14-3348.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal, get_args

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric, check_segments
from nlg_metrics.metrics.meteor import scoring
from nlg_metrics.metrics.meteor.aligner import align
from nlg_metrics.metrics.meteor.bound import SLACK, highest_score, word_weights
from nlg_metrics.metrics.meteor.matchers import PhraseMatcher, SegmentMatcher, WordMatcher, Words
from nlg_metrics.metrics.meteor.normalizer import normalized_words
from nlg_metrics.metrics.meteor.resources import Resources

Tool = Literal["e2e-metrics", "GenerationEval"]
_LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "cz": "Czech",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "ru": "Russian",
}
_TRIMMED = "".join(map(chr, range(0x21)))  # what Java's `trim` removes
_MOST_CANDIDATES = 1_000_000  # of a hypothesis and a reference: half a minute of search
_BLOCK = 512  # segments matched together; bounds memory


class Meteor(Metric):
    """METEOR 1.5, its statistics and scores those of the tool.

    Args:
        tool: which scorer's use of METEOR to follow. `e2e-metrics` (also COCO's): the text has been through the PTB
            tokenizer, which lower-cases it and drops punctuation; `|||` separates references and is deleted
            from hypotheses. `GenerationEval` (WebNLG, DART): the text has been through NLTK's
            `word_tokenize`, with case and punctuation; an empty reference stands for a missing one and wins only if
            nothing matches any other.
        folder: holds `meteor-1.5.jar` and `paraphrase-en.gz`; default: the pycocoevalcap package's.
        cache: folder for the index of the resources; default: `NLG_METRICS_CACHE` or the user's cache folder.
        language: code of the texts' language; only "en" has resources.

    Raises:
        InputError: unknown tool; another language; the resources are not there; the index cannot be written.
    """

    name = "METEOR"

    def __init__(
        self,
        tool: Tool = "e2e-metrics",
        folder: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        language: str = "en",
    ) -> None:
        if language != "en":
            name = _LANGUAGES.get(language, repr(language))
            raise InputError(f"METEOR has no {name} resources here; pycocoevalcap's are English")
        if tool not in get_args(Tool):
            raise InputError(f"METEOR as {tool!r} runs it is unknown; choose from {', '.join(get_args(Tool))}")
        self._tool = tool
        self._resources = Resources(folder, cache)

    def settings(self) -> dict[str, Any]:
        """METEOR's configuration, the tool whose use of it is followed, and the resources' identity."""
        tokenization = {"e2e-metrics": "ptb-lower", "GenerationEval": "word_tokenize"}[self._tool]
        return {
            "tool": f"meteor-1.5+{self._tool}",
            "lang": "en",
            "task": "rank",
            "modules": "exact.stem.synonym.paraphrase",
            "tok": f"{tokenization}+norm",
            "case": "lc",
            "resources": self._resources.identity,
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """Statistics of each segment with its best reference (the first of those that score highest).

        Args:
            hypotheses: N texts, tokenized as the tool has them when METEOR sees them.
            references: for each of them, its references in order, tokenized alike.

        Returns:
            (N, 24): the 23 numbers of METEOR's own statistics line, and the chunks counted in a corpus.

        Raises:
            InputError: different counts, no segment, a segment without any reference, or texts so long and
                repetitive that the search for their alignment would not end in reasonable time.
        """
        check_segments(hypotheses, references)
        words: dict[str, Words] = {}

        def split(text: str) -> Words:
            found = words.get(text)
            if found is None:
                found = words[text] = normalized_words(text, self._resources.prefixes)
            return found

        rows: list[list[float]] = []
        for first in range(0, len(hypotheses), _BLOCK):
            block = slice(first, first + _BLOCK)
            hyps = [split(self._clean(text)) for text in hypotheses[block]]
            refs = [[split(part) for text in group for part in self._references(text)] for group in references[block]]
            rows += self._block(hyps, refs, first)
            words.clear()
        return np.array(rows)

    def aggregate(self, totals: Array) -> Array:
        """Scores from column sums, (..., 24) -> (...)."""
        return scoring.scores(np.asarray(totals, np.float64))

    def parts(self, totals: Array) -> dict[str, float]:
        """Weighted precision, recall, their mean, and the fragmentation penalty."""
        found = scoring.components(totals.tolist())
        return {name: found[name] for name in ("precision", "recall", "f_mean", "penalty")}

    def _clean(self, hypothesis: str) -> str:
        """What reaches METEOR of a hypothesis; `e2e-metrics` sends it in one line with its references."""
        if self._tool == "e2e-metrics":
            return hypothesis.replace("|||", "").replace("  ", " ").strip(_TRIMMED)
        return hypothesis

    def _references(self, text: str) -> list[str]:
        if self._tool == "e2e-metrics":
            return [part.strip(_TRIMMED) for part in text.split("|||")]
        return [text]

    def _block(self, hypotheses: list[Words], references: list[list[Words]], first: int) -> list[list[float]]:
        """The statistics of a block of segments; `first` is how many come before it."""
        sentences = {*hypotheses, *(words for group in references for words in group)}
        word_matcher = WordMatcher({w for words in sentences for w in words}, self._resources.synsets)
        phrase_matcher = PhraseMatcher(self._resources.phrases, hypotheses, references)
        functions = self._resources.function_words
        is_function = {words: [word in functions for word in words] for words in sentences}
        weights = {words: word_weights(is_function[words]) for words in sentences}
        rows = []
        for number, (hypothesis, group) in enumerate(zip(hypotheses, references, strict=True)):
            matcher = SegmentMatcher(word_matcher, phrase_matcher, number, hypothesis)
            bounded = []
            for order, reference in enumerate(dict.fromkeys(group)):  # a repeated reference cannot beat itself
                if len(hypothesis) * len(reference) > _MOST_CANDIDATES // 100:
                    _check_size(first + number + 1, hypothesis, reference, matcher.count(reference))
                found = matcher.candidates(reference)
                bounded.append(
                    (-highest_score(found, weights[hypothesis], weights[reference]), order, reference, found)
                )
            bounded.sort(key=itemgetter(0))
            best: tuple[float, int, list[float]] | None = None  # minus the score, the reference's place, the statistics
            for bound, order, reference, found in bounded:
                if best is not None and bound > best[0] + SLACK:
                    break
                matches = align(found, len(hypothesis))
                row = scoring.segment_statistics(is_function[hypothesis], is_function[reference], matches)
                ranked = (-scoring.score(row), order, row)
                best = ranked if best is None else min(best, ranked)
            assert best is not None, "a segment without references passed the check"
            rows.append(best[2])
        return rows


def _check_size(segment: int, hypothesis: Words, reference: Words, candidates: int) -> None:
    if candidates > _MOST_CANDIDATES:
        raise InputError(
            f"segment {segment}: {len(hypothesis)} hypothesis words and {len(reference)} reference words can be "
            f"matched in {candidates:,} ways, METEOR is searched for up to {_MOST_CANDIDATES:,}; shorten the text"
        )
