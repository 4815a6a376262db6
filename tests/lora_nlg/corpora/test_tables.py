"""Tables of one's own: every way to write one gives the same records; what can't be used is said by its row."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from lora_nlg.__main__ import main
from lora_nlg.commands.doctor import path_checks
from lora_nlg.corpora import records, table
from lora_nlg.corpora.formats import open_rows
from lora_nlg.corpora.prepare import Division, prepare_corpus
from lora_nlg.corpora.record import read_records
from lora_nlg.corpora.release import Reading, Source
from lora_nlg.errors import InputError

COLUMNS = ["No", "name", "food", "Text"]
ROWS = [
    ["1", "Gull", "Thai", 'The "Gull" serves Thai, really; yes.'],
    ["2", "Café Ö", "", "Café Ö\nis a place."],
    ["3", "Gull", "Thai", "Thai is served at\tthe Gull."],
]
EXPECTED = [
    ("name : Gull | food : Thai", ['The "Gull" serves Thai, really; yes.', "Thai is served at the Gull."]),
    ("name : Café Ö", ["Café Ö is a place."]),
]
ASKED = Reading(context=("name", "food"), text=("text",))


def written(delimiter=",", **quoting):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, **quoting).writerows([COLUMNS, *ROWS])
    return file.getvalue()


def read(path, form="csv", reading=ASKED, split="train"):
    return table.read(split, Source(form, [path]), reading)


def found(release):
    return [(record.context, record.references) for record in release.records]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "quoting",
    [{}, {"quoting": csv.QUOTE_ALL}, {"doublequote": False, "escapechar": "\\"}, {"quotechar": "'", "quoting": 1}],
    ids=["minimal", "all", "backslash", "single"],
)
def test_delimiter_and_quoting_are_found_out(tmp_path, delimiter, quoting):
    path = tmp_path / "mine.csv"
    path.write_text(written(delimiter, **quoting), encoding="utf-8", newline="")
    release = read(path)
    assert found(release) == EXPECTED
    assert (release.entries, release.texts, release.left_out) == (3, 3, [])
    assert release.notes[1] == "  columns not used in mine.csv: No"


@pytest.mark.parametrize(
    ("encoding", "told", "said"),
    [
        ("utf-8", "auto", "UTF-8;"),
        ("utf-8-sig", "auto", "UTF-8 with byte order mark;"),
        ("utf-8-sig", "utf8", "UTF-8 with byte order mark;"),
        ("utf-16", "auto", "UTF-16;"),
        ("utf-16-le", "auto", "UTF-16-LE;"),
        ("utf-16-be", "auto", "UTF-16-BE;"),
        ("cp1252", "cp1252", "CP1252;"),
        ("latin-1", "latin-1", "ISO8859-1;"),
    ],
)
def test_encoding_is_found_out_or_told(tmp_path, encoding, told, said):
    path = tmp_path / "mine.csv"
    path.write_bytes(written(";").encode(encoding))
    release = read(path, reading=Reading(context=("name", "food"), text=("Text",), encoding=told))
    assert found(release) == EXPECTED
    assert (
        f"semicolon between columns, double quotes, {said} context from name, food, texts from Text"
        in (release.notes[0])
    )


def test_quotes_in_a_tsv_may_be_characters(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text('mr\tref\nA\t"Gull" serves.\nB\t"B is\nC\t5" of B\n', encoding="utf-8")
    release = read(path, reading=Reading())
    assert found(release) == [("A", ['"Gull" serves.']), ("B", ['"B is']), ("C", ['5" of B'])]
    assert "tab between columns, no quoting, UTF-8; context from mr, texts from ref" in release.notes[0]


def test_commas_in_texts_do_not_hide_the_delimiter(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("context;text\na, b, c;d, e\nf, g, h;i, j\n", encoding="utf-8")
    assert found(read(path, reading=Reading())) == [("a, b, c", ["d, e"]), ("f, g, h", ["i, j"])]
    path.write_text("context,text\na;b,c;d\ne;f,g;h\n", encoding="utf-8")
    assert found(read(path, reading=Reading())) == [("a;b", ["c;d"]), ("e;f", ["g;h"])]
    path.write_text("context~text\na~b\n", encoding="utf-8")
    assert found(read(path, reading=Reading(delimiter="~"))) == [("a", ["b"])]


def test_everything_skipped_is_reported_by_row(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('name,Text\n"A\nB",one\n,two\nC,\nD,three,four\nE, \n\nF,"six\n"\n', encoding="utf-8")
    release = read(path, reading=Reading(context=("name",), text=("Text",)))
    assert found(release) == [("A B", ["one"]), ("F", ["six"])]
    assert [(row.place, row.reason) for row in release.left_out] == [
        ("line 4", "nothing in name"),
        ("line 5", "empty text"),
        ("line 6", "3 fields instead of 2"),
        ("line 7", "empty text"),
    ]


JSON_ROWS = [
    {"name": "Gull", "food": "Thai", "stars": 4.0, "open": True, "text": "One."},
    {"name": "Mill", "food": None, "stars": 3.5, "open": False, "text": "Two."},
]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(JSON_ROWS),
        json.dumps(JSON_ROWS, indent=1),
        "".join(json.dumps(row) + "\n" for row in JSON_ROWS),
        json.dumps({"version": 1, "data": JSON_ROWS}),
        json.dumps({key: [row[key] for row in JSON_ROWS] for key in JSON_ROWS[0]}),
        json.dumps({key: {str(n): row[key] for n, row in enumerate(JSON_ROWS)} for key in JSON_ROWS[0]}),
    ],
    ids=["list", "indented", "lines", "wrapped", "columns", "pandas"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_every_shape(tmp_path, content, encoding):
    path = tmp_path / "mine.json"
    path.write_bytes(content.encode(encoding))
    release = read(path, "json", Reading(context=("name", "food", "stars", "open")))
    assert found(release) == [
        ("name : Gull | food : Thai | stars : 4 | open : yes", ["One."]),
        ("name : Mill | stars : 3.5 | open : no", ["Two."]),
    ]


def test_json_rows_that_are_none_are_left_out(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"context": "a", "text": "x"}\n{"text": "y"}\n[1]\n{"context": "b", "text": ["", "z"]}\n')
    release = read(path, "json", Reading())
    assert found(release) == [("a", ["x"]), ("b", ["z"])]
    assert [(row.place, row.what, row.reason) for row in release.left_out] == [
        ("line 2", "row", "no 'context'"),
        ("line 3", "row", "no object with columns"),
        ("line 4", "text", "empty"),
    ]


@pytest.mark.parametrize(
    ("cell", "context"),
    [
        ([["A_b", "isIn", "C"], ["C", "is", "D"]], "A_b : isIn : C | C : is : D"),
        (["A_b | isIn | C", "C | is | D"], "A_b : isIn : C | C : is : D"),
        ([{"subject": "A", "predicate": "p", "object": 3}], "A : p : 3"),
        ({"name": "Gull", "food": None, "near": ["a", "b"]}, "name : Gull | near : a, b"),
        (["one", "two"], "one | two"),
        ("[just text]", "[just text]"),
    ],
)
def test_a_cell_may_hold_structure(tmp_path, cell, context):
    """As JSON has it, and as JSON or Python's notation in a CSV."""
    text = cell if isinstance(cell, str) else json.dumps(cell)
    (tmp_path / "a.json").write_text(json.dumps([{"mr": cell, "references": ["x", "y"]}]))
    with open(tmp_path / "b.csv", "w", newline="") as file:
        csv.writer(file).writerows([["mr", "references"], [text, '["x", "y"]'], [str(cell), "['x', 'y']"]])
    expected = [(context, ["x", "y"])]
    assert found(read(tmp_path / "a.json", "json", Reading())) == expected
    # A cell that lists its texts makes a record of its own.
    assert found(read(tmp_path / "b.csv", "csv", Reading())) == expected * 2


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("['One.' \"It's two.\"\n 'Three.']", ["One.", "It's two.", "Three."]),
        ("array(['One.', 'Two.'])", ["array(['One.', 'Two.'])"]),
        ("[One, Two]", ["[One, Two]"]),
        ("['One.', 2, None]", ["One.", "2"]),
        ("[" * 100, ["[" * 100]),
    ],
)
def test_lists_as_numpy_and_python_print_them(tmp_path, cell, texts):
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["mr", "references"], ["a", cell]])
    assert found(read(tmp_path / "a.csv", "csv", Reading())) == [("a", texts)]


