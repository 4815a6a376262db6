"""How hypotheses of different length are compared, and why a search may end before its full length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class LengthPenalty:
    """Scores of hypotheses, and what a living beam can still reach.

    A hypothesis of L tokens with sum of log-probabilities s scores s / L^p.

    The early stop. Let s ≤ 0 be the greatest sum of a context's living beams, of t tokens each. Log-probabilities
    are at most 0, so whatever descends from these beams has a sum s' ≤ s. It ends with a length L in t+1 … E and
    scores s' / L^p ≤ s / L^p ≤ s / max(L'^p for L' in t+1 … E): dividing a number that is not positive by a greater
    positive one does not lower it. The greatest L'^p is E^p for p > 0, (t+1)^p for p < 0, and 1 for p = 0. If that
    bound is at most the score of the N-th best hypothesis so far, nothing to come can displace it, since of equal
    scores the earlier stays. The search then ends with the outcome it would have at full length.

    This holds for the numbers computed, not only the real ones: sums never rise, because log-probabilities are
    clamped to at most 0 and rounding is monotone (selection.py), and so is the rounded quotient.

    Args:
        penalty: p, of any sign.
        eval_len: E.
    """

    def __init__(self, penalty: float, eval_len: int) -> None:
        lengths = np.arange(1, eval_len + 1, dtype=np.float64)
        self.divisors = lengths**penalty  # [L - 1] = L^p
        self.greatest = np.maximum.accumulate(self.divisors[::-1])[::-1]  # [L - 1] = greatest of L … E

    def score(self, log_prob: float, length: int) -> float:
        """log_prob / length^p."""
        return float(log_prob / self.divisors[length - 1])

    def bound(self, best_sum: NDArray[np.float32], length: NDArray[np.int64]) -> NDArray[np.float64]:
        """The highest scores that descendants of living beams can reach, for R contexts.

        Args:
            best_sum: greatest sum of a living beam, shape (R,).
            length: tokens each living beam has, below E; shape (R,).
        """
        return best_sum.astype(np.float64) / self.greatest[length]
