"""METEOR 1.5's statistics of a segment and the score they give, tuned for English ("rank" task).

Statistics are the 23 numbers of the tool's own statistics line; they add up over segments. Sums and products are
taken in the tool's order, so that scores agree to the last bit.
Method: Denkowski & Lavie 2014 (https://aclanthology.org/W14-3348), section 3, and 2011 for the parameters' meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nlg_metrics.metrics.meteor.aligner import Match

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULE_WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # exact, stem, synonym, paraphrase

# The tool's 23 numbers: words and function words of both sides; for each module the matched content and function
# words of both sides; then these three.
HYP_WORDS, REF_WORDS, HYP_FUNCTION, REF_FUNCTION, MODULES = range(5)
CHUNKS, HYP_MATCHED, REF_MATCHED = 20, 21, 22
# Ours: the chunks a segment adds to a corpus, which are none if it matches its reference whole and in order.
CORPUS_CHUNKS = 23
N_STATISTICS = 24


def segment_statistics(
    hyp_function: Sequence[bool], ref_function: Sequence[bool], matches: Iterable[Match]
) -> list[float]:
    """Statistics of one hypothesis and reference.

    Args:
        hyp_function: for each hypothesis word, whether it is a function word.
        ref_function: the same of the reference.
        matches: the alignment, in the order of the reference.

    Returns:
        `N_STATISTICS` numbers.
    """
    row = [0.0] * N_STATISTICS
    row[HYP_WORDS], row[REF_WORDS] = len(hyp_function), len(ref_function)
    row[HYP_FUNCTION], row[REF_FUNCTION] = sum(hyp_function), sum(ref_function)
    chunks, ref_end, hyp_end = 0, -1, -1
    for ref_start, ref_length, hyp_start, hyp_length, module in matches:
        if ref_start != ref_end or hyp_start != hyp_end:
            chunks += 1
        ref_end, hyp_end = ref_start + ref_length, hyp_start + hyp_length
        first = MODULES + 4 * module
        hyp_functions = sum(hyp_function[hyp_start:hyp_end])
        ref_functions = sum(ref_function[ref_start:ref_end])
        row[first] += hyp_length - hyp_functions
        row[first + 1] += ref_length - ref_functions
        row[first + 2] += hyp_functions
        row[first + 3] += ref_functions
        row[HYP_MATCHED] += hyp_length
        row[REF_MATCHED] += ref_length
    row[CHUNKS] = chunks
    whole = row[HYP_MATCHED] == row[HYP_WORDS] and row[REF_MATCHED] == row[REF_WORDS]
    row[CORPUS_CHUNKS] = 0.0 if whole and chunks == 1 else chunks
    return row


def score(row: Sequence[float]) -> float:
    """The score of statistics, of one segment or summed over segments, from 0 to 1."""
    return components(row)["score"]


def components(row: Sequence[float]) -> dict[str, float]:
    """Precision, recall, their mean, the fragmentation penalty and the score of statistics."""
    precision = _ratio(_weighted_matches(row, 0), _weighted_length(row[HYP_WORDS], row[HYP_FUNCTION]))
    recall = _ratio(_weighted_matches(row, 1), _weighted_length(row[REF_WORDS], row[REF_FUNCTION]))
    if precision > 0 and recall > 0:
        f_mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall)
    else:
        f_mean = 0.0
    matched = (row[HYP_MATCHED] + row[REF_MATCHED]) / 2
    fragmentation = row[CORPUS_CHUNKS] / matched if matched else 0.0
    penalty = GAMMA * math.pow(fragmentation, BETA)
    value = max(f_mean * (1.0 - penalty), 0.0)
    return {"precision": precision, "recall": recall, "f_mean": f_mean, "penalty": penalty, "score": value}


def scores(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """`score` of each row, (..., N_STATISTICS) -> (...)."""
    flat = [score(row) for row in rows.reshape(-1, rows.shape[-1]).tolist()]
    return np.array(flat).reshape(rows.shape[:-1])


def _weighted_length(words: float, functions: float) -> float:
    return DELTA * (words - functions) + (1.0 - DELTA) * functions


def _weighted_matches(row: Sequence[float], side: int) -> float:
    """Matched words of the hypothesis (side 0) or the reference (side 1), weighted."""
    total = 0.0
    for module, weight in enumerate(MODULE_WEIGHTS):
        total += row[MODULES + 4 * module + side] * weight * DELTA
    for module, weight in enumerate(MODULE_WEIGHTS):
        total += row[MODULES + 4 * module + side + 2] * weight * (1.0 - DELTA)
    return total


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
