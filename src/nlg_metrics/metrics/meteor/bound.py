"""How high a reference can score at most, known before its alignment is searched for.

A segment counts with its best reference, and the search is most of METEOR's work: references that can't be the best
are not searched. The bound takes the best weight of each word that any candidate covers, and at least as many chunks as
there are stretches of the reference that no candidates join.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlg_metrics.metrics.meteor.aligner import Span
from nlg_metrics.metrics.meteor.scoring import ALPHA, BETA, DELTA, GAMMA, MODULE_WEIGHTS

SLACK = 1e-9
"""Of a comparison with a score: the bound's sums round differently."""


def word_weights(is_function: Sequence[bool]) -> list[float]:
    """What each word of a sentence counts."""
    return [1.0 - DELTA if function else DELTA for function in is_function]


def highest_score(candidates: Sequence[Sequence[Span]], hyp: Sequence[float], ref: Sequence[float]) -> float:
    """An upper bound of the score of any alignment.

    Args:
        candidates: as for `aligner.align`.
        hyp: `word_weights` of the hypothesis.
        ref: those of the reference.
    """
    hyp_best, ref_best, joined = _coverage(candidates, len(hyp), len(ref))
    reached = sum(map(float.__mul__, hyp_best, hyp))
    if not reached:
        return 0.0
    precision_part = (1.0 - ALPHA) * sum(hyp) / reached
    whole = sum(ref)
    weights, sizes = _stretches(ref_best, ref, joined)
    hyp_matched = len(hyp) - hyp_best.count(0.0)
    if len(sizes) == 1 and sizes[0] == len(ref) and hyp_matched == len(hyp):
        return 1.0  # it may match whole and in order, which has no penalty
    weights.sort(reverse=True)
    sizes.sort(reverse=True)
    # With so many stretches matched: no more words than those of the largest, no fewer chunks than stretches.
    bound, weight, matched = 0.0, 0.0, 0
    for chunks, (more_weight, more_words) in enumerate(zip(weights, sizes, strict=True), start=1):
        weight += more_weight
        matched += more_words
        f_mean = 1.0 / (precision_part + ALPHA * whole / weight)
        penalty: float = GAMMA * (2 * chunks / (hyp_matched + matched)) ** BETA
        bound = max(bound, f_mean * (1.0 - penalty))
    return bound


def _coverage(
    candidates: Sequence[Sequence[Span]], n_hyp: int, n_ref: int
) -> tuple[list[float], list[float], list[bool]]:
    """The best module weight that covers each word of both sides, and whether a match may continue into a word."""
    hyp_best, ref_best, joined = [0.0] * n_hyp, [0.0] * n_ref, [False] * (n_ref + 1)
    ends: set[tuple[int, int]] = set()
    for position, spans in enumerate(candidates):
        for ref_length, hyp_start, hyp_length, module in spans:
            weight = MODULE_WEIGHTS[module]
            if (position, hyp_start) in ends:
                joined[position] = True
            ends.add((position + ref_length, hyp_start + hyp_length))
            if ref_best[position] < weight:
                ref_best[position] = weight
            if hyp_best[hyp_start] < weight:
                hyp_best[hyp_start] = weight
            if ref_length > 1:
                for index in range(position + 1, position + ref_length):
                    joined[index] = True
                    ref_best[index] = max(ref_best[index], weight)
            if hyp_length > 1:
                for index in range(hyp_start + 1, hyp_start + hyp_length):
                    hyp_best[index] = max(hyp_best[index], weight)
    return hyp_best, ref_best, joined


def _stretches(best: Sequence[float], words: Sequence[float], joined: Sequence[bool]) -> tuple[list[float], list[int]]:
    """Weight and number of words of each stretch of reference words that one chunk might cover."""
    weights: list[float] = []
    sizes: list[int] = []
    open_stretch = False
    for covered, weight, joins in zip(best, words, joined, strict=False):
        if not covered:
            open_stretch = False
        elif open_stretch and joins:
            weights[-1] += covered * weight
            sizes[-1] += 1
        else:
            weights.append(covered * weight)
            sizes.append(1)
            open_stretch = True
    return weights, sizes
