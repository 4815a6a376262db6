"""The normaliser against the real tool's output and against lines worked by hand from its rules."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlg_metrics.metrics.meteor.normalizer import Prefixes, normalize, normalized_words
from nlg_metrics.metrics.meteor.resources import Files

PREFIXES = Prefixes.parse(["# comment", "", "Mr", "v", "No #NUMERIC_ONLY#", "pp #NUMERIC_ONLY# more"])


def test_equals_recorded_output_of_the_tool(shared_metrics: Path, real_files: Files) -> None:
    """normalizer_probes.tsv: METEOR 1.5's own normaliser (the jar of pycocoevalcap 1.2), punctuation kept."""
    with zipfile.ZipFile(real_files.jar) as jar:
        prefixes = Prefixes.parse(jar.read("nonbreaking/english.prefixes").decode().split("\n"))
    lines = (shared_metrics / "normalizer_probes.tsv").read_bytes().decode().split("\n")[1:-1]
    wrong = [
        (given_line, expected, normalize(given_line, prefixes))
        for given_line, expected, _ in (line.split("\t") for line in lines)
        if normalize(given_line, prefixes) != expected
    ]
    assert len(lines) > 500
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        (" \t\n ", ""),
        (".", "."),
        ("...", "..."),
        ("wait...what", "wait ... what"),
        ("p.m..", "p.m .."),
        ("It's U.S.-based.", "It 's US based ."),
        ("family-friendly 20-25 a-b-c -5", "family friendly 20 25 a b-c -5"),
        ("20,000 a,b,c ,, 1,b", "20,000 a , b,c , , 1 , b"),
        ("it 's don't 1990's 5'a x'y'z", "it ' s don 't 1990 's 5'a x 'y'z"),
        ("''quoted``", '" quoted "'),
        ("“a” ‘b’", "\" a \" ' b '"),
        ("a–b a--b a---b", "a - b a b a--b"),
        ("Mr. X. No. 5 No. Five. v. next", "Mr. X . No. 5 No . Five. v. next"),
        ("great. the end.", "great. the end ."),
        ("£20 東京 việt", "£ 20 東 京 vi ệ t"),
        ("non\u00a0breaking\u2003space", "non breaking space"),
        ("a\0\0b", "a \0 \0 b"),
    ],
)
def test_worked_by_hand(line: str, expected: str) -> None:
    assert normalize(line, PREFIXES) == expected


def test_words_are_lower_case_and_vertical_tabs_do_not_separate_them() -> None:
    assert normalized_words("The\x0bÉCOLE İ", PREFIXES) == ("the\x0bécole", "i̇")


@given(st.text())
def test_any_line_gives_words_without_separators(line: str) -> None:
    words = normalized_words(line, PREFIXES)
    assert all(words)
    assert not any(character in word for word in words for character in " \t\n\r\f\u00a0\u3000")
