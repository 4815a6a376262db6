"""The bound of a reference's score: never below the score of its alignment, on random candidates, and often close."""

from __future__ import annotations

import random

from nlg_metrics.metrics.meteor import scoring
from nlg_metrics.metrics.meteor.aligner import EXACT, PARAPHRASE, STEM, SYNONYM, Span, align
from nlg_metrics.metrics.meteor.bound import SLACK, highest_score, word_weights


def random_case(dice: random.Random) -> tuple[list[list[Span]], list[bool], list[bool]]:
    n_hyp, n_ref = dice.randint(1, 9), dice.randint(1, 9)
    candidates: list[list[Span]] = [[] for _ in range(n_ref)]
    for start in range(n_ref):
        if start < n_hyp and dice.random() < 0.6:  # in order, as most of a text is
            candidates[start].append(Span(1, start, 1, EXACT))
        for _ in range(dice.choice((0, 0, 1, 2))):
            longest = dice.choice((1, 1, 3))
            ref_length, hyp_start = dice.randint(1, min(longest, n_ref - start)), dice.randrange(n_hyp)
            hyp_length = dice.randint(1, min(longest, n_hyp - hyp_start))
            one = ref_length == hyp_length == 1
            module = dice.choice((EXACT, STEM, SYNONYM)) if one else PARAPHRASE
            candidates[start].append(Span(ref_length, hyp_start, hyp_length, module))
    flags = [[dice.random() < 0.3 for _ in range(count)] for count in (n_hyp, n_ref)]
    return candidates, flags[0], flags[1]


def test_no_alignment_scores_above_the_bound() -> None:
    dice, close = random.Random(7), 0
    for _ in range(3000):
        candidates, hyp, ref = random_case(dice)
        bound = highest_score(candidates, word_weights(hyp), word_weights(ref))
        score = scoring.score(scoring.segment_statistics(hyp, ref, align(candidates, len(hyp))))
        assert score <= bound + SLACK, candidates
        close += score > 0 and score > 0.8 * bound
    assert close > 1000


def test_nothing_in_common_is_bound_by_zero() -> None:
    assert highest_score([[], []], [0.75], [0.75, 0.25]) == 0.0
