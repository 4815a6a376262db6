"""BLEU and chrF++ of the WebNLG suite by hand: smoothing, padding, tokens on bytes, choice of the reference."""

from __future__ import annotations

from math import exp

import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.chrf import ChrF, split_punctuation
from nlg_metrics.metrics.multi_bleu import MultiBleu
from nlg_metrics.metrics.nltk_bleu import NltkBleu
from nlg_metrics.metrics.padding import Unpadded, padded_rows
from nlg_metrics.tokenizers.mteval import MultiBleuTokenizer


def test_multi_bleu_by_hand() -> None:
    """a b c d e f against a b c d x f: 5/6 · 3/5 · 2/4 · 1/3 of the orders, no penalty."""
    score = MultiBleu().score(["a b c d e f"], [["a b c d x f"]])
    assert score.value == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-12)
    assert score.parts["brevity_penalty"] == 1.0


def test_multi_bleu_clips_at_one_reference_and_is_not_smoothed() -> None:
    parts = MultiBleu().score(["the the the the"], [["the cat the", "the dog"]]).parts
    assert parts["precision_1"] == 50.0
    assert MultiBleu().score(["a b c"], [["a b c"]]).value == 0.0  # no 4-gram


def test_the_closest_reference_length_is_the_shorter_of_two_and_sums_over_segments() -> None:
    parts = MultiBleu().score(["a b c d", "a b c d"], [["a b c", "a b c d e"], ["a b c d e f", "a"]]).parts
    assert parts["reference_length"] == 3 + 6


def test_multi_bleu_is_sacrebleus_where_the_two_agree() -> None:
    """Without empty references and characters beyond ASCII, sacrebleu's 13a tokens and unsmoothed BLEU are the same."""
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses = [
        "The Eagle, a low-priced pub (3-star), isn't near it.",
        'He said "no" &amp; left at 3.5.',
        "A $20.5 pub!",
    ]
    references = [
        ["The Eagle is a low-priced pub, 3-star; it isn't near it.", "A 3-star pub (The Eagle) isn't near it."],
        ['He said "no" & left at 3.50.', 'She said "no" and left at 3.5.'],
        ["A $20.5 pub!", "A cheap pub!"],
    ]
    streams = [[group[position] for group in references] for position in range(2)]
    library = sacrebleu.metrics.BLEU(tokenize="13a", smooth_method="none").corpus_score(hypotheses, streams)
    assert library.score > 10
    assert MultiBleu().score(hypotheses, references).value == pytest.approx(library.score, abs=1e-9)


def test_an_empty_reference_shortens_multi_bleu_and_the_corrected_figure_does_not_have_it() -> None:
    """The hypothesis has 4 words, the real reference 10: length 0 is closer, so the penalty disappears."""
    reference = "a b c d e f g h i j"
    padded = MultiBleu().score(["a b c d", "x y z w"], [[reference, ""], ["x y z w", "x"]])
    assert padded.value == pytest.approx(100.0, abs=1e-12)
    plain = Unpadded(MultiBleu()).score(["a b c d", "x y z w"], [[reference, ""], ["x y z w", "x"]])
    assert plain.value == pytest.approx(100 * exp(1 - 14 / 8), abs=1e-12)
    assert "empty_refs:left-out" in plain.signature
    assert plain.name == "BLEU (no padding)"


def test_padded_rows_are_those_with_blank_and_other_references() -> None:
    assert padded_rows([["a", ""], ["a"], ["", " "], ["", "b"]]) == [0, 3]


def test_correcting_the_padded_rows_equals_scoring_without_padding() -> None:
    hypotheses = ["a b c d", "x y z w", "q r"]
    references = [["a b c d e", ""], ["x y z", "w"], ["", "q r s t u v"]]
    metric = Unpadded(MultiBleu())
    statistics = MultiBleu().statistics(hypotheses, references)
    corrected = metric.correct(statistics, hypotheses, references, padded_rows(references))
    assert (corrected == metric.statistics(hypotheses, references)).all()
    assert (corrected != statistics).any()


