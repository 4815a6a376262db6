"""Loading as measure_scores.py loads, and the command line around it: tables, flags, one-line errors."""

from __future__ import annotations

import codecs
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlg_metrics.errors import InputError
from nlg_metrics.suites import e2e_files

SCRIPT = Path(__file__).resolve().parents[3] / "eval" / "e2e.py"

REFERENCES = "The Vaults is a pub near Crowne Plaza.\nA pub, The Vaults.\n\nBlue Spice is cheap food for you.\n"
OUTPUTS = "The Vaults is a pub near Crowne Plaza.\nBlue Spice serves cheap food.\n"


def write(folder: Path, **files: str) -> dict[str, Path]:
    paths = {}
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(text.encode("utf-8"))
        paths[name] = path
    return paths


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_lines_break_as_codecs_readers_break_them(text: str) -> None:
    # The official tool iterates over a codecs.open file.
    data = text.encode("utf-8")
    expected = [line.strip() for line in codecs.getreader("utf-8")(io.BytesIO(data))]
    assert [line.strip() for line in text.splitlines()] == expected


def test_text_references(tmp_path: Path) -> None:
    paths = write(tmp_path, refs_txt=REFERENCES, single_txt="one\ntwo\r\nthree\u2028four\n\n")
    assert e2e_files.read_references(paths["refs_txt"], ["", ""]) == [
        ["The Vaults is a pub near Crowne Plaza.", "A pub, The Vaults."],
        ["Blue Spice is cheap food for you."],
    ]
    # No blank line but the final one: one reference a segment. U+2028 ends a line.
    assert e2e_files.read_references(paths["single_txt"], []) == [["one"], ["two"], ["three"], ["four"]]


def test_tables_are_mended_and_looked_up_by_source(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        refs_csv='\ufeff"mr","ref"\n"name[A]","Ł10, Â£20, Ã©"\n\n"name[B]","b ""quoted"""\n"name[A]","again"\n',
        sys_tsv="MR\toutput\nname[B]\tB.\nname[A]\tcafã©\n",
        sys_txt="A\nB\nA\n",
    )
    segments = e2e_files.load(paths["refs_csv"], paths["sys_tsv"])
    assert segments.contexts == ["name[B]", "name[A]"]
    assert segments.hypotheses == ["B.", "café"]
    assert segments.references == [['b "quoted"'], ["£10, £20, é", "again"]]
    # A plain system file has no sources: consecutive rows of one source are a segment, in the table's order.
    segments = e2e_files.load(paths["refs_csv"], paths["sys_txt"])
    assert segments.references == [["£10, £20, é"], ['b "quoted"'], ["again"]]


def test_table_and_text_of_the_real_test_set_are_the_same(shared_data: Path, shared_metrics: Path) -> None:
    official = shared_metrics / "official" / "e2e"
    table = shared_data / "e2e" / "testset_w_refs.csv"
    from_table = e2e_files.load(table, official / "hyps" / "primary__tgen.txt")
    from_text = e2e_files.load(official / "refs.txt", official / "hyps" / "primary__tgen.txt")
    assert len(from_table) == len(from_text) == 630
    assert from_table.references == from_text.references
    assert sum(map(len, from_table.references)) == 4693


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"refs_txt": "a\n\nb\n\nc\n", "sys_txt": "a\nb\n"}, "3 segments, but .* has 2 outputs"),
        ({"refs_txt": "a\n\n\nb\n", "sys_txt": "a\nb\nc\n"}, "segment 2 has no reference"),
        ({"refs_txt": "a\n", "sys_txt": ""}, "sys.txt is empty"),
        ({"refs_txt": "a\n", "sys_csv": "x,y\n1,2\n"}, "needs a heading"),
        ({"refs_txt": "a\n", "sys_csv": "mr,output\n1,2,3\n"}, "row 2 has 3 columns"),
        ({"refs_csv": "mr,ref\nA,b\n", "sys_csv": "mr,output\nB,b\n"}, "no reference for 1 source"),
        ({"refs_txt": "a\n", "sys_jsonl": "a\n"}, "sys.jsonl is JSON lines, not plain text; give it as `data` or"),
        ({"refs_txt": '\ufeff{"id": "1"}\n', "sys_txt": "a\n"}, "refs.txt is JSON lines, not plain text"),
    ],
)
def test_what_cannot_be_scored_is_one_line_on_stderr(tmp_path: Path, files: dict[str, str], message: str) -> None:
    paths = list(write(tmp_path, **files).values())
    with pytest.raises(InputError, match=message):
        e2e_files.load(*paths)
    process = run_script(*paths)
    assert process.returncode == 1
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert "Traceback" not in process.stderr


