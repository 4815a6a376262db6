"""From texts to scores.json and back, with a metric small enough to work out by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, evaluate, from_statistics, segment_rows
from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.scores_file import decoding_of, file_record, plain_values, read_scores, scores_record, write_scores


class ExactMatch(Metric):
    """The share of hypotheses that equal one of their references."""

    name = "EM"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        rows = [[float(text in group), 1.0] for text, group in zip(hypotheses, references, strict=True)]
        return np.array(rows)

    def aggregate(self, totals: Array) -> Array:
        return totals[..., 0] / totals[..., 1]

    def parts(self, totals: Array) -> dict[str, float]:
        return {"matches": float(totals[0])}

    def settings(self) -> dict[str, Any]:
        return {"case": "mixed"}


HYPOTHESES = ["a", "b", "c", "d"]
REFERENCES = [["a"], ["x", "b"], ["x"], ["y", "z"]]


def test_a_record_survives_the_file_and_carries_everything(tmp_path: Path) -> None:
    source = tmp_path / "hyps"
    source.write_text("a\nb\nc\nd\n")
    result = evaluate(ExactMatch(), HYPOTHESES, REFERENCES, Bootstrap(200, seed=7))
    part = from_statistics(ExactMatch(), result.statistics[:2], REFERENCES[:2], Bootstrap(0))
    files = file_record({"hypotheses": source})
    record = scores_record(
        "suite", "lines", REFERENCES, {"em": result}, files, Bootstrap(200, 7), {"seen": {"em": part}}
    )
    write_scores(tmp_path / "scores.json", record)
    read = read_scores(tmp_path / "scores.json")
    assert read == record
    digest = hashlib.sha256(b"a\nb\nc\nd\n").hexdigest()
    assert read["files"]["hypotheses"] == {"path": str(source), "sha256": digest}
    assert read["segments"] == {
        "unit": "lines",
        "count": 4,
        "references": {"min": 1, "max": 2, "total": 6},
    }
    entry = read["scores"]["em"]
    assert entry["value"] == 0.5
    assert entry["parts"] == {"matches": 2.0}
    assert entry["signature"] == f"EM|case:mixed|refs:1-2|version:0.1.0|hypotheses:{digest[:12]}"
    assert entry["interval"][0] < 0.5 < entry["interval"][1]
    assert read["subsets"]["seen"]["segments"] == 2
    assert read["subsets"]["seen"]["scores"]["em"]["value"] == 1.0
    assert read["subsets"]["seen"]["scores"]["em"]["interval"] is None
    assert plain_values({"em": result}, {"seen": {"em": part}}) == {"em": 0.5, "seen/em": 1.0}


def test_segment_rows_name_their_segments() -> None:
    result = evaluate(ExactMatch(), HYPOTHESES, REFERENCES, Bootstrap(0))
    rows = list(segment_rows(["p", "q", "r", "s"], {"em": result}))
    assert rows[1] == {"id": "q", "em": 1.0}
    assert rows[2] == {"id": "r", "em": 0.0}


def test_what_is_not_a_scores_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"value": 1}))
    with pytest.raises(InputError, match='no "scores" in it'):
        read_scores(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_scores(path)


def test_unequal_counts_are_refused_with_both() -> None:
    with pytest.raises(InputError, match="4 hypotheses but references for 3 segments"):
        evaluate(ExactMatch(), HYPOTHESES, REFERENCES[:3])
    with pytest.raises(InputError, match="segment 2 has no reference"):
        evaluate(ExactMatch(), ["a", "b"], [["a"], []])


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_scores(path, {"scores": {}})
    with pytest.raises(TypeError):
        write_scores(path, {"scores": object()})
    assert read_scores(path) == {"scores": {}}
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        write_scores(tmp_path / "taken" / "scores.json", {"scores": {}})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scores.json", "taken"]


def test_how_predictions_were_made_is_known_only_from_their_own_note(tmp_path: Path) -> None:
    predictions, note = tmp_path / "predictions.jsonl", tmp_path / "predictions.config.json"
    predictions.write_text("{}\n")
    assert decoding_of(predictions) == (None, "")
    value = {"predictions": {"sha256": hashlib.sha256(b"{}\n").hexdigest()}, "search": {"beam": 10}}
    note.write_text(json.dumps(value))
    assert decoding_of(predictions) == (value, "")
    predictions.write_text("{ }\n")
    assert decoding_of(predictions)[0] is None and "is of other predictions than" in decoding_of(predictions)[1]
    for damaged in ("{", "[]", '{"predictions": 1}'):
        note.write_text(damaged)
        assert decoding_of(predictions)[0] is None and "is not a note of" in decoding_of(predictions)[1]


GOOD = {"name": "BLEU", "value": 0.5, "parts": {}, "signature": "BLEU|…", "interval": None}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"scores": {"BLEU": 0.5}}, "a finite number"),
        ({"scores": {"BLEU": {**GOOD, "value": "0.5"}}}, "a finite number"),
        ({"scores": {"BLEU": {**GOOD, "value": True}}}, "a finite number"),
        ({"scores": {"BLEU": {**GOOD, "value": float("nan")}}}, "a finite number"),
        ({"scores": {"BLEU": {**GOOD, "value": 10**400}}}, "a finite number"),
        ({"scores": {"BLEU": {**GOOD, "signature": 1}}}, "must be strings"),
        ({"scores": {"BLEU": {**GOOD, "interval": [0.1]}}}, "two numbers"),
        ({"scores": {"BLEU": {**GOOD, "interval": {"low": 0.1}}}}, "two numbers"),
        ({"scores": {}, "subsets": []}, "object of objects"),
        ({"scores": {}, "subsets": {"seen": 1}}, "object of objects"),
        ({"scores": {}, "subsets": {"seen": {"scores": {"BLEU": None}}}}, "a finite number"),
    ],
)
def test_scores_of_wrong_types_are_named_in_one_line(tmp_path: Path, record: dict[str, Any], said: str) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=said):
        read_scores(tmp_path / "scores.json")
