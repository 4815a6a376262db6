"""`compare.py`: which system is better, and whether that is more than chance."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nlg_metrics.commands import compare
from nlg_metrics.files import read_json


@pytest.fixture
def systems(tmp_path: Path) -> Path:
    """Data of 60 contexts, a system that drops one word in ten and one that drops three in ten."""
    draw = random.Random(0)
    words = [
        "the",
        "pub",
        "river",
        "cheap",
        "eagle",
        "airport",
        "city",
        "of",
        "is",
        "near",
        "and",
        "old",
        "in",
        "a",
        "food",
    ]
    rows = []
    for number in range(60):
        text = " ".join(draw.choice(words) for _ in range(14))
        rows.append({"id": str(number), "context": f"c{number}", "references": [text], "seen": number % 2 == 0})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, loss in (("good", 0.1), ("bad", 0.3)):
        lines = [
            {
                "id": row["id"],
                "hypothesis": " ".join(word for word in row["references"][0].split() if draw.random() > loss),  # type: ignore[index]
            }
            for row in rows
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def run(folder: Path, suite: str, first: str, second: str, *more: str) -> int:
    paths = [str(folder / first), str(folder / second), "--data", str(folder / "data.jsonl")]
    return compare.main([suite, *paths, "--trials", "999", "--json", str(folder / "out.json"), *more])


def test_the_better_system_is_found_on_every_metric_and_subset(
    systems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(systems, "webnlg", "good.jsonl", "bad.jsonl", "-m", "bleu,chrf++,ter") == 0
    record = read_json(systems / "out.json")
    assert list(record["comparison"]) == ["all", "seen", "unseen"]
    assert record["comparison"]["seen"]["segments"] == 30
    for verdict in record["comparison"]["all"]["metrics"].values():
        assert verdict["better"] == "A"
        assert verdict["p_bootstrap"] < 0.01
        assert verdict["p_randomization"] < 0.01
        assert verdict["interval"][0] <= verdict["difference"] <= verdict["interval"][1]
    assert record["comparison"]["all"]["metrics"]["ter"]["difference"] < 0
    assert len(record["files"]["a"]["sha256"]) == 64
    out = capsys.readouterr().out
    assert "all: 60 segments" in out
    assert out.count("p(randomization)") == 3


def test_swapping_the_systems_mirrors_the_verdict(systems: Path) -> None:
    assert run(systems, "dart", "bad.jsonl", "good.jsonl", "-m", "ter") == 0
    assert read_json(systems / "out.json")["comparison"]["all"]["metrics"]["ter"]["better"] == "B"


def test_a_system_does_not_differ_from_itself(systems: Path) -> None:
    assert run(systems, "e2e", "good.jsonl", "good.jsonl") == 0
    verdicts = read_json(systems / "out.json")["comparison"]["all"]["metrics"]
    assert {"BLEU", "NIST", "ROUGE_L", "CIDEr"} <= set(verdicts)
    for verdict in verdicts.values():
        assert verdict["difference"] == 0
        assert verdict["p_bootstrap"] == verdict["p_randomization"] == 1.0
        assert verdict["better"] == "-"


def test_slot_error_rate_is_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context, text = "name : Aromi | area : riverside", "Aromi is by the river."
    rows = [{"id": str(n), "context": f"{context} | near : Place {n}", "references": [text]} for n in range(20)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, said in (("good", f"{text[:-1]} near Place "), ("bad", "Aromi near Place ")):
        lines = [{"id": row["id"], "hypothesis": f"{said}{row['id']}"} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path, "e2e", "good.jsonl", "bad.jsonl", "--ser") == 0
    verdict = read_json(tmp_path / "out.json")["comparison"]["all"]["metrics"]["SER"]
    assert (verdict["a"], verdict["b"], verdict["better"]) == (0, pytest.approx(1 / 3), "A")  # bad omits the area
    assert run(tmp_path, "webnlg", "good.jsonl", "bad.jsonl", "--ser") == 1
    assert "--ser is for the suite e2e" in capsys.readouterr().err


def test_plain_files_of_the_official_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, lines in (("a", ["x y z w", "p q r s"]), ("b", ["x y w z", "p q"]), ("refs", ["x y z w", "p q r s"])):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "-R", str(tmp_path / "refs"), "-nr", "1"]
    assert compare.main(["webnlg", *arguments, "-m", "ter", "--trials", "99"]) == 0
    assert "TER" in capsys.readouterr().out


def test_json_lines_are_not_scored_as_plain_text(systems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (systems / "refs").write_text("a\n")
    paths = [str(systems / name) for name in ("good.jsonl", "bad.jsonl")]
    for suite in ("e2e", "webnlg"):
        assert compare.main([suite, *paths, "-R", str(systems / "refs"), "-nr", "1"]) == 1
        assert "good.jsonl is JSON lines, not plain text; give it as --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-R", "refs"], "give the references as --data or as -R"),
        (["--resamples", "0"], "--resamples is 0; it must be at least 1"),
    ],
)
def test_refusals(systems: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert run(systems, "webnlg", "good.jsonl", "bad.jsonl", *more) == 1
    assert message in capsys.readouterr().err


def test_what_is_not_defined_is_null_in_json(tmp_path: Path) -> None:
    """Where a resample has no word in common with its references NIST has no value; JSON has no NaN."""
    references = ["one two three four five six", "a b c d e f"]
    rows = [{"id": str(i), "context": str(i), "references": [text]} for i, text in enumerate(references)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, texts in (("full", references), ("short", [references[0], "x"])):
        lines = [{"id": str(i), "hypothesis": text} for i, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path, "e2e", "full.jsonl", "short.jsonl", "--resamples", "20") == 0

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    record = json.loads((tmp_path / "out.json").read_text(), parse_constant=refuse)
    assert None in record["comparison"]["all"]["metrics"]["NIST"]["interval"]