def test_other_bad_inputs_through_the_command_line(tmp_path: Path) -> None:
    paths = write(tmp_path, refs_txt=REFERENCES, sys_txt=OUTPUTS)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for arguments, message in [
        ([paths["refs_txt"], tmp_path / "absent.txt"], "no file"),
        ([paths["refs_txt"], tmp_path / "latin.txt"], "not UTF-8"),
        ([paths["refs_txt"]], "give REFERENCES and OUTPUTS"),
        ([paths["refs_txt"], paths["sys_txt"], "--data", "x"], "give REFERENCES and OUTPUTS"),
        ([paths["refs_txt"], tmp_path], "folder"),
    ]:
        process = run_script(*arguments)
        assert (process.returncode, process.stdout) == (1, ""), arguments
        assert message in process.stderr and len(process.stderr.splitlines()) == 1


def test_text_that_looks_like_json_is_still_text(tmp_path: Path) -> None:
    paths = write(tmp_path, refs_txt="{a} b\n", sys_txt='{"mr": "a"}\n')
    assert e2e_files.load(paths["refs_txt"], paths["sys_txt"]).hypotheses == ['{"mr": "a"}']


def test_table_flags_and_segment_level(tmp_path: Path) -> None:
    paths = write(tmp_path, refs_txt=REFERENCES, sys_txt=OUTPUTS)
    process = run_script(paths["refs_txt"], paths["sys_txt"], "-t", "-H", "-p")
    heading, line = process.stdout.splitlines()
    assert heading.split("\t") == ["File", "BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr"]
    assert line.split("\t")[0] == str(paths["sys_txt"]) and len(line.split("\t")) == 6
    level = tmp_path / "levels.tsv"
    process = run_script(paths["refs_txt"], paths["sys_txt"], "-l", level)
    assert (process.returncode, process.stdout) == (0, "")
    rows = list(csv.reader(level.open(encoding="utf-8"), delimiter="\t"))
    assert rows[0] == ["src", "sys_out", "BLEU", "sentBLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr"]
    assert rows[1][1] == "The Vaults is a pub near Crowne Plaza." and rows[1][2] == "1.0000"
    assert 0 < float(rows[2][6]) < 1


