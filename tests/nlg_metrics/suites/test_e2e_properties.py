"""Properties every metric of the E2E suite must have, on random text with everything Unicode holds."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.evaluation import Bootstrap, evaluate
from nlg_metrics.metrics.bleu import Bleu, mteval_counts
from nlg_metrics.metrics.nist import Nist
from nlg_metrics.metrics.rouge import RougeL, positions, subsequence_length
from nlg_metrics.metrics.tokenized import coco_captions
from nlg_metrics.segments import Segments
from nlg_metrics.suites import e2e as e2e_suite
from nlg_metrics.suites.suite import SuiteResult, run

WORDS = re.split(
    " ",
    "the a pub near river cheap food French £20 family-friendly isn't it's 5 star , . ! Café É ß İ 東京 😀 \u00ad",
)
TEXT = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SEGMENTS = st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), min_size=1, max_size=6)


WITHOUT_METEOR = e2e_suite.make_suite([name for name in e2e_suite.METRICS if name != "METEOR"])


def suite(hypotheses: list[str], references: list[list[str]]) -> SuiteResult:
    return run(WITHOUT_METEOR, Segments.of_lines(hypotheses, references), Bootstrap(resamples=0))


def values(hypotheses: list[str], references: list[list[str]]) -> dict[str, float]:
    return {name: result.score.value for name, result in suite(hypotheses, references).results.items()}


@settings(max_examples=60, deadline=None)
@given(SEGMENTS, st.randoms(use_true_random=False))
def test_order_of_segments_changes_nothing(segments: list[tuple[str, list[str]]], random: object) -> None:
    shuffled = list(segments)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before = values([h for h, _ in segments], [r for _, r in segments])
    after = values([h for h, _ in shuffled], [r for _, r in shuffled])
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=4, max_size=10).map(" ".join), min_size=1, max_size=5))
def test_identical_text_is_perfect(texts: list[str]) -> None:
    scored = values(texts, [[text] for text in texts])
    # A word of the list may hold no n-gram of order 4 after tokenization only if it vanished: soft hyphens do not.
    assert scored["BLEU"] == pytest.approx(1.0)
    assert scored["ROUGE_L"] == 1.0


@settings(max_examples=60, deadline=None)
@given(SEGMENTS, TEXT)
def test_another_reference_never_lowers_a_maximum(segments: list[tuple[str, list[str]]], extra: str) -> None:
    hypotheses, references = [h for h, _ in segments], [r for _, r in segments]
    more = [[*references[0], extra], *references[1:]]
    before, after = mteval_counts(hypotheses, references), mteval_counts(hypotheses, more)
    hits_before, hits_after = Bleu().from_counts(before)[:, :4], Bleu().from_counts(after)[:, :4]
    assert (hits_after >= hits_before).all()
    tokens_before, tokens_after = coco_captions(hypotheses, references), coco_captions(hypotheses, more)
    rouge_before = RougeL().statistics(*tokens_before)[0, 0]
    assert RougeL().statistics(*tokens_after)[0, 0] >= rouge_before


@settings(max_examples=60, deadline=None)
@given(SEGMENTS)
def test_scores_are_within_their_bounds(segments: list[tuple[str, list[str]]]) -> None:
    outcome = suite([h for h, _ in segments], [r for _, r in segments])
    for name, top in (("ROUGE_L", 1.0), ("CIDEr", 10.0)):
        if name in outcome.results:
            assert -1e-12 <= outcome.results[name].score.value <= top + 1e-9
    lines = Segments.of_lines([h for h, _ in segments], [r for _, r in segments])
    columns = e2e_suite.segment_columns(lines, outcome)
    assert all(len(column) == len(segments) for column in columns.values())
    assert np.isfinite(columns["NIST"]).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=4))
def test_any_unicode_line_scores_or_is_refused_by_name(segments: list[tuple[str, str]]) -> None:
    outcome = suite([h for h, _ in segments], [[r] for _, r in segments])
    assert set(outcome.results) | set(outcome.unavailable) == set(WITHOUT_METEOR.metrics)
    assert {"BLEU", "ROUGE_L"} <= set(outcome.results)
    assert all(math.isfinite(result.score.value) for result in outcome.results.values())
    assert all(reason for reason in outcome.unavailable.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=70), st.lists(st.sampled_from("abc"), max_size=70))
def test_common_subsequence_is_symmetric_and_bounded(a: list[str], b: list[str]) -> None:
    def common(one: list[str], other: list[str]) -> int:
        return subsequence_length(positions(one), len(one), other)

    length = common(a, b)
    assert length == common(b, a) <= min(len(a), len(b))
    assert common(a, a) == len(a)


def test_short_outputs_can_lift_bleu_above_one_as_in_the_official_tool() -> None:
    # An empty output lowers the trigram total by one, so two outputs have one trigram match of zero: 1 / 1e-9.
    scored = values(["", "the the the"], [[""], ["the the the"]])
    assert scored["BLEU"] == pytest.approx((1 / 1e-9 * 1e-15 / 1e-9) ** 0.25)


def test_a_score_undefined_on_a_resample_has_no_interval() -> None:
    """Two texts have two 5-grams; drawn twice, the shorter has none, and NIST divides by their number."""
    texts = ["a b c d", "a b c d e f"]
    short = evaluate(Nist(), texts, [[text] for text in texts], Bootstrap(resamples=50))
    assert math.isfinite(short.score.value) and short.interval is None
    longer = evaluate(Nist(), [texts[1]] * 2, [[texts[1]]] * 2, Bootstrap(resamples=50))
    assert longer.interval is not None


@pytest.mark.parametrize(
    "line", ["word " * 10_000, "x" * 50_000, "\x00\x1f\x7f\ufeff😀", "&quot;&amp;" * 2000, "a.b-c'd " * 2000]
)
def test_long_and_strange_lines(line: str) -> None:
    scored = values([line, "a pub near the river today"], [[line], ["a pub near the river", line]])
    assert scored["ROUGE_L"] > 0.5
    assert scored["BLEU"] > 0.5
