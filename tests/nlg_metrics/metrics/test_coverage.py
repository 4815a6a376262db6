"""Coverage: what realises a value, what doesn't, and the rate of the corpora's own texts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nlg_metrics.metrics.coverage import Coverage, unsaid


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ("3310.0", "Its runway is 3,310 metres long.", True),
        ("3310.0", "Its runway is 3,311 metres long.", False),
        ("3310.0", "its runway is 3 , 310 metres long .", True),
        ("125800.0 (millimetres)", "It is 125.8 m long.", True),
        ("5", "It has five floors.", True),
        ("1932-03-15", "He was born on March 15th, 1932.", True),
        ("1932-03-15", "He was born on 15 Mar 1932.", True),
        ("1932-03-15", "He was born on 1932-03-15.", True),
        ("1932-03-15", "He was born on May 15th, 1932.", False),
        ("United_States", "He is from the U.S.", True),
        ("Germany", "a German dish", True),
        ("English_language", "written in English", True),
        ("Sandesh_(confectionery)", "A variant is sandesh.", True),
        ('"Ciudad Ayala"', "born in Ciudad Ayala", True),
        ("Lars_Løkke_Rasmussen", "led by Lars Lokke Rasmussen", True),
        ("Wheeler,_Texas", "born in Dallas, Texas", False),
        ("Kerala", "", False),
    ],
)
def test_values(value: str, text: str, said: bool) -> None:
    assert unsaid(f"Subject : property : {value}", text) == ([] if said else [value.replace("_", " ")])


def test_yes_and_no_are_of_the_property() -> None:
    yes, no = "familyFriendly[yes]", "familyFriendly[no]"
    for text, said in (("A family friendly pub.", [yes]), ("It is not family friendly.", [yes, no]), ("A pub.", [])):
        assert [context for context in (yes, no) if not unsaid(context, text)] == said


def test_the_score_is_said_over_all_and_rows_add_up() -> None:
    contexts = ["A : p : Rome | A : q : 1990", "B : p : Paris"]
    metric = Coverage()
    rows = metric.measure(["A is in Rome", "B is in Paris"], [["x"], ["x"]], contexts)
    assert rows.tolist() == [[1, 2], [1, 1]]
    assert metric.aggregate(rows.sum(axis=0)) == pytest.approx(2 / 3)
    assert metric.parts(rows.sum(axis=0)) == {"said": 2.0, "entries": 3.0}


def test_released_texts_say_their_values_and_not_anothers(shared_data: Path) -> None:
    with open(shared_data / "e2e" / "testset_w_refs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1::40]
    contexts, texts = [row[0] for row in rows], [row[1] for row in rows]
    references = [[text] for text in texts]
    own = Coverage().score(texts, references, contexts).value
    others = Coverage().score(texts[1:] + texts[:1], references, contexts).value
    assert own > 0.7
    assert others < own - 0.2
