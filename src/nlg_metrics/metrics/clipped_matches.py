"""What every BLEU sums up: clipped n-gram matches, candidates, and the closest reference's length.

Papineni et al. 2002 (https://aclanthology.org/P02-1040). Two scorers share it: multi-bleu and NLTK's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from nlg_metrics.metrics.base import Array
from nlg_metrics.metrics.ngrams import best_reference_counts, count_ngrams

ORDERS = 4
LENGTH, REFERENCE = 2 * ORDERS, 2 * ORDERS + 1  # columns after the matches and the candidates


def match_statistics(
    hypotheses: Sequence[Sequence[Hashable]],
    references: Sequence[Sequence[Sequence[Hashable]]],
    fewest_candidates: int = 0,
) -> Array:
    """BLEU's additive statistics of N tokenised segments.

    Args:
        hypotheses: N lists of tokens.
        references: N non-empty lists of lists of tokens.
        fewest_candidates: what a hypothesis shorter than n adds to the candidates of order n, default 0.

    Returns:
        Shape (N, 10): matches of orders 1 to 4, each clipped at its largest count in any one reference;
        candidates of orders 1 to 4; hypothesis length; length of the closest reference, of two equally close
        ones the shorter.
    """
    segments = len(hypotheses)
    statistics = np.zeros((segments, 2 * ORDERS + 2))
    if not segments:
        return statistics
    groups = np.array([len(group) for group in references])
    segment_of = np.concatenate([np.arange(segments), np.repeat(np.arange(segments), groups)])
    tables, lengths = count_ngrams([*hypotheses, *(reference for group in references for reference in group)], ORDERS)
    for order, table in enumerate(tables):
        segment, _, count, best = best_reference_counts(table, segment_of, segments)
        statistics[:, order] = np.bincount(segment, np.minimum(count, best), minlength=segments)
        statistics[:, ORDERS + order] = np.maximum(lengths[:segments] - order, fewest_candidates)
    statistics[:, LENGTH] = lengths[:segments]
    # Ordered by distance, then by length, as one number.
    size = int(lengths.max(initial=0)) + 1
    distance = np.abs(lengths[segments:] - np.repeat(lengths[:segments], groups))
    closest = np.minimum.reduceat(distance * size + lengths[segments:], np.cumsum(groups) - groups)
    statistics[:, REFERENCE] = closest % size
    return statistics
