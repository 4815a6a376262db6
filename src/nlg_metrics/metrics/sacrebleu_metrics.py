"""sacrebleu's BLEU, chrF++ and TER beside the official tools' numbers; needs the library sacrebleu.

The library computes the segment statistics and the score from their sums (Post 2018,
https://aclanthology.org/W18-6319); here they only become a `Metric`, so that intervals, subsets and paired
tests cover them too. Its TER is the corpus-level one: all edits over all (average) reference words.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric


class SacrebleuMetric(Metric):
    """One of sacrebleu's corpus metrics, 0 to 100 (TER: no upper end), with a varying number of references."""

    def __init__(self, kind: str) -> None:
        """
        Args:
            kind: "BLEU", "chrF++" or "TER".

        Raises:
            InputError: sacrebleu is not installed.
        """
        try:
            library: Any = importlib.import_module("sacrebleu.metrics")
        except ImportError:
            raise InputError("`sacrebleu` needs the library: pip install sacrebleu") from None
        # force: no warning about full stops that stand apart, as they do in the corpora's own texts.
        makers = {
            "BLEU": lambda: library.BLEU(force=True),
            "chrF++": lambda: library.CHRF(word_order=2),
            "TER": library.TER,
        }
        self._metric = makers[kind]()
        self._version = importlib.import_module("sacrebleu").__version__
        self.name = f"sacreBLEU {kind}"
        self.higher_is_better = kind != "TER"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        # The library takes one stream a reference position, None where a segment has no more.
        streams = [list(stream) for stream in zip_longest(*references)]
        rows = self._metric._extract_corpus_statistics(list(hypotheses), streams)
        return np.array(rows, dtype=np.float64)

    def aggregate(self, totals: Array) -> Array:
        rows = totals.reshape(-1, totals.shape[-1])
        scores = [self._metric._compute_score_from_stats(row).score for row in rows.tolist()]
        return np.array(scores, dtype=np.float64).reshape(totals.shape[:-1])

    def settings(self) -> dict[str, Any]:
        signature = self._metric.get_signature()
        named = {
            key: value for key, value in signature.info.items() if key not in ("nrefs", "version", "bs", "ar", "seed")
        }
        return {"tool": f"sacrebleu-{self._version}", **named}


def sacrebleu_metrics() -> dict[str, Metric]:
    """Key -> metric of the three.

    Raises:
        InputError: sacrebleu is not installed.
    """
    return {
        "sacrebleu_bleu": SacrebleuMetric("BLEU"),
        "sacrebleu_chrf++": SacrebleuMetric("chrF++"),
        "sacrebleu_ter": SacrebleuMetric("TER"),
    }
