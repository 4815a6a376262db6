"""BLEU where outputs are too short: the official formula passes 1 and says so, the clipped one can't."""

from __future__ import annotations

import numpy as np
import pytest

from nlg_metrics.metrics.bleu import Bleu, ClippedBleu

REFERENCE = "Blue Spice is a cheap coffee shop near the river and it is kid friendly ."
GOOD = "Blue Spice is a cheap pub near the river and it is kid friendly ."


def collapsed(share: int, count: int = 100) -> list[str]:
    """`count` outputs, `share` of them empty and the others the reference's first twelve words."""
    return ["" if number < share else " ".join(REFERENCE.split()[:12]) for number in range(count)]


@pytest.mark.parametrize("share", [88, 95, 100])
def test_collapsed_outputs_lose_against_good_ones_by_the_clipped_bleu_alone(share: int) -> None:
    references = [[REFERENCE]] * 100
    good = ClippedBleu().score([GOOD] * 100, references).value
    assert ClippedBleu().score(collapsed(share), references).value < 0.1 < good
    if share < 100:
        # The official formula, kept as it is, would choose the collapsed system.
        assert Bleu().score(collapsed(share), references).value > good


def test_the_clipped_bleu_equals_the_official_one_on_outputs_of_four_words_or_more() -> None:
    texts, references = [GOOD, "the river is cheap", REFERENCE], [[REFERENCE], ["the river is near"], [GOOD]]
    assert ClippedBleu().score(texts, references).value == Bleu().score(texts, references).value
    assert "totals:clipped" in ClippedBleu().signature() and "totals" not in Bleu().signature()


def test_the_clipped_bleu_never_passes_one() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        texts = [" ".join(random.choice(["a", "b", "."], size=random.integers(0, 7))) for _ in range(5)]
        references = [[" ".join(random.choice(["a", "b", "."], size=random.integers(1, 7)))] for _ in range(5)]
        assert 0.0 <= ClippedBleu().score(texts, references).value <= 1.0


def test_a_score_without_meaning_says_why() -> None:
    references = [[REFERENCE]] * 100
    caveat = Bleu().caveat(Bleu().statistics(collapsed(88), references))
    assert caveat.startswith("88 of 100 outputs have fewer than 4 words") and caveat.endswith(
        "-68 4-grams count where there are 108"
    )
    assert Bleu().caveat(Bleu().statistics([GOOD] * 100, references)) == ""
    # One short output among long ones is no reason.
    assert Bleu().caveat(Bleu().statistics(["", *[GOOD] * 99], references)) == ""
    assert ClippedBleu().caveat(ClippedBleu().statistics(collapsed(88), references)) == ""