def test_our_files_give_the_same_numbers_and_a_record(tmp_path: Path) -> None:
    paths = write(tmp_path, refs_txt=REFERENCES, sys_txt=OUTPUTS)
    groups = e2e_files.read_references(paths["refs_txt"], [])
    records = [
        {"id": str(n), "context": f"c{n // 2}", "references": [text]}
        for n, text in enumerate([groups[0][0], groups[0][1], groups[1][0]])
    ]
    lines = OUTPUTS.splitlines()
    predictions = [{"id": str(n), "hypothesis": lines[n // 2]} for n in range(3)]
    data, predicted = tmp_path / "test.jsonl", tmp_path / "predictions.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    predicted.write_text("".join(json.dumps(r) + "\n" for r in predictions), encoding="utf-8")
    plain, pooled, record = tmp_path / "plain.json", tmp_path / "pooled.json", tmp_path / "scores.json"
    assert run_script(paths["refs_txt"], paths["sys_txt"], "--json", plain).returncode == 0
    process = run_script("--data", data, "--predictions", predicted, "--json", pooled, "--scores", record)
    assert process.returncode == 0, process.stderr
    assert json.loads(plain.read_text()) == json.loads(pooled.read_text())
    written = json.loads(record.read_text())
    assert written["segments"] == {
        "unit": "contexts",
        "count": 2,
        "references": {"min": 1, "max": 2, "total": 3},
    }
    bleu = written["scores"]["BLEU"]
    assert bleu["value"] == json.loads(plain.read_text())["BLEU"]
    assert bleu["interval"][0] <= bleu["value"] <= bleu["interval"][1]
    assert "refs:1-2" in bleu["signature"] and len(written["files"]["data"]["sha256"]) == 64
    assert "decoding" not in written and process.stderr == ""
    note = {"predictions": {"sha256": "0" * 64}}
    (tmp_path / "predictions.config.json").write_text(json.dumps(note))
    process = run_script("--data", data, "--predictions", predicted, "--scores", record)
    assert "is of other predictions than" in process.stderr and "decoding" not in json.loads(record.read_text())
    note["predictions"]["sha256"] = written["files"]["predictions"]["sha256"]
    (tmp_path / "predictions.config.json").write_text(json.dumps(note))
    assert run_script("--data", data, "--predictions", predicted, "--scores", record).stderr == ""
    assert json.loads(record.read_text())["decoding"] == note
    # Plain text beside --data: one line a context, or an entry. -H before it, as in webnlg_dart.py, does no harm.
    for flags in ([paths["sys_txt"]], ["-H", paths["sys_txt"]]):
        process = run_script("--data", data, *flags, "--json", pooled, "--scores", record)
        assert process.returncode == 0, process.stderr
        assert json.loads(plain.read_text()) == json.loads(pooled.read_text())
    assert list(json.loads(record.read_text())["files"]) == ["data", "hypotheses"]
    process = run_script("--data", data, paths["sys_txt"], "--segments", "entries")
    assert process.returncode == 1 and "has 2 lines but" in process.stderr and "has 3 entries" in process.stderr
    entries = run_script("--data", data, "--predictions", predicted, "--segments", "entries", "-t")
    assert entries.returncode == 0 and entries.stdout != process.stdout
    predicted.write_text(json.dumps(predictions[0]) + "\n", encoding="utf-8")
    process = run_script("--data", data, "--predictions", predicted)
    assert process.returncode == 1 and "lacks 2 of the 3 entries" in process.stderr


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "  \n "])
@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
def test_a_line_end_inside_a_quoted_field_is_a_blank(tmp_path: Path, end: str, name: str) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    path = tmp_path / name
    rows = [f"mr{separator}ref", f'a{separator}"A is a{end}pub."', f'"b{end}c"{separator}B is a pub.']
    path.write_bytes("\n".join([*rows, ""]).encode())
    assert e2e_files.read_table(path, "ref") == (["a", "b c"], ["A is a pub.", "B is a pub."])


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('mr,ref\na,"A is a pub.\nb,B is a pub.\n')
    with pytest.raises(InputError, match="row 2 opens a quote that is never closed"):
        e2e_files.read_table(path, "ref")
    # A quote inside a field is part of it.
    path.write_text('mr,ref\na,A 5" pizza\nb,"B is\na pub."\n')
    assert e2e_files.read_table(path, "ref")[1] == ['A 5" pizza', "B is a pub."]


def test_half_a_character_ends_up_as_its_replacement(tmp_path: Path) -> None:
    data, predictions = tmp_path / "d.jsonl", tmp_path / "p.jsonl"
    data.write_text(json.dumps({"id": "1", "context": "name : Zizzi", "references": ["Zizzi is a pub ."]}) + "\n")
    predictions.write_text(json.dumps({"id": "1", "hypothesis": "Zi \ud83c"}) + "\n")
    outputs = [tmp_path / name for name in ("l.tsv", "ser.json", "scores.json", "segments.jsonl", "values.json")]
    flags = ["-l", "--ser", "--scores", "--segment_scores", "--json"]
    pairs = [part for pair in zip(flags, outputs, strict=True) for part in pair]
    done = run_script("--data", data, "--predictions", predictions, *pairs)
    assert done.returncode == 0 and "half a character" in done.stderr
    assert "Zi \ufffd" in outputs[0].read_text(encoding="utf-8")
    assert all(path.is_file() for path in outputs)
