"""CIDEr as the COCO caption evaluation computes it, which is CIDEr-D (Vedantam et al. 2015), on tokenized text.

Term frequencies are raw counts, document frequencies count the segments whose references hold the n-gram, and the
length penalty compares numbers of bigrams. Document frequencies come from the references of the corpus scored, so a
segment's score depends on its corpus; subsets and resamples keep the frequencies of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.ngrams import Floats, Ints, Ngrams, count_ngrams, distinct

MAX_ORDER = 4
SIGMA = 6.0


class Cider(Metric):
    """CIDEr of tokenized text, tokens separated by white space."""

    name = "CIDEr"

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": "coco-caption",
            "tok": "ptb-3.4.1",
            "case": "lc",
            "order": MAX_ORDER,
            "sigma": SIGMA,
            "df": "corpus",
            "average": "segment",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 2): the segment's score and 1.

        Raises:
            InputError: no reference holds any token.
        """
        n_segments = len(hypotheses)
        sentences = [text.split() for text in hypotheses] + [text.split() for group in references for text in group]
        counts = np.array([len(group) for group in references], dtype=np.int64)
        segment_of = np.concatenate([np.arange(n_segments), np.repeat(np.arange(n_segments), counts)])
        tables, lengths = count_ngrams(sentences, MAX_ORDER)
        if not lengths[n_segments:].any():
            raise InputError(
                "CIDEr is not defined: no reference has a token left after tokenization (only punctuation or empty)"
            )
        similarity = np.zeros(len(lengths) - n_segments)
        for table in tables:
            similarity += _cosines(table, segment_of, n_segments)
        n_bigrams = np.maximum(lengths - 1, 0)
        gap = n_bigrams[segment_of[n_segments:]] - n_bigrams[n_segments:]
        similarity *= np.exp(-(gap.astype(np.float64) ** 2) / (2 * SIGMA**2)) / MAX_ORDER
        of_segment = np.bincount(segment_of[n_segments:], similarity, minlength=n_segments)
        return np.stack([10.0 * of_segment / counts, np.ones(n_segments)], axis=1)

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 0] / totals[..., 1]


def _cosines(table: Ngrams, segment_of: Ints, n_segments: int) -> Floats:
    """(R,) clipped tf-idf similarity of each reference to its segment's hypothesis, for one order."""
    first = int(np.searchsorted(table.sentence, n_segments))
    size = max(table.n_types, 1)
    segments_with = distinct(segment_of[table.sentence[first:]] * size + table.ngram[first:]) % size
    frequency = np.bincount(segments_with, minlength=size)
    weight = table.count * (np.log(float(n_segments)) - np.log(np.maximum(1.0, frequency)))[table.ngram]
    norm = np.sqrt(np.bincount(table.sentence, weight**2, minlength=len(segment_of)))

    # Each reference row looks up the same n-gram in its segment's hypothesis.
    reference = table.sentence[first:]
    wanted = segment_of[reference] * size + table.ngram[first:]
    keys = table.sentence[:first] * size + table.ngram[:first]
    if not len(keys):
        return np.zeros(len(segment_of) - n_segments)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    in_hypothesis = np.where(keys[place] == wanted, weight[place], 0.0)
    product = np.minimum(in_hypothesis, weight[first:]) * weight[first:]
    dot = np.bincount(reference - n_segments, product, minlength=len(segment_of) - n_segments)
    norms = norm[segment_of[n_segments:]] * norm[n_segments:]
    return dot / np.where(norms == 0, 1.0, norms)