def test_multi_bleu_tokens_are_bytes() -> None:
    def tokens(text: str) -> list[str]:
        return [token.encode("latin-1").decode("utf-8") for token in MultiBleuTokenizer()(text)]

    assert tokens("it's 3-4, U.S. café\u00a0x") == ["it's", "3", "-", "4", ",", "U", ".", "S", ".", "café\u00a0x"]
    assert tokens("a_b &lt;c&gt; <skipped>d") == ["a", "_", "b", "<", "c", ">", "d"]
    assert tokens("") == []


def test_nltk_bleu_smooths_by_method_3() -> None:
    """One match of four words and none of the orders 2 to 4: their precisions are 1/2/3, 1/4/2 and 1/8/1."""
    score = NltkBleu().score(["a b c d"], [["a x y z"]])
    assert score.value == pytest.approx((1 / 4 * 1 / 6 * 1 / 8 * 1 / 8) ** 0.25, abs=1e-12)


def test_nltk_bleu_keeps_its_quirks() -> None:
    # A hypothesis of one word adds 1 to the candidates of each order.
    assert NltkBleu().statistics(["a"], [["a"]]).tolist() == [[1, 0, 0, 0, 1, 1, 1, 1, 1, 1]]
    # A segment whose references are all blank is skipped.
    assert NltkBleu().statistics(["a b"], [["", " "]]).sum() == 0
    # No matching word at all is 0 however long the text, and so is an empty hypothesis.
    assert NltkBleu().score(["a b"], [["c d"]]).value == 0.0
    assert NltkBleu().score([""], [["c d"]]).value == 0.0


def test_nltk_bleu_is_nltks_corpus_bleu() -> None:
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    hypotheses = ["the cat sat on the mat", "a dog", "he barked loudly at the red cars today"]
    references = [["the cat is on the mat", "a cat sat"], ["a dog barked", "dogs"], ["she barked at red cars"]]
    expected = corpus_bleu(
        [[text.split() for text in group] for group in references],
        [text.split() for text in hypotheses],
        smoothing_function=SmoothingFunction().method3,
    )
    assert NltkBleu().score(hypotheses, references).value == pytest.approx(expected, abs=1e-12)


def test_chrf_by_hand() -> None:
    """ "ab" against "abc", characters only to order 2: F of 2/2, 2/3 and of 1/1, 1/2 with beta 2."""
    f1 = 5 * 1 * (2 / 3) / (4 * 1 + 2 / 3)
    f2 = 5 * 1 * (1 / 2) / (4 * 1 + 1 / 2)
    assert ChrF(2, 0).score(["ab"], [["abc"]]).value == pytest.approx((f1 + f2) / 2, abs=1e-12)


def test_chrf_takes_the_reference_of_highest_f_and_ignores_blank_ones() -> None:
    alone = ChrF().score(["the cat sat"], [["the cat sat down"]])
    assert ChrF().score(["the cat sat"], [["", "dogs", "the cat sat down", " "]]).value == alone.value
    assert ChrF().statistics(["a"], [["", " "]]).sum() == 0


def test_chrf_orders_beyond_the_reference_do_not_count_the_hypothesis() -> None:
    row = ChrF(3, 0).statistics(["abc"], [["ab"]])[0].tolist()
    assert row == [2, 1, 0, 3, 2, 0, 2, 1, 0]


def test_chrf_words_lose_one_mark() -> None:
    assert split_punctuation('"it," (see) a. . ...') == ['"it,', '"', "(see", ")", "a", ".", ".", "..", "."]


def test_unusable_chrf_orders_are_refused() -> None:
    with pytest.raises(InputError, match=r"orders 0 .* and 0 .* can't be used"):
        ChrF(0, 0)
    with pytest.raises(InputError, match="beta is positive"):
        ChrF(beta=0)
