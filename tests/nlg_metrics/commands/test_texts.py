"""`nlg-score texts`: every layout of the same references gives the same scores, and it says which it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlg_metrics.__main__ import COMMANDS, main
from nlg_metrics.files import read_json

HYPOTHESES = ["The Punter is a cheap pub .", "Aromi serves food by the river .", "Browns is not cheap at all ."]
REFERENCES = [
    ["The Punter is a cheap pub near the river .", "The Punter , a pub , is cheap ."],
    ["Aromi serves food near the river .", "By the river Aromi serves food ."],
    ["Browns is expensive .", "Browns is not cheap ."],
]
METRICS = "bleu,bleu_nltk,bleu_e2e,nist,rouge,cider,chrf,chrf++,ter"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("hyps", HYPOTHESES)
    return tmp_path


def write(name: str, lines: list[str]) -> None:
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_columns(prefix: str, groups: list[list[str]] = REFERENCES) -> None:
    for number, column in enumerate(zip(*groups, strict=True)):
        write(f"{prefix}{number}", list(column))


def write_records(name: str) -> None:
    rows = [{"id": n, "context": f"c{n}", "references": group} for n, group in enumerate(REFERENCES)]
    write(name, [json.dumps(row) for row in rows])


def texts(*arguments: str, metrics: str = METRICS) -> dict[str, float]:
    assert main(["texts", *arguments, "--metrics", metrics, "--json", "out.json"]) == 0
    scores: dict[str, float] = read_json("out.json")
    return scores


def test_every_layout_of_the_same_references_gives_the_same_scores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_columns("ref")
    write("grouped", [line for group in REFERENCES for line in [*group, ""]])
    write_records("data.jsonl")
    write("predictions.jsonl", [json.dumps({"id": n, "hypothesis": text}) for n, text in enumerate(HYPOTHESES)])
    found = {}
    for layout, arguments in {
        "one file a reference (2 files)": ["ref0", "hyps", "-r", "ref1"],
        "one file a reference": ["ref", "hyps"],
        "groups with blank lines between them": ["grouped", "hyps"],
        "JSON lines, a hypothesis for each of its contexts": ["data.jsonl", "hyps"],
        "JSON lines": ["data.jsonl", "predictions.jsonl"],
    }.items():
        found[layout] = texts(*arguments)
        captured = capsys.readouterr()
        assert f"references: {layout}" in captured.out
        assert "3 segments, 2 references each" in captured.out
        assert not captured.err
    assert len({json.dumps(scores) for scores in found.values()}) == 1
    assert list(found["JSON lines"]) == METRICS.split(",")


def test_one_reference_a_line_is_another_score_than_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_columns("ref")
    both, first = texts("ref", "hyps"), texts("ref0", "hyps")
    captured = capsys.readouterr()
    assert "references: one a line; 3 segments, 1 references each" in captured.out
    assert "note: 1 more reference files lie there and are not used: ref1" in captured.err
    assert first["bleu"] < both["bleu"]
    assert first["ter"] > both["ter"]


def test_an_empty_line_is_a_missing_reference(folder: Path) -> None:
    write_columns("padded", [["a b c d", ""], *REFERENCES[1:]])
    write("grouped", ["a b c d", ""] + [line for group in REFERENCES[1:] for line in [*group, ""]])
    assert texts("padded", "hyps") == texts("grouped", "hyps")


def test_ten_files_are_read_by_number_and_all_of_them(folder: Path) -> None:
    groups = [[f"word{n} of {segment}" for n in range(11)] for segment in range(3)]
    write_columns("many", groups)
    write("hyps", [f"word10 of {segment}" for segment in range(3)])
    assert texts("many", "hyps", metrics="ter")["ter"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "hyps"], "no file absent, nor files absent0, absent1"),
        (["short", "hyps"], "hyps has 3 hypotheses, but short has 2 lines; they must be equal"),
        (["short", "hyps", "-r", "short"], "hyps has 3 lines but short has 2; they must be equal"),
        (["hyps", "hyps", "-m", "bleu,blue"], "no metric 'blue'; there are bleu"),
        (["hyps", "hyps", "-m", "bleu=1"], "bleu=1: bleu takes no value; of the metrics parent, coverage"),
        (["hyps", "hyps", "--tables", "short"], "short has 2 lines but there are 3 segments"),
        (["hyps", *["hyps"] * 27], "27 files to score; at most 26"),
        (["hyps", "hyps", "-m", ","], "--metrics names no metric"),
    ],
)
def test_refusals_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write("short", ["a", "b"])
    assert main(["texts", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nlg-score texts: ")
    assert message in error
    assert error.count("\n") == 1


def test_meteor_without_its_resources_is_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["texts", "hyps", "hyps", "-m", "meteor,ter", "--meteor_data", str(folder)]) == 0
    captured = capsys.readouterr()
    assert "TER: 0.0000" in captured.out
    assert captured.err.count("METEOR needs its resources") == 1


def test_every_command_has_help_and_an_unknown_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"nlg-score {command}" in capsys.readouterr().out
    assert main(["blue"]) == 2
    assert "no command 'blue'; give one of texts, e2e" in capsys.readouterr().err
    assert main(["--help"]) == 0


def test_several_systems_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_columns("ref")
    write("worse", ["The Punter is a pub .", "Food .", "Browns is cheap ."])
    outputs = ["--json", "j.json", "--scores", "s.json", "--segment_scores", "segments.jsonl", "--resamples", "50"]
    assert main(["texts", "ref", "hyps", "worse", "hyps", "-m", "bleu_e2e,chrf++", *outputs]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[1:4] == ["A = hyps", "B = worse", "C = hyps"]
    assert lines[5].split() == ["metric", "A", "B", "C"]
    assert [line.split()[:4] for line in lines if line.startswith("metric")][1:] == [
        ["metric", a, b, f"{a}-{b}"] for a, b in (("A", "B"), ("A", "C"), ("B", "C"))
    ]
    assert "3 pairs are tested; p-values are not corrected for that" in captured.err
    values, record = read_json("j.json"), read_json("s.json")
    assert values["A"] == values["C"] != values["B"]
    assert values["A"] == texts("ref", "hyps", metrics="bleu_e2e,chrf++")
    assert record["comparison"]["A-C"]["chrf++"]["difference"] == 0.0
    difference = values["A"]["chrf++"] - values["B"]["chrf++"]
    assert record["comparison"]["A-B"]["chrf++"]["difference"] == pytest.approx(difference)
    low, high = record["systems"]["B"]["scores"]["chrf++"]["interval"]
    assert low <= values["B"]["chrf++"] <= high
    rows = [json.loads(line) for line in Path("segments.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["id", "A/bleu_e2e", "A/chrf++", "B/bleu_e2e", "B/chrf++", "C/bleu_e2e", "C/chrf++"]


def test_metrics_of_the_input_take_it_from_where_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_columns("ref")
    contexts = ["name[The Punter], priceRange[cheap]", "name[Aromi]", "name[Browns], priceRange[high]"]
    write("contexts", contexts)
    rows = zip(contexts, REFERENCES, strict=True)
    write("data.jsonl", [json.dumps({"id": n, "context": c, "references": r}) for n, (c, r) in enumerate(rows)])
    given = texts("ref", "hyps", "--tables", "contexts", metrics="parent,coverage,ser")
    assert given == texts("data.jsonl", "hyps", metrics="parent,coverage,ser")
    assert given["coverage"] == pytest.approx(4 / 5)  # "high" is not said
    capsys.readouterr()
    assert main(["texts", "ref", "hyps", "-m", "parent,ter"]) == 0
    assert "parent: unavailable (PARENT needs `contexts`, what each text was made from" in capsys.readouterr().err


def test_other_languages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("razdel")
    write("ru.refs", ["Алан Бин родился в Уилере, Техас.", "Он летал в 1969 году."])
    write("ru.hyps", ["Алан Бин родился в Уилере.", "Он летал в 1969 году."])
    arguments = [
        "texts",
        "ru.refs",
        "ru.hyps",
        "-m",
        "bleu_nltk,meteor,ter",
        "--json",
        "out.json",
        "--scores",
        "s.json",
    ]
    assert main([*arguments, "--lang", "ru"]) == 0
    assert "METEOR has no Russian resources here" in capsys.readouterr().err
    assert read_json("out.json")["ter"] == pytest.approx((2 / 8 + 0) / 2)
    assert "razdel-0.5.0" in read_json("s.json")["scores"]["ter"]["signature"]
