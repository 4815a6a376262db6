"""Pairing data with predictions: pooling, subsets, plain lines, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_lines
from nlg_metrics.segments import read_segments, read_segments_and_lines


def record(id_: str, context: str, *references: str, seen: bool | None = None) -> dict[str, Any]:
    return {"id": id_, "context": context, "references": list(references), "category": None, "seen": seen}


def prediction(id_: str, hypothesis: str) -> dict[str, Any]:
    return {"id": id_, "hypothesis": hypothesis, "score": -1.0}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    data = [
        record("1", "a", "one", "two", seen=True),
        record("2", "b", "three", seen=False),
        record("3", "a", "four", seen=True),
    ]
    predictions = [prediction("3", "x"), prediction("2", "y"), prediction("1", "x")]
    return write(tmp_path / "data.jsonl", data), write(tmp_path / "predictions.jsonl", predictions)


def test_contexts_pool_references_in_order_of_first_occurrence(files: tuple[Path, Path]) -> None:
    segments = read_segments(*files)
    assert segments.ids == ["1", "2"]
    assert segments.contexts == ["a", "b"]
    assert segments.hypotheses == ["x", "y"]
    assert segments.references == [["one", "two", "four"], ["three"]]
    assert segments.seen == [True, False]


def test_entries_stay_as_released(files: tuple[Path, Path]) -> None:
    segments = read_segments(*files, unit="entries")
    assert segments.ids == ["1", "2", "3"]
    assert segments.hypotheses == ["x", "y", "x"]
    assert segments.references == [["one", "two"], ["three"], ["four"]]


def test_plain_hypotheses_are_one_a_segment(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "two").write_text("x\ny\n")
    (tmp_path / "three").write_text("x\ny\nz")
    assert read_segments_and_lines(files[0], tmp_path / "two") == read_segments(*files)
    assert read_segments_and_lines(files[0], tmp_path / "three", "entries").hypotheses == ["x", "y", "z"]
    with pytest.raises(InputError, match=r"three has 3 lines but .*data.jsonl has 2 contexts"):
        read_segments_and_lines(files[0], tmp_path / "three")


def test_subsets_hold_exactly_their_segments(files: tuple[Path, Path]) -> None:
    segments = read_segments(*files)
    masks = segments.subsets()
    assert masks == {"seen": [True, False], "unseen": [False, True]}
    assert segments.subset(masks["unseen"]).references == [["three"]]
    assert segments.subset(masks["seen"]).ids == ["1"]


def test_a_corpus_without_seen_has_no_subsets(tmp_path: Path) -> None:
    data = write(tmp_path / "d", [{"id": 7, "references": ["r"]}])
    segments = read_segments(data, write(tmp_path / "p", [prediction("7", "h")]))
    assert segments.subsets() == {}
    assert segments.contexts == [""]


def test_entries_without_context_are_never_pooled(tmp_path: Path) -> None:
    data = write(tmp_path / "d", [record("1", "", "r"), record("2", "", "s")])
    predictions = write(tmp_path / "p", [prediction("1", "h"), prediction("2", "other")])
    assert read_segments(data, predictions).references == [["r"], ["s"]]


def test_mapped_changes_texts_alone(files: tuple[Path, Path]) -> None:
    segments = read_segments(*files).mapped(str.upper)
    assert segments.hypotheses == ["X", "Y"]
    assert segments.references[0] == ["ONE", "TWO", "FOUR"]
    assert segments.contexts == ["a", "b"]


GOOD = [record("1", "a", "r"), record("2", "b", "s")]
BOTH = [prediction("1", "h"), prediction("2", "i")]
REFUSED = [
    (GOOD, BOTH[:1], r"lacks 1 of the 2 entries .*'2'"),
    (GOOD, [*BOTH, prediction("9", "j")], r"has 1 ids that are not in it .*'9'"),
    (GOOD, [*BOTH, BOTH[0]], "line 3: id '1' occurs twice"),
    ([*GOOD, GOOD[0]], BOTH, "line 3: id '1' occurs twice"),
    ([record("1", "a", "r"), record("2", "a", "s")], BOTH, "same context but different hypotheses"),
    ([record("1", "a"), GOOD[1]], BOTH, "entry '1' has no reference"),
    ([], BOTH, "holds no record"),
    ([{"id": "1"}], BOTH, 'needs "id" and "references"'),
    ([{"id": "1", "references": "r"}], BOTH, "must be a list of strings"),
    ([{"id": "1", "references": ["r"], "context": 3}], BOTH, '"context" must be a string, not int'),
    ([{"id": "1", "references": ["r"], "seen": "yes"}], BOTH, "true, false or null, not 'yes'"),
    (GOOD, ["h"], 'needs "id" and "hypothesis"'),
    (GOOD, [{"id": "1", "hypothesis": None}], "must be a string, not NoneType"),
]


@pytest.mark.parametrize(("data", "predictions", "message"), REFUSED)
def test_what_cannot_be_paired_is_refused(
    tmp_path: Path, data: list[Any], predictions: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        read_segments(write(tmp_path / "d.jsonl", data), write(tmp_path / "p.jsonl", predictions))
    assert "\n" not in str(refusal.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    good = write(tmp_path / "d.jsonl", GOOD)
    with pytest.raises(InputError, match=r"no file .*absent"):
        read_segments(good, tmp_path / "absent")
    (tmp_path / "bad").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(InputError, match=r"bad is not UTF-8 text \(byte 8\)"):
        read_segments(tmp_path / "bad", good)
    (tmp_path / "cut").write_text('{"id": 1')
    with pytest.raises(InputError, match="cut, line 1: not JSON"):
        read_segments(tmp_path / "cut", good)
    with pytest.raises(InputError, match="is a folder"):
        read_segments(tmp_path, good)
    with pytest.raises(InputError, match="`segments` is 'lines'; it must be one of contexts, entries"):
        read_segments(good, write(tmp_path / "p.jsonl", BOTH), "lines")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\nb", ["a", "b"]),
        ("a\n\n", ["a", ""]),
        ("\n", [""]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\u2028b\x0cc\x85d\n", ["a\u2028b\x0cc\x85d"]),
    ],
)
def test_only_newlines_end_lines_and_a_trailing_one_is_not_a_line(tmp_path: Path, text: str, lines: list[str]) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    assert read_lines(path) == lines


def test_an_empty_file_has_no_lines_to_score(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_lines(tmp_path / "empty")