def test_a_target_beside_empty_lists_is_pooled(tmp_path):
    """As GEM's training sets are; in a CSV the list is a text."""
    rows = [{"input": "a", "target": text, "references": []} for text in ("One.", "Two.")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.csv").write_text("input,target,references\na,One.,[]\na,Two.,[]\n")
    for name, form in (("a.json", "json"), ("b.csv", "csv")):
        assert found(read(tmp_path / name, form, Reading())) == [("a", ["One.", "Two."])]


def test_several_columns_of_texts_ids_and_categories(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("key,kind,in,r1,r2\nx,K,a,one,two\ny,,a,three,\nx,L,b,four,\n,L,c,five,six\n")
    release = read(path, reading=Reading(context=("in",), text=("r1", "r2"), id="key", category="kind"))
    assert [(r.id, r.context, r.references, r.category) for r in release.records] == [
        ("x", "a", ["one", "two", "three"], "K"),
        ("x-2", "b", ["four"], "L"),
        ("train-3", "c", ["five", "six"], "L"),
    ]


@pytest.mark.parametrize(
    ("content", "reading", "said"),
    [
        (b"a,b\n1,2\n", Reading(), "say which column holds what is to be said.*there are a, b"),
        (b"context,b\n1,2\n", Reading(), "say which column holds the texts with `text`; there are context, b"),
        (b"a,b\n1,2\n", Reading(context=("c",)), "`context`: .*no column 'c'; its columns are a, b"),
        (b"a,A\n1,2\n", Reading(context=("_a",)), "2 columns '_a'"),
        (b"a,a\n1,2\n", Reading(context=("a",)), "2 columns 'a'"),
        (b"", Reading(context=("a",)), r"no column 'a'; its columns are \(none\)"),
        (b'context,text\na,"b\n', Reading(), r"line \d: not CSV .*; `quoting` none takes quotes for characters"),
        (b"context,text\na,\xe9\n", Reading(), "is not UTF-8 text .about line 2.; say its `encoding`, such as cp1252"),
        (
            b"context,text\n" + b"a,%b\n" % (b"x" * 99) * 4000 + b"\xe9,b\n",
            Reading(),
            "is not UTF-8 text .about line [34]",
        ),
        (b"PK\x03\x04\xff\xff", Reading(), "is not UTF-8 text but a workbook or another zip archive; save the sheet"),
        (b"\x1f\x8b\xff\xff", Reading(), "is not UTF-8 text but compressed; gunzip it"),
        (b"context,text\na,b\n", Reading(encoding="klingon"), "`encoding` 'klingon' is none"),
        (b"context,text\na,b\n", Reading(encoding="rot13"), "`encoding` 'rot13' is none"),
        (b"context,text\na,b\n", Reading(delimiter="::"), "`delimiter` '::' is no character"),
        (b"context,text\n" + b"x" * (1 << 24) + b"\n", Reading(), "line 2, has more than 16,777,216 characters"),
    ],
)
def test_refused_in_one_line(tmp_path, content, reading, said):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read(path, reading=reading)
    assert str(path) in str(error.value) or "is n" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mine.csv", "mine.json", "mine.xml", "mine.txt", "mine.parquet"])
def test_a_huge_file_is_refused_before_it_is_read(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    corpus, form = (
        ("webnlg", "xml") if name.endswith("xml") else ("e2e", "text") if "txt" in name else ("table", "auto")
    )
    with pytest.raises(InputError, match=r"has 1,024\.0 GiB; files of up to 1 GiB are read"):
        prepare_corpus(corpus, None, tmp_path / "out", Reading(form=form), {"train": tmp_path / name})


def test_split_by_context_is_seeded_and_crosses_nothing(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [f"c {n % 40},text {n}" for n in range(100)]
    path.write_text("\n".join(["context,text", *rows]) + "\n")

    def parts(seed, split="80/10/10"):
        out = tmp_path / f"{seed}-{split.replace('/', '-')}"
        prepare_corpus("table", path, out, division=Division(split, seed))
        return {file.stem: read_records(file) for file in out.glob("*.jsonl")}

    one = parts(1)
    contexts = {name: {record.context for record in kept} for name, kept in one.items()}
    assert {name: len(kept) for name, kept in contexts.items()} == {"train": 32, "valid": 4, "test": 4}
    assert len(set.union(*contexts.values())) == 40
    assert sum(len(record.references) for kept in one.values() for record in kept) == 100
    assert parts(1) == one != parts(2)
    assert parts(1, "0.9/0.1").keys() == {"train", "valid"}


def test_a_folder_with_train_alone_is_offered_the_split(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.tsv").write_text("mr\tref\na\tx\nb\ty\nc\tz\n")
    arguments = ["prepare", "table", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "note: only a training set lies there; --split 80/10/10 parts it by context" in capsys.readouterr().out
    said = " ".join(f"{check.name}: {check.text}" for check in path_checks(tmp_path / "out", None))
    assert "valid.jsonl: none: training has no validation loss and no best adapter" in said
    assert "test.jsonl: none: nothing to decode and to score" in said
    assert main([*arguments, "--split", "1/1/1"]) == 0
    assert "parted by context, 1/1/1: train, valid, test\ntrain: 1 records, 1 contexts" in capsys.readouterr().out
    assert [check.status for check in path_checks(tmp_path / "out", None)] == ["ok"] * 3


@pytest.mark.parametrize(
    ("files", "split", "said"),
    [
        (["train"], "80/10/10", "1 different contexts can't be parted into 3"),
        (["train"], "80", "must be the shares of train, valid and test, such as 80/10/10"),
        (["train"], "80/x", "must be the shares"),
        (
            ["train", "test"],
            "80/10/10",
            "would make test, which is there already; give two shares, for train and valid",
        ),
        (["test"], "80/20", "parts a training set, and none is there"),
    ],
)
def test_splits_that_cannot_be(tmp_path, files, split, said):
    for name in files:
        (tmp_path / f"{name}.csv").write_text("context,text\na,b\n")
    with pytest.raises(InputError, match=said):
        prepare_corpus("table", tmp_path, tmp_path / "out", division=Division(split))
    assert not (tmp_path / "out").exists()


def test_a_split_takes_what_is_missing(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"my-{name}.csv").write_text(f"context,text\na{name},b\nc{name},d\n")
    prepare_corpus("table", tmp_path, tmp_path / "out", division=Division("50/50"))
    assert {file.stem for file in (tmp_path / "out").glob("*.jsonl")} == {"train", "valid", "test"}
    assert len(read_records(tmp_path / "out" / "valid.jsonl")) == 2


@pytest.mark.parametrize(
    ("names", "splits", "count"),
    [
        (["train.csv", "dev.csv", "test.csv"], {"train", "valid", "test"}, 3),
        (["my_training_data.tsv", "validation.json", "test-set.jsonl"], {"train", "valid", "test"}, 3),
        (["data/train-00000-of-00002.json", "data/train-00001-of-00002.json"], {"train"}, 2),
        (["train/0000.json", "train/0001.json", "test/0000.json"], {"train", "test"}, 3),
        (["train/0000.json", "train/state.json", "train/dataset_info.json", "dataset_dict.json"], {"train"}, 1),
        (["restaurants.csv"], {"train"}, 1),
    ],
)
def test_files_are_found_by_their_names(tmp_path, names, splits, count):
    for number, name in enumerate(names):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"context": f"c{number}", "text": "x"}]
        path.write_text(json.dumps(rows) if "json" in name else "context,text\nc,x\n")
    manifest = prepare_corpus("table", tmp_path / "raw", tmp_path / "out").manifest
    assert manifest["splits"].keys() == splits
    assert sum(part["records"] for part in manifest["splits"].values()) == count


def test_two_files_for_one_split_are_not_guessed(tmp_path):
    for name in ("test_a.csv", "test_b.csv"):
        (tmp_path / name).write_text("context,text\na,b\n")
    with pytest.raises(InputError, match=r"test_a\.csv, test_b\.csv: each could be test; say which with `test` FILE"):
        prepare_corpus("table", tmp_path, tmp_path / "out")
    prepare_corpus("table", None, tmp_path / "out", files={"test": tmp_path / "test_b.csv"})
    assert len(read_records(tmp_path / "out" / "test.jsonl")) == 1


def test_parquet_and_arrow(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    rows = [
        {"mr": {"name": "Gull", "stars": 4}, "references": ["One.", "Two."]},
        {"mr": {"name": "Mill", "stars": None}, "references": ["Three."]},
    ]
    batch = pyarrow.Table.from_pylist(rows)
    parquet.write_table(batch, tmp_path / "a.parquet")
    with ipc.new_stream(tmp_path / "b.arrow", batch.schema) as stream:
        stream.write_table(batch)
    with ipc.new_file(tmp_path / "c.arrow", batch.schema) as file:
        file.write_table(batch)
    for name in ("a.parquet", "b.arrow", "c.arrow"):
        release = read(tmp_path / name, "parquet", Reading())
        assert found(release) == [("name : Gull | stars : 4", ["One.", "Two."]), ("name : Mill", ["Three."])]
        content = (tmp_path / name).read_bytes()
        for damaged in (content[:40], content[: len(content) // 2], b"PAR1 and no more"):
            (tmp_path / f"bad-{name}").write_bytes(damaged)
            with pytest.raises(InputError, match=r"neither Parquet nor Arrow|damaged") as error:
                read(tmp_path / f"bad-{name}", "parquet", Reading())
            assert "\n" not in str(error.value)


def test_without_pyarrow_a_line_says_what_to_install(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "lora_nlg", "prepare", "table", "--raw", "train.parquet", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.pathsep.join(sys.path)}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "read by pyarrow, which isn't installed; pip install 'lora-nlg[tables]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("corpus", "flags", "said"),
    [
        ("e2e", ["--context", "mr"], "--context is for table, not for e2e"),
        ("table", ["--tokenise"], "--tokenise is for e2e, not for table"),
        ("table", ["--lang", "ru"], "--lang is for webnlg, not for table"),
        ("table", ["--form", "xml"], "--form xml: this corpus is read as csv, json, parquet"),
        ("dart", ["--delimiter", ";"], "--delimiter is for e2e and table, not for dart"),
    ],
)
def test_flags_of_other_corpora_are_refused(tmp_path, capsys, corpus, flags, said):
    assert main(["prepare", corpus, "--raw", str(tmp_path), "--out", str(tmp_path / "out"), *flags]) == 1
    assert said in capsys.readouterr().err


def test_a_blind_table_keeps_every_row(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("name,food\nB,x\nA,y\nB,x\n")
    release = read(path, reading=ASKED, split="test")
    assert [(r.id, r.context, r.references) for r in release.records] == [
        ("test-1", "name : B | food : x", []),
        ("test-2", "name : A | food : y", []),
        ("test-3", "name : B | food : x", []),
    ]
    assert records(path, context=["name"]) == records(str(path), "table", context="name")


def test_open_rows_reads_as_it_is_asked(tmp_path):
    """Large files are not held in memory: the rows come one by one."""
    path = tmp_path / "mine.jsonl"
    path.write_text('{"a": 1}\n' * 5000 + "broken\n")
    rows = iter(open_rows(path, "json").rows)
    assert [next(rows).place for _ in range(3)] == ["line 1", "line 2", "line 3"]
    with pytest.raises(InputError, match="line 5001 is not JSON"):
        list(rows)
