"""Properties of METEOR that hold for any text."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.meteor.matchers import java_hash

WORDS = ["the", "red", "car", "is", "near", "an", "automobile", ",", "restaurant", "restaurants", "eatery", "went"]
WORDS += ["move", "low", "priced", ".", "it", "'s", "meals", "food", "inexpensive", "situated", "close", "to", "far"]
sentences = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
segments = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_any_text_scores_between_zero_and_one(small: Meteor, hypothesis: str, references: list[str]) -> None:
    assert 0 <= small.score([hypothesis], [references]).value <= 1 + 1e-12


@settings(max_examples=60, deadline=None)
@given(segments, st.randoms(use_true_random=False))
def test_order_of_segments_changes_nothing(
    small: Meteor, corpus: list[tuple[str, list[str]]], rng: random.Random
) -> None:
    rows = small.statistics(*map(list, zip(*corpus, strict=True)))
    order = list(range(len(corpus)))
    rng.shuffle(order)
    shuffled = small.statistics(*map(list, zip(*(corpus[n] for n in order), strict=True)))
    np.testing.assert_array_equal(shuffled, rows[order])
    assert small.aggregate(shuffled.sum(axis=0)) == small.aggregate(rows.sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(sentences, st.lists(sentences, min_size=1, max_size=4), sentences)
def test_another_reference_never_lowers_a_segment(
    small: Meteor, hypothesis: str, references: list[str], another: str
) -> None:
    scores = small.segment_scores(small.statistics([hypothesis] * 2, [references, [*references, another]]))
    assert scores[1] >= scores[0]


@settings(max_examples=60, deadline=None)
@given(sentences, st.lists(sentences, min_size=1, max_size=4))
def test_the_best_reference_is_no_worse_than_any_alone(small: Meteor, hypothesis: str, references: list[str]) -> None:
    best = small.segment_scores(small.statistics([hypothesis], [references]))[0]
    alone = small.segment_scores(small.statistics([hypothesis] * len(references), [[text] for text in references]))
    assert best == alone.max()


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12, unique=True).map(" ".join))
def test_identical_text_scores_one(small: Meteor, text: str) -> None:
    assert small.score([text], [[text]]).value == pytest.approx(1, abs=1e-12)


def test_blocks_do_not_show(small: Meteor, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    hypotheses = [" ".join(rng.choices(WORDS, k=8)) for _ in range(20)]
    references = [[" ".join(rng.choices(WORDS, k=8)) for _ in range(3)] for _ in range(20)]
    whole = small.statistics(hypotheses, references)
    monkeypatch.setattr("nlg_metrics.metrics.meteor.metric._BLOCK", 3)
    np.testing.assert_array_equal(small.statistics(hypotheses, references), whole)


def test_long_lines_score_or_are_refused(small: Meteor) -> None:
    long = " ".join(f"word{number}" for number in range(10_000))
    assert small.score([long], [[long]]).value == pytest.approx(1, abs=1e-12)
    assert 0 < small.score(["the " * 10_000], [["the red car"]]).value < 0.01
    with pytest.raises(InputError, match=r"segment 2: 10000 hypothesis words .* 100,000,000 ways.*shorten"):
        small.statistics(["the", "the " * 10_000], [["the"], ["the " * 10_000]])


def test_words_are_compared_by_java_hash(small: Meteor) -> None:
    """As the tool does: measured, its reply to `f1` against `do` is one exact match, of one content word."""
    assert java_hash("hello") == 99162322  # "hello".hashCode()
    assert java_hash("f1") == java_hash("do") == java_hash("eP")
    assert java_hash("😀") == 31 * 0xD83D + 0xDE00
    assert small.score(["f1"], [["do"]]).value > 0
    assert small.score(["f2"], [["do"]]).value == 0
    stems = small.statistics(["inals"], [["inc. in"]])[0]
    assert stems[[8, 9]].tolist() == [1, 1]
