"""The normaliser's own stand-in for dots as a word of the input; the lines are replies of METEOR 1.5's jar."""

from __future__ import annotations

import pytest

from nlg_metrics.metrics.meteor.normalizer import Prefixes, normalize


@pytest.mark.parametrize(
    ("line", "normalised"),
    [
        ("a DOTMULTI b", "a . b"),
        ("DOTMULTI..x", ". .. x"),
        ("DOTDOTMULTI.", "..."),
        ("the DOTMULTI. word...", "the .. word ..."),
        ("xDOTMULTIy, ...", "x.y , ..."),
        ("a dotmulti b...", "a dotmulti b ..."),
    ],
)
def test_the_word_dotmulti(line: str, normalised: str) -> None:
    assert normalize(line, Prefixes(frozenset(), frozenset())) == normalised
