"""What the scorers say on stderr beside the official numbers: odd texts, scores without meaning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nlg_metrics.commands import compare, e2e, webnlg
from nlg_metrics.segments import Segments
from nlg_metrics.suites.text_notes import text_notes
from nlg_metrics.suites.webnlg import styled

REFERENCES = [["Blue Spice is a pub by the river ."], ["Zizzi is a cheap restaurant ."]]
CLEAN = [group[0] for group in REFERENCES]
CONTEXTS = ["name : Blue Spice | Type : pub", "name : Zizzi | price : cheap"]


def notes(outputs: list[str], contexts: list[str] | None = None, references: list[list[str]] = REFERENCES) -> list[str]:
    return text_notes(Segments.of_lines(outputs, references, contexts))


def records(folder: Path, references: list[list[str]], outputs: list[str]) -> tuple[str, str]:
    data, predictions = folder / "data.jsonl", folder / "predictions.jsonl"
    ids = [f"r{number}" for number in range(len(outputs))]
    rows = [
        {"id": id_, "context": f"c : {id_}", "references": group} for id_, group in zip(ids, references, strict=True)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions.write_text(
        "".join(json.dumps({"id": i, "hypothesis": text}) + "\n" for i, text in zip(ids, outputs, strict=True))
    )
    return str(data), str(predictions)


def test_clean_texts_give_no_note() -> None:
    assert notes(CLEAN, CONTEXTS) == notes(CLEAN) == []


@pytest.mark.parametrize(
    "token", ["<|endoftext|>", "<|im_end|>", "<pad>", "</s>", "<s>", "<unk>", "[PAD]", "<eos>", "<extra_id_0>"]
)
def test_special_tokens_are_counted_also_where_punctuation_is_split_off(token: str) -> None:
    texts = Segments.of_lines([f"{CLEAN[0]} {token} {token}", CLEAN[1]], REFERENCES)
    assert text_notes(texts) == [f"1 of 2 outputs hold {token}; strip it first"]
    assert text_notes(styled(texts, "lora")) == [f"1 of 2 outputs hold {token.lower()}; strip it first"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\ufeffBlue Spice", "a byte order mark"),
        ("Blue \ud83c", "half a character"),
        ("Blue \ufffd", "U+FFFD"),
        ("Blue\0 Spice", "control characters"),
        ("\u2581Blue\u2581Spice", "subword"),
        ("\u0120Blue", "subword"),
        ("Blue Sp@@ ice", "subword"),
    ],
)
def test_other_remains_are_counted_in_outputs_and_references(text: str, said: str) -> None:
    (note,) = notes([text, CLEAN[1]])
    assert note.startswith("1 of 2 outputs hold ") and said in note
    (note,) = notes(CLEAN, references=[[text, CLEAN[0]], [CLEAN[1]]])
    assert note.startswith("1 of 3 references hold ") and said in note


def test_echoed_contexts_are_counted() -> None:
    echoed = [f"{context} {text}" for context, text in zip(CONTEXTS, CLEAN, strict=True)]
    said = ["2 of 2 outputs begin with their context; cut it off first"]
    assert notes(echoed, CONTEXTS) == notes(echoed) == said
    assert notes([echoed[0], f"name[Zizzi], price[cheap] {CLEAN[1]}"]) == said
    # An output that says the same in words is no echo.
    assert notes(["Name Blue Spice Type pub", CLEAN[1]], CONTEXTS) == []


@pytest.mark.parametrize("empty", ["", "  ", ".", "\u2014 !"])
def test_references_without_a_word_are_named(tmp_path: Path, empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, predictions = records(tmp_path, [[CLEAN[0]], [empty, ""]], CLEAN)
    for command, arguments in ((e2e, ["-t"]), (webnlg, ["-m", "bleu"])):
        assert command.main([*arguments, "--data", data, "--predictions", predictions]) == 0
        assert "note: 1 of 2 segments have no reference with a word (first: id r1)" in capsys.readouterr().err
    # Padding beside a real reference is none.
    assert notes(CLEAN, references=[[CLEAN[0], empty], [CLEAN[1]]]) == []


def test_a_collapsed_system_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["" if number < 19 else " ".join(CLEAN[0].split()[:6]) for number in range(20)]
    data, predictions = records(tmp_path, [[CLEAN[0]]] * 20, outputs)
    scores = tmp_path / "scores.json"
    ours = ["--data", data, "--predictions", predictions, "--segments", "entries"]
    assert e2e.main([*ours, "-t", "--scores", str(scores), "--resamples", "0"]) == 0
    said = capsys.readouterr().err
    assert "note: 19 of 20 outputs are empty" in said
    assert "means nothing: 19 of 20 outputs have fewer than 4 words" in said and "--perl" in said
    assert "19 of 20" in json.loads(scores.read_text())["scores"]["BLEU"]["caveat"]
    assert e2e.main([*ours, "-t", "--perl"]) == 0
    assert "BLEU" not in capsys.readouterr().err
    compared = ["e2e", predictions, predictions, "--data", data, "--segments", "entries"]
    assert compare.main([*compared, "--resamples", "10", "--trials", "10"]) == 0
    assert capsys.readouterr().err.count("means nothing") >= 2


def test_a_terminal_of_any_encoding_gets_every_line(tmp_path: Path) -> None:

    for encoding in ("ascii", "latin-1", "cp1252"):
        for arguments in (["--help"], ["e2e", "--help"], ["ablation_table", "--help"], ["paper_table", "--help"]):
            done = subprocess.run(
                [sys.executable, "-m", "nlg_metrics", *arguments],
                capture_output=True,
                env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
                timeout=120,
            )
            assert done.returncode == 0, (encoding, arguments, done.stderr)


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        (e2e, ["--scores", "s.json", "--resamples", str(10**12)], "at most 1,000,000"),
        (e2e, ["--scores", "s.json", "--seed", "-1"], "negative"),
        (webnlg, ["-nc", "1000000"], "orders are 0 to 100"),
        (webnlg, ["-b", "nan"], "beta is positive"),
        (webnlg, ["-nw", "-1"], "orders are 0 to 100"),
    ],
)
def test_numbers_without_bounds_are_refused(
    tmp_path: Path, command: ModuleType, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, predictions = records(tmp_path, [[CLEAN[0]]], [CLEAN[0]])
    assert command.main(["--data", data, "--predictions", predictions, *flags]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_too_many_reference_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "h").write_text("x\n")
    assert webnlg.main(["-R", str(tmp_path / "r"), "-H", str(tmp_path / "h"), "-nr", str(10**12)]) == 1
    assert "at most 1,000 are read" in capsys.readouterr().err
