"""PARENT: hand-worked cases, properties, the forms of a table, and the official program's recorded values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.__main__ import main
from nlg_metrics.errors import InputError
from nlg_metrics.files import read_json
from nlg_metrics.metrics.parent import Parent
from nlg_metrics.metrics.tables import parse_table
from nlg_metrics.suites.parent_files import lines_of, split_references

CLOSE = 1e-9
TABLE = "name|||blue spice\tarea|||city centre"


def segment(metric: Parent, text: str, references: list[str], table: str = TABLE) -> list[float]:
    return [float(value) for value in metric.measure([text], [references], [table])[0][:3]]


def test_a_case_worked_by_hand() -> None:
    # Unigrams and bigrams of "blue spice x": the reference has "blue" and "spice" and "blue spice"; "x" is in neither,
    # so p1 = 2/3, p2 = (1 + 1/2) / 2 since "spice x" is half entailed. The reference has "blue spice is" with weights
    # 1, 1, 0 and 1, 1/2: recall 1 and 1 / 1.5. Table: 1 of the name's two... both words, none of the area: 1/2.
    precision, recall, f = segment(Parent(0.5, "blanks", max_order=2), "Blue spice x", ["blue spice is"])
    assert precision == pytest.approx(math.sqrt(2 / 3 * 0.75), abs=CLOSE)
    assert recall == pytest.approx(math.sqrt(math.sqrt(1 * 1 / 1.5) * 0.5), abs=CLOSE)
    assert f == pytest.approx(2 * precision * recall / (precision + recall + 1e-8), abs=CLOSE)


def test_an_entailed_word_that_no_reference_has_is_right_and_a_stranger_is_wrong() -> None:
    metric = Parent(tokens="blanks", max_order=1)
    assert segment(metric, "in the city centre", ["in the middle"])[0] == 1.0
    assert segment(metric, "in the old town", ["in the middle"])[0] == 0.5


def test_the_reference_of_the_highest_f_counts_whole() -> None:
    metric = Parent(tokens="blanks")
    references = ["blue spice is in the city centre .", "something else entirely ."]
    alone = [segment(metric, "blue spice is in the city centre .", [text]) for text in references]
    assert segment(metric, "blue spice is in the city centre .", references) == max(alone, key=lambda row: row[2])
    assert alone[0][2] != alone[1][2]


def test_every_form_of_a_table_is_the_same_table() -> None:
    pairs = [("name", "Blue Spice"), ("food", "French")]
    for context in (
        "name[Blue Spice], food[French]",
        "name : Blue Spice | food : French",
        "name|||Blue Spice\tfood|||French",
    ):
        assert parse_table(context) == pairs
    assert parse_table("A_B : rel : C : D | E : r : F") == [("A_B", "rel", "C : D"), ("E", "r", "F")]
    assert parse_table("[TABLECONTEXT] : [title] : Jeff") == [("[TABLECONTEXT]", "[title]", "Jeff")]
    for wrong in ("", "just words", "a : b | c"):
        with pytest.raises(InputError, match="no input that can be taken apart"):
            parse_table(wrong)


def test_a_triple_is_head_and_tail_and_underscores_are_blanks() -> None:
    text, references = "Alan Bean was born in Wheeler , Texas .", ["Alan Bean is from Wheeler , Texas ."]
    triple = segment(Parent(), text, references, "Alan_Bean : birthPlace : Wheeler,_Texas")
    pair = segment(Parent(), text, references, "birthPlace[Alan Bean Wheeler, Texas]")
    assert triple == pair
    assert segment(Parent(), text, references, "Alan_Shepard : birthPlace : Wheeler,_Texas") != triple


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a|||", "has no value"),
        ("a|||b\tc", "one member"),
        ("a|||b\tc|||d|||e", "all pairs or all triples"),
        ("", "needs `contexts`"),
    ],
)
def test_tables_that_can_not_be_scored(table: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segment(Parent(tokens="blanks"), "a b", ["a b"], table)
    with pytest.raises(InputError, match="`max_order` is 0"):
        Parent(max_order=0)


def test_co_occurrence_takes_the_likeliest_cause() -> None:
    metric = Parent(tokens="blanks", max_order=1, counts={"spice": 4, "spice|||hot": 3, "blue": 2, "blue|||hot": 1})
    assert segment(metric, "hot", ["cold"])[0] == 0.75
    assert segment(metric, "warm", ["cold"])[0] == 0.0
    with pytest.raises(InputError, match="has 0 for a token"):
        segment(Parent(tokens="blanks", counts={"blue": 0}), "hot", ["cold"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["blue", "spice", "city", "centre", "is", "a"]), max_size=8),
    st.sampled_from([0.0, 0.3, 1.0, None]),
)
def test_scores_are_fractions_and_more_references_never_hurt(words: list[str], weight: float | None) -> None:
    metric, text = Parent(weight, "blanks"), " ".join(words)
    one = segment(metric, text, ["blue spice is a pub"])
    assert all(0 <= value <= 1 for value in one)
    assert segment(metric, text, ["blue spice is a pub", "a city centre"])[2] >= one[2]


def test_the_readers_rules(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("a\r\nb\rc\u2028d\n\ufeffe".encode())
    assert lines_of(tmp_path / "f") == ["a", "b", "c\u2028d", "\ufeffe"]
    assert split_references("\ta\t\tb \t\n") == ["a", "", "b"]
    assert split_references("\n") == [""]


def recorded(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "parent" / name).read_text("utf-8").splitlines()]


def context(table: list[list[str]]) -> str:
    return "\t".join("|||".join(entry) for entry in table)


@pytest.mark.parametrize("name", ["probes.jsonl", "cooccurrence_probes.jsonl"])
def test_recorded_segments(shared_metrics: Path, name: str) -> None:
    stored = json.loads((shared_metrics / "parent" / "cooccurrence_counts.json").read_text("utf-8"))
    for probe in recorded(shared_metrics, name):
        counts = probe.get("counts", stored) if name.startswith("co") else None
        more = {key: probe[key] for key in ("smoothing", "max_order") if key in probe}
        metric = Parent(probe["lambda"], "blanks", counts=counts, **more)
        found = segment(metric, probe["hyp"], probe["refs"], context(probe["table"]))
        assert found == pytest.approx([probe[key] for key in ("precision", "recall", "f")], abs=CLOSE), probe


def test_recorded_batches_and_refusals(shared_metrics: Path) -> None:
    for batch in recorded(shared_metrics, "batches.jsonl"):
        metric = Parent(batch["lambda"], "blanks")
        if len({len(batch["hyps"]), len(batch["refs"]), len(batch["tables"])}) > 1:  # the program scores the shortest
            with pytest.raises(InputError, match="must be equal"):
                metric.score(batch["hyps"], batch["refs"], list(map(context, batch["tables"])))
            continue
        score = metric.score(batch["hyps"], batch["refs"], list(map(context, batch["tables"])))
        assert score.value == pytest.approx(batch["f"], abs=CLOSE)
        assert score.parts == pytest.approx({key: batch[key] for key in ("precision", "recall")}, abs=CLOSE)
    for wrong in recorded(shared_metrics, "errors.jsonl"):
        with pytest.raises(InputError):
            metric = Parent(wrong["lambda"], "blanks", max_order=wrong.get("max_order", 4))
            metric.score(wrong["hyps"], wrong["refs"], list(map(context, wrong["tables"])))


def test_recorded_corpora_through_the_command_line(shared_metrics: Path, tmp_path: Path) -> None:
    folder = shared_metrics / "parent"
    corpora = {name: entry for name, entry in read_json(folder / "corpus.json").items() if "refs" in entry}
    for name in ("dart_dev", "webnlg_loo"):
        corpus = corpora[name]
        output = next(iter(corpus["outputs"].values()))
        files = [str(folder / path) for path in (corpus["refs"], output["hyp"])]
        arguments = [
            "texts",
            *files,
            "--tables",
            str(folder / corpus["tables"]),
            "-m",
            "parent,parent=0,parent=0.5,parent=1",
        ]
        assert main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
        values = read_json(tmp_path / "out.json")
        for weight, key in {"heuristic": "parent", "0": "parent=0", "0.5": "parent=0.5", "1": "parent=1"}.items():
            assert values[key] == pytest.approx(output["scores"][weight]["f"], abs=CLOSE), (name, weight)
