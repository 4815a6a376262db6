"""What must hold of the WebNLG suite's metrics for every text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap
from nlg_metrics.metrics.base import Metric
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.metrics.multi_bleu import MultiBleu
from nlg_metrics.metrics.nltk_bleu import NltkBleu
from nlg_metrics.metrics.padding import without_blanks
from nlg_metrics.metrics.sacrebleu_metrics import sacrebleu_metrics
from nlg_metrics.metrics.ter import Ter
from nlg_metrics.segments import Segments
from nlg_metrics.suites.suite import run
from nlg_metrics.suites.webnlg import make_suite

METRICS: list[Metric] = [MultiBleu(), NltkBleu(), ChrF(), Ter()]
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

sentence = st.lists(
    st.sampled_from(["the", "a", "pub", "is", "near", "river", "cheap", ".", ",", "Dr.", "U.S."]), max_size=9
).map(" ".join)
segment = st.tuples(sentence, st.lists(sentence, min_size=1, max_size=3))
corpus = st.lists(segment, min_size=1, max_size=6)
# Any line: control characters, emoji, lone surrogates (JSON can hold them), line separators.
any_text = st.text(st.characters(exclude_categories=()), max_size=40)


@each_metric
@relaxed
@given(segments=corpus, data=st.data())
def test_permuting_segments_changes_nothing(
    metric: Metric, segments: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(segments))
    first = metric.score([h for h, _ in segments], [r for _, r in segments]).value
    second = metric.score([h for h, _ in shuffled], [r for _, r in shuffled]).value
    assert second == pytest.approx(first, rel=1e-12, abs=1e-15)


@each_metric
@relaxed
@given(segments=corpus)
def test_statistics_of_a_segment_do_not_depend_on_the_others(
    metric: Metric, segments: list[tuple[str, list[str]]]
) -> None:
    together = metric.statistics([h for h, _ in segments], [r for _, r in segments])
    alone = np.concatenate([metric.statistics([h], [r]) for h, r in segments])
    assert (together == alone).all()


@relaxed
@given(
    st.lists(
        sentence.filter(lambda text: len(text.split()) >= 4 and len(text.replace(" ", "")) >= 6), min_size=1, max_size=5
    )
)
def test_identical_text_is_perfect(texts: list[str]) -> None:
    """Of texts that reach every order: four words, and six characters beside the spaces."""
    references = [["something else", text] for text in texts]
    assert MultiBleu().score(texts, references).value == pytest.approx(100.0, abs=1e-9)
    assert NltkBleu().score(texts, references).value == pytest.approx(1.0, abs=1e-9)
    assert ChrF().score(texts, references).value == pytest.approx(1.0, abs=1e-9)
    assert Ter().score(texts, references).value == 0.0


@relaxed
@given(segment, sentence)
def test_another_reference_never_takes_matches_away(pair: tuple[str, list[str]], extra: str) -> None:
    hypothesis, references = pair
    for metric in (MultiBleu(), NltkBleu()):
        fewer = metric.statistics([hypothesis], [references])[0, :4]
        more = metric.statistics([hypothesis], [[*references, extra]])[0, :4]
        assert (more >= fewer).all()
    assert Ter().score([hypothesis], [[*references, extra]]).value <= Ter().score([hypothesis], [references]).value
    chrf = ChrF()
    sentence_f = [
        float(chrf._sentence_f(chrf.statistics([hypothesis], [group])[0]))
        for group in (references, [*references, extra])
    ]
    assert sentence_f[1] >= sentence_f[0]


@relaxed
@given(st.lists(st.tuples(sentence, st.lists(st.one_of(sentence, st.just(" ")), min_size=1, max_size=3)), min_size=1))
def test_the_corrected_scores_are_those_without_padding(segments: list[tuple[str, list[str]]]) -> None:
    """The suite makes anew only the segments where padding can have counted; that must be all that differ."""
    hypotheses, references = [h for h, _ in segments], [r for _, r in segments]
    lines = Segments(hypotheses, hypotheses, references, hypotheses, [None] * len(segments), "lines")
    outcome = run(make_suite(["bleu", "ter"]), lines, Bootstrap(resamples=0))
    for key, metric in (("bleu", MultiBleu()), ("ter", Ter())):
        expected = metric.score(hypotheses, without_blanks(references)).value
        corrected = outcome.unpadded.get(key, outcome.results[key])
        assert corrected.score.value == pytest.approx(expected, abs=1e-12)


@relaxed
@given(segment)
def test_repeating_a_reference_changes_nothing(pair: tuple[str, list[str]]) -> None:
    hypothesis, references = pair
    for metric in METRICS:
        once = metric.statistics([hypothesis], [references])
        assert (metric.statistics([hypothesis], [references + references]) == once).all()


@each_metric
@settings(max_examples=150, deadline=None)
@given(hypothesis=any_text, references=st.lists(any_text, min_size=1, max_size=3))
def test_any_line_scores(metric: Metric, hypothesis: str, references: list[str]) -> None:
    value = metric.score([hypothesis], [references]).value
    assert np.isfinite(value)
    assert value >= 0


@each_metric
@pytest.mark.parametrize(
    "text",
    ["", " ", "\x00\x1f\x7f", "😀👩‍👩‍👧", "a\u2028b\x85c", "\ud800", "word " * 10_000, "!" * 10_000, "a\nb", "*# x *#"],
    ids=[
        "empty",
        "blank",
        "control",
        "emoji",
        "separators",
        "surrogate",
        "10,000 words",
        "10,000 marks",
        "newline",
        "*#",
    ],
)
def test_odd_lines_score_or_are_refused(metric: Metric, text: str) -> None:
    for hypothesis, reference in ((text, "The Eagle is a pub."), ("The Eagle is a pub.", text), (text, text)):
        try:
            value = metric.score([hypothesis], [[reference]]).value
        except InputError as error:
            assert "segment 1" in str(error)
        else:
            assert np.isfinite(value)


def test_sacrebleu_metrics_are_the_librarys() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses = ["the cat sat on the mat today", "a dog", "he barked loudly"]
    references = [
        ["the cat is on the mat", "on the mat the cat sat today"],
        ["a dog barked"],
        ["she barked", "he sang"],
    ]
    streams = [["the cat is on the mat", "a dog barked", "she barked"], [references[0][1], None, "he sang"]]
    metrics = sacrebleu_metrics()
    library = {
        "sacrebleu_bleu": sacrebleu.metrics.BLEU(),
        "sacrebleu_chrf++": sacrebleu.metrics.CHRF(word_order=2),
        "sacrebleu_ter": sacrebleu.metrics.TER(),
    }
    for key, metric in metrics.items():
        score = metric.score(hypotheses, references)
        assert score.value == pytest.approx(library[key].corpus_score(hypotheses, streams).score, abs=1e-9)
        assert f"tool:sacrebleu-{sacrebleu.__version__}" in score.signature
    assert [metric.higher_is_better for metric in metrics.values()] == [True, True, False]
