"""The stemmer against the real tool's stems and against the rules of its publication."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlg_metrics.metrics.meteor.stemmer import stem


def test_equals_recorded_stems_of_the_tool(shared_metrics: Path) -> None:
    """stem_probes.tsv: the stemmer of METEOR 1.5 (the jar of pycocoevalcap 1.2)."""
    lines = (shared_metrics / "stem_probes.tsv").read_bytes().decode().split("\n")[1:-1]
    pairs = [line.split("\t") for line in lines]
    assert len(pairs) > 5000
    assert [(word, expected, stem(word)) for word, expected in pairs if stem(word) != expected] == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ""),
        ("as", "as"),
        ("'tis", "tis"),
        ("restaurants", "restaur"),
        ("skies", "sky"),  # an exception
        ("inning", "inning"),  # kept once its plural ending is gone
        ("ties", "tie"),  # one letter before -ies
        ("cries", "cri"),  # two letters
        ("gas", "gas"),  # no vowel before the letter before s
        ("kiwis", "kiwi"),
        ("agreed", "agre"),
        ("feed", "feed"),  # -eed outside R1
        ("hopping", "hop"),
        ("hoping", "hope"),
        ("saying", "say"),  # y after a vowel is a consonant
        ("cry", "cri"),
        ("say", "say"),
        ("generously", "generous"),  # R1 after gener-
        ("rational", "ration"),
        ("relational", "relat"),
        ("adoption", "adopt"),
        ("controll", "control"),
    ],
)
def test_rules(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text(alphabet="abeilnosty'Y", max_size=12))
def test_stem_is_no_longer_than_the_word_plus_a_restored_e(word: str) -> None:
    assert len(stem(word)) <= len(word)
