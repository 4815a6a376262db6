"""pyter's TER: recorded values, hand-worked cases, and a literal implementation of its rules as the reference."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.ter import Ter, lowest_ter, ter

Words = list[str]


def levenshtein(first: Words, second: Words) -> int:
    row = list(range(len(second) + 1))
    for count, word in enumerate(first, start=1):
        new = [count]
        for place, other in enumerate(second):
            new.append(min(row[place] + (word != other), row[place + 1] + 1, new[place] + 1))
        row = new
    return row[-1]


def literal_ter(hypothesis: Words, reference: Words) -> float:
    """The rules of pyter's search as they read, with nothing saved."""
    words, shifts = list(hypothesis), 0
    while True:
        distance = levenshtein(words, reference)
        moves = []
        for start, word in enumerate(words):
            for place, other in enumerate(reference):
                if start == place or word != other:
                    continue
                size = 1
                while words[start + size : start + size + 1] == reference[place + size : place + size + 1] != []:
                    size += 1
                rest = words[:start] + words[start + size :]
                rest[place:place] = words[start : start + size]
                moves.append((distance - levenshtein(rest, reference), rest))
        gain, moved = max(moves, default=(0, words))
        if gain <= 0:
            return (shifts + distance) / len(reference)
        words, shifts = moved, shifts + 1


@pytest.mark.parametrize(
    ("hypothesis", "reference", "value"),
    [
        ("", "a b", 1.0),  # two deletions
        ("a b c d", "a b c d", 0.0),
        ("c d a b", "a b c d", 1 / 4),  # one shift of a block of two
        ("a x c", "a b c", 1 / 3),  # one substitution
        ("a b c d e f", "a", 5.0),  # not bounded by 1
        ("d a b c", "a b c d", 1 / 4),  # one shift where edits alone need two
        ("x b a y", "a b", 3 / 2),  # two deletions and a shift
    ],
)
def test_cases_by_hand(hypothesis: str, reference: str, value: float) -> None:
    assert ter(hypothesis.split(), reference.split()) == value
    assert literal_ter(hypothesis.split(), reference.split()) == value


words = st.lists(st.sampled_from("abcde"), max_size=11)


@settings(max_examples=300, deadline=None)
@given(words, words.filter(bool))
def test_the_search_is_pyters(hypothesis: Words, reference: Words) -> None:
    assert ter(hypothesis, reference) == literal_ter(hypothesis, reference)


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_pyters_on_shuffled_sentences(seed: int) -> None:
    draw = random.Random(seed)
    reference = [f"w{draw.randrange(14)}" for _ in range(draw.randrange(8, 26))]
    hypothesis = [word for word in reference if draw.random() < 0.9]
    for _ in range(3):
        cut = sorted(draw.sample(range(len(hypothesis) + 1), 3))
        blocks = [hypothesis[start:end] for start, end in pairwise([0, *cut, len(hypothesis)])]
        hypothesis = [*blocks[0], *blocks[2], *blocks[1], *blocks[3]]
    assert ter(hypothesis, reference) == literal_ter(hypothesis, reference)


@settings(max_examples=200, deadline=None)
@given(words, st.lists(words, min_size=1, max_size=4))
def test_the_best_of_several_references_is_the_lowest(hypothesis: Words, references: list[Words]) -> None:
    each = [ter(hypothesis, reference) if reference else 1.0 for reference in references]
    assert lowest_ter(hypothesis, references) == min(each)


def test_giving_up_never_hides_a_better_result() -> None:
    assert ter(["b", "a"], ["a", "b"], worth=0.5) == float("inf")
    assert ter(["b", "a"], ["a", "b"], worth=0.6) == 0.5


def test_an_empty_reference_counts_one_and_so_caps_the_segment() -> None:
    long = "a b c d e f g h"
    assert Ter().score([long], [["x"]]).value == 8.0
    assert Ter().score([long], [["x", ""]]).value == 1.0
    assert Ter().score(["x", long], [["x"], [""]]).value == 0.5


def test_a_search_that_would_take_hours_is_refused_with_the_segment() -> None:
    draw = random.Random(0)
    endless = [" ".join(draw.choice("abcdefghij") for _ in range(10_000)) for _ in range(2)]
    with pytest.raises(InputError, match=r"segment 2: TER .* 10000 words would take minutes"):
        Ter().score(["a", endless[0]], [["a"], [endless[1]]])


def test_long_texts_are_no_trouble_where_the_search_is_short() -> None:
    many = " ".join(f"word{number}" for number in range(10_000))
    assert Ter().score([many], [[many]]).value == 0.0
    assert Ter().score([many], [["word1 word2 word3"]]).value == 9997 / 3


@pytest.mark.parametrize("length", [200, 3200])
def test_words_that_repeat_in_turns_are_refused_with_the_segment(length: int) -> None:
    texts = ["one two", "a b " * (length // 2)]
    with pytest.raises(InputError, match=r"segment 2: TER .* would take minutes"):
        Ter().statistics(texts, [["one two"], ["b a c " * (length // 3)]])


def test_the_work_of_many_segments_has_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlg_metrics.metrics.ter.WORK_LIMIT", 100_000)
    monkeypatch.setattr("nlg_metrics.metrics.ter.WORK_OF_A_SEGMENT", 200)
    text, reference = "a b " * 15, ["b a c " * 10]
    assert Ter().statistics([text], [reference])[0, 0] > 0
    with pytest.raises(InputError, match=r"segment [0-9]+: TER"):
        Ter().statistics([text] * 1000, [reference] * 1000)
