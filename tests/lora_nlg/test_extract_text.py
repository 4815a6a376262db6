"""Text for pretraining holds every reference and no meaning representation."""

import pytest

from lora_nlg.__main__ import main
from lora_nlg.corpora.record import Record, read_records, write_records


@pytest.mark.parametrize("listed", ["[{},{}]", "{},{}", "{} {}"])
def test_contexts_are_gone_and_texts_are_all_there(tmp_path, capsys, listed):
    one, two, out = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "out.jsonl"))
    write_records(one, [Record("1", "name : A", ["A is a pub .", "The pub A ."]), Record("2", "name : B", [])])
    write_records(two, [Record("1", "x : y : z", ["Z ."])])
    assert main(["extract-text", "--input", *listed.format(one, two).split(), "--out", str(out)]) == 0
    records = read_records(out)  # refuses equal ids
    assert [record.references for record in records] == [["A is a pub .", "The pub A ."], ["Z ."]]
    assert {record.context for record in records} == {""}
    assert "2 texts of 1 records" in capsys.readouterr().out


def test_texts_of_one_record_join_into_paragraphs(tmp_path):
    write_records(tmp_path / "a.jsonl", [Record("1", "x", ["A .", "B .", "C ."]), Record("2", "y", ["D ."])])
    command = ["extract-text", "--input", f"[{tmp_path}/a.jsonl]", "--out", str(tmp_path / "o.jsonl"), "--join", "2"]
    assert main(command) == 0
    assert [record.references for record in read_records(tmp_path / "o.jsonl")] == [["A . B .", "C ."], ["D ."]]


def test_nothing_to_train_on_is_one_line(tmp_path, capsys):
    write_records(tmp_path / "a.jsonl", [Record("1", "name : A", [])])
    assert main(["extract-text", "--input", f"[{tmp_path}/a.jsonl]", "--out", str(tmp_path / "o.jsonl")]) == 1
    assert "no record has a reference" in capsys.readouterr().err
