"""BLEU as Moses' multi-bleu-detok.perl prints it, which GenerationEval's eval.py reports as "BLEU".

Papineni et al. 2002 (https://aclanthology.org/P02-1040) over four orders, case-sensitive, not smoothed, with
the mteval-v13a tokenisation applied to UTF-8 bytes. Empty references are kept as references of length 0, as
the tool does: they can become the closest one and so shrink the brevity penalty. `ignore_empty` gives the
figure without that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from nlg_metrics.base import Array, Metric
from nlg_metrics.clipped_matches import LENGTH, ORDERS, REFERENCE, match_statistics

_ENTITIES = ((b"&quot;", b'"'), (b"&amp;", b"&"), (b"&lt;", b"<"), (b"&gt;", b">"))
_PUNCTUATION = re.compile(rb"([{-~\[-` -&(-+:-@/])")
_AFTER_NON_DIGIT = re.compile(rb"([^0-9])([.,])")
_BEFORE_NON_DIGIT = re.compile(rb"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(rb"([0-9])(-)")


@lru_cache(maxsize=1 << 15)
def mteval_bytes(text: str) -> tuple[bytes, ...]:
    """The tokens of one line, on bytes: a non-breaking space is a letter here, not white space."""
    line = text.encode("utf-8", "surrogatepass").replace(b"<skipped>", b"").replace(b"-\n", b"")
    line = line.replace(b"\n", b" ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    line = _PUNCTUATION.sub(rb" \1 ", b" " + line + b" ")
    line = _AFTER_NON_DIGIT.sub(rb"\1 \2 ", line)
    line = _BEFORE_NON_DIGIT.sub(rb" \1 \2", line)
    return tuple(_DASH_AFTER_DIGIT.sub(rb"\1 \2 ", line).split())


class MultiBleu(Metric):
    """multi-bleu-detok BLEU, 0 to 100.

    Statistics, K = 10: matches of orders 1 to 4, candidates of orders 1 to 4, hypothesis length, reference
    length.
    """

    name = "BLEU"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        tokens = [[mteval_bytes(text) for text in dict.fromkeys(group)] for group in references]
        return match_statistics([mteval_bytes(text) for text in hypotheses], tokens)

    def aggregate(self, totals: Array) -> Array:
        precisions, penalty = self._factors(totals)
        positive = (precisions > 0).all(axis=-1)
        logarithms = np.log(np.where(precisions > 0, precisions, 1.0)).mean(axis=-1)
        return np.asarray(np.where(positive, 100 * penalty * np.exp(logarithms), 0.0))

    def _factors(self, totals: Array) -> tuple[Array, Array]:
        """Precisions (..., 4) and brevity penalty (...); no candidate or no reference word makes them 0."""
        matches, candidates = totals[..., :ORDERS], totals[..., ORDERS:LENGTH]
        length, reference = totals[..., LENGTH], totals[..., REFERENCE]
        precisions = np.where(candidates > 0, matches / np.maximum(candidates, 1), 0.0)
        shortfall = np.minimum(0.0, 1 - reference / np.maximum(length, 1))
        penalty = np.where((length > 0) & (reference > 0), np.exp(shortfall), 0.0)
        return precisions, penalty

    def parts(self, totals: Array) -> dict[str, float]:
        precisions, penalty = self._factors(totals)
        length, reference = float(totals[LENGTH]), float(totals[REFERENCE])
        return {
            **{f"precision_{order}": 100 * float(value) for order, value in enumerate(precisions, start=1)},
            "brevity_penalty": float(penalty),
            "ratio": length / reference if reference else 0.0,
            "hypothesis_length": length,
            "reference_length": reference,
        }

    def settings(self) -> dict[str, Any]:
        return {
            "tool": "multi-bleu-detok",
            "tok": "mteval13a-bytes",
            "case": "mixed",
            "smooth": "none",
            "empty_refs": "length-0",
        }
