"""`webnlg_dart.py` as a person runs it: eval.py's inputs and table, our files, every refusal in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nlg_metrics.commands import webnlg as webnlg_dart
from nlg_metrics.files import read_json, read_jsonl
from nlg_metrics.segments import Segments
from nlg_metrics.suites import webnlg as webnlg_suite
from nlg_metrics.suites.webnlg_files import table

HYPOTHESES = ["The Eagle is a cheap pub .", "Aarhus Airport serves Aarhus", "He was born in 1950."]
REFERENCES = [
    ["The Eagle is a cheap pub near the river .", "Aarhus airport serves the city of Aarhus.", "He was born in 1950."],
    ["A cheap pub is The Eagle .", "", "Born in 1950, he is old."],
]


def write_files(folder: Path, end: str = "\n") -> Path:
    (folder / "hyps").write_text("\n".join(HYPOTHESES) + end)
    for number, lines in enumerate(REFERENCES):
        (folder / f"refs{number}").write_text("\n".join(lines) + end)
    return folder


def run(*arguments: object) -> int:
    return webnlg_dart.main([str(argument) for argument in arguments], prog="webnlg_dart.py")


def no_meteor(folder: Path) -> list[object]:
    return ["-m", "bleu,chrf++,ter", "-R", folder / "refs", "-H", folder / "hyps", "-nr", 2]


def test_the_program_runs_alone(tmp_path: Path) -> None:
    """As a process without src on its path: the scorers need neither torch nor the training package."""
    write_files(tmp_path)
    program = Path(__file__).resolve().parents[3] / "eval" / "webnlg_dart.py"
    code = (
        "import runpy, sys; sys.argv[0] = sys.argv.pop(1)\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'lora_nlg', 'pandas') if name in sys.modules])"
    )
    arguments = [str(argument) for argument in no_meteor(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, str(program), *arguments], capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["BLEU", "BLEU", "NLTK", "chrF++", "TER"]
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_final_newline_is_not_a_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = []
    for name, end in (("with", "\n"), ("without", "")):
        folder = tmp_path / name
        folder.mkdir()
        assert run(*no_meteor(write_files(folder, end)), "--json", folder / "out.json") == 0
        values.append(read_json(folder / "out.json"))
    assert values[0] == values[1]
    assert set(values[0]) == {"bleu", "bleu_nltk", "chrf++", "ter", "bleu_unpadded"}
    assert "n/a" not in capsys.readouterr().out


def test_a_reference_file_may_end_in_a_missing_reference(tmp_path: Path) -> None:
    """Files joined with newlines, as the official data is: the last line of refs1 is empty, not absent."""
    (tmp_path / "hyps").write_text("a b\nc d")
    (tmp_path / "refs0").write_text("a b\nc d")
    (tmp_path / "refs1").write_text("a\n")
    assert run(*no_meteor(tmp_path), "--scores", tmp_path / "s.json", "--resamples", 10) == 0
    assert read_json(tmp_path / "s.json")["segments"]["references"] == {"min": 2, "max": 2, "total": 4}


def test_padding_is_laid_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hyps").write_text("a b c d\nx y z w v\n")
    (tmp_path / "refs0").write_text("a b c d e f g h i j\nx y z w v\n")
    (tmp_path / "refs1").write_text("\nx y z\n")
    assert run(*no_meteor(tmp_path), "--json", tmp_path / "out.json") == 0
    values = read_json(tmp_path / "out.json")
    assert values["bleu"] == pytest.approx(100.0)
    assert values["bleu_unpadded"] < 60
    assert "BLEU without the padding by empty references: " in capsys.readouterr().out
    assert "ter_unpadded" not in values  # the empty reference was not the best one


def test_the_table_is_the_official_ones() -> None:
    tabulate = pytest.importorskip("tabulate").tabulate
    titles = {"bleu": "BLEU", "bleu_nltk": "BLEU NLTK", "meteor": "METEOR", "chrf++": "chrF++", "ter": "TER"}
    for values in ([51.32, 0.39, 0.32, 0.54, 0.5], [100.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.1, 0.07, 11.0]):
        row = dict(zip(titles, values, strict=True))
        assert table({"all": row}, titles) == tabulate([values], headers=list(titles.values()))


def test_our_files_give_subsets_intervals_and_segment_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": str(number), "context": f"c{number}", "references": [text, text + " indeed"], "seen": number < 2}
        for number, text in enumerate(HYPOTHESES)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions = [{"id": row["id"], "hypothesis": row["references"][1]} for row in rows]  # type: ignore[index]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions))
    files = ["--data", tmp_path / "data.jsonl", "--predictions", tmp_path / "p.jsonl", "-m", "bleu,ter"]
    outputs = ["--scores", tmp_path / "s.json", "--segment_scores", tmp_path / "segments.jsonl", "--resamples", 50]
    assert run(*files, *outputs) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Set", "------", "all", "seen", "unseen"]
    record = read_json(tmp_path / "s.json")
    assert record["subsets"]["seen"]["segments"] == 2
    assert record["subsets"]["unseen"]["scores"]["bleu"]["value"] == pytest.approx(100.0)
    assert record["scores"]["ter"]["interval"] == [0.0, 0.0]
    signature = record["scores"]["bleu"]["signature"]
    assert "|segments:contexts|style:lora|data:" in signature
    (tmp_path / "plain").write_text("\n".join(str(row["hypothesis"]) for row in predictions) + "\n")
    assert run("--data", tmp_path / "data.jsonl", "-H", tmp_path / "plain", "-m", "bleu,ter") == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert [row["id"] for _, row in read_jsonl(tmp_path / "segments.jsonl")] == ["0", "1", "2"]


def test_each_metric_of_the_table_can_be_asked_for(tmp_path: Path) -> None:
    write_files(tmp_path)
    files = ["-R", tmp_path / "refs", "-H", tmp_path / "hyps", "-nr", 2, "--json", tmp_path / "out.json"]
    for asked in ("bleu_nltk", "chrf++,ter,bleu_nltk"):
        assert run(*files, "-m", asked) == 0
        assert set(read_json(tmp_path / "out.json")) == set(asked.split(","))


def test_the_lora_style_is_the_predecessors() -> None:
    assert (
        webnlg_suite.lora_text("Abilene_Airport  (U.S.) isn't 5-Star.")
        == "abilene_airport ( u . s . ) isn ' t 5 - star ."
    )
    segments = Segments(["1"], ["A-b"], [[f"R{number}" for number in range(8)]], ["c"], [None], "contexts")
    styled = webnlg_suite.styled(segments, "lora")
    assert styled.hypotheses == ["a - b"]
    assert styled.references == [[f"r{number}" for number in range(6)]]
    assert webnlg_suite.styled(segments, "raw").references[0] == segments.references[0]
    assert webnlg_suite.styled(segments, "raw", 2).references == [["R0", "R1"]]


def test_meteor_is_never_replaced_by_a_stand_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    empty = tmp_path / "nothing"
    empty.mkdir()
    arguments = ["-R", tmp_path / "refs", "-H", tmp_path / "hyps", "-nr", 2, "--meteor_data", empty]
    assert run(*arguments, "--json", tmp_path / "out.json") == 0
    shown = capsys.readouterr()
    assert "n/a" in shown.out
    assert shown.err.startswith("METEOR: ")
    assert "meteor" not in read_json(tmp_path / "out.json")


REFUSED = [
    (["-H", "hyps"], "give -R and -H, or --data and --predictions"),
    (["-R", "refs", "-H", "hyps", "-nr", "3"], "no file .*refs2"),
    (["-R", "short", "-H", "hyps", "-nr", "1"], "hyps has 3 lines but .*short has 2; they must be equal"),
    (["-R", "refs", "-H", "longer", "-nr", "2"], "longer has 4 lines but .*refs0 has 3"),
    (["-R", "refs", "-H", "hyps", "-nr", "0"], "-nr is 0"),
    (["-R", "refs", "-H", "hyps", "-m", "bleu,rouge"], "no metric 'rouge'; there are bleu, bleu_nltk, meteor"),
    (["-R", "refs", "-H", "hyps", "-m", ","], "--metrics names no metric"),
    (["-R", "refs", "-H", "hyps", "-lng", "de"], "-lng is 'de'; it must be one of en, ru"),
    (["-R", "refs", "-H", "empty", "-nr", "2"], "empty is empty"),
    (
        ["-R", "refs", "-H", "ours", "-nr", "2"],
        "ours is JSON lines, not plain text; give it as --data or --predictions",
    ),
    (["-R", "ours", "-H", "hyps", "-nr", "1"], "ours is JSON lines, not plain text"),
    (["--data", "ours", "-H", "ours"], "ours is JSON lines, not plain text"),
    (["-R", "refs", "-H", "hyps", "-nr", "2", "-nc", "-1"], "chrF orders -1"),
    (["-R", "refs", "-H", "hyps", "-nr", "2", "--json", "hyps/out.json"], "can't be written"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refusals_are_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    write_files(tmp_path)
    (tmp_path / "short").write_text("a\nb\n")
    (tmp_path / "longer").write_text("a\nb\nc\nd\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "ours").write_text('{"id": "1", "hypothesis": "a", "references": ["a"]}\n')
    monkeypatch.chdir(tmp_path)
    if "-m" not in arguments:
        arguments = [*arguments, "-m", "bleu"]
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("webnlg_dart.py: ")
    import re

    assert re.search(message, error)
