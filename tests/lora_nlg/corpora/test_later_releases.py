"""What came after 2017, in files of its form: cleaned E2E, WebNLG 2020 in two languages, exports, blind test sets."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lora_nlg.__main__ import main
from lora_nlg.corpora import records
from lora_nlg.corpora.prepare import prepare_corpus
from lora_nlg.corpora.record import Record, read_records, write_records
from lora_nlg.corpora.release import Reading
from lora_nlg.errors import InputError
from nlg_metrics.__main__ import main as score
from nlg_metrics.segments import read_segments

HEAD = "<?xml version='1.0' encoding='utf-8'?>\n<benchmark>\n  <entries>\n"
TAIL = "  </entries>\n</benchmark>\n"
RUSSIAN = """      <dbpedialinks>
        <dbpedialink direction="en2ru">{subject} | sameAs | Орхус</dbpedialink>
      </dbpedialinks>
      <links>
        <link direction="en2ru">Denmark | sameAs | Дания</link>
      </links>
"""


def entry(category, eid, triples, texts, links=""):
    """An entry as release 3.0 writes it; `texts` are (text, attributes)."""
    sets = "".join(f"        <mtriple>{triple}</mtriple>\n" for triple in triples)
    lexes = "".join(f'      <lex {more} lid="Id{n}">{text}</lex>\n' for n, (text, more) in enumerate(texts, start=1))
    return (
        f'    <entry category="{category}" eid="{eid}" shape="(X (X))" shape_type="NA" size="{len(triples)}">\n'
        f"      <originaltripleset>\n{sets.replace('mtriple', 'otriple')}      </originaltripleset>\n"
        f"      <originaltripleset>\n{sets.replace('mtriple', 'otriple')}      </originaltripleset>\n"
        f"      <modifiedtripleset>\n{sets}      </modifiedtripleset>\n{lexes}{links}    </entry>\n"
    )


def write(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(entries) + TAIL, encoding="utf-8")


GOOD = 'comment="good" lang="{}"'
TEST = [
    ("Airport", "Id1", ["Aarhus_Airport | city | Aarhus"], "Aarhus Airport is in Aarhus."),
    ("Airport", "Id2", ["Adak_Airport | city | Adak"], "Adak Airport is in Adak."),
    ("Film", "Id3", ["Bionico | director | Kamen"], "Kamen directed Bionico."),
]


@pytest.fixture
def release(tmp_path):
    """Release 3.0: a folder a language, in the test folders two tasks, with and without references."""
    root = tmp_path / "release_v3.0"
    english = [("Aarhus Airport serves Aarhus.", GOOD.format("en")), ("Bad.", 'comment="toFix" lang="en"')]
    both = [*english, ("Аэропорт Орхуса.", GOOD.format("ru")), ("Это аэропорт.", GOOD.format("ru"))]
    triples = ["Aarhus_Airport | cityServed | Aarhus", "Aarhus | country | Denmark"]
    for split in ("train", "dev"):
        folder = f"{split}/2triples/Airport.xml"
        write(root / "en" / folder, entry("Airport", "Id1", triples, english))
        links = RUSSIAN.format(subject="Aarhus")
        write(root / "ru" / folder, entry("Airport", "Id1", triples, both, links))
    for lang in ("en", "ru"):
        full = [entry(c, eid, t, [(text, 'lang=""'), (text.upper(), 'lang=""')]) for c, eid, t, text in TEST]
        bare = [entry(category, eid, triples, []) for category, eid, triples, _ in TEST]
        for task in ("rdf-to-text-generation", "semantic-parsing"):
            write(root / lang / f"test/{task}-test-data-with-refs-{lang}.xml", *full)
            write(root / lang / f"test/{task}-test-data-without-refs-{lang}.xml", *bare)
    types = {"Id1": "type1", "Id2": "type2", "Id3": "type3"}
    (root / "en/test/rdf-to-text-generation-test-instance-types.json").write_text(json.dumps(types, indent=4))
    (root / "en/test/semantic-parsing-test-instance-types.json").write_text(json.dumps({"Id1": "type3"}))
    return root


def test_webnlg_2020_in_english(release, tmp_path):
    manifest = prepare_corpus("webnlg", release, tmp_path / "out").manifest
    train, test = (read_records(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "test"))
    context = "Aarhus_Airport : cityServed : Aarhus | Aarhus : country : Denmark"
    assert train == [Record("Airport-2-Id1", context, ["Aarhus Airport serves Aarhus."], "Airport", True)]
    assert [(r.id, r.category, r.seen, r.subset, len(r.references)) for r in test] == [
        ("Airport-1-Id1", "Airport", True, "seen categories", 2),
        ("Airport-1-Id2", "Airport", True, "unseen entities", 2),
        ("Film-1-Id3", "Film", False, "unseen categories", 2),
    ]
    assert [source["file"] for source in manifest["splits"]["test"]["sources"]] == [
        "en/test/rdf-to-text-generation-test-data-with-refs-en.xml",
        "en/test/rdf-to-text-generation-test-instance-types.json",
    ]
    assert "subset" not in (tmp_path / "out" / "train.jsonl").read_text()


def test_webnlg_2020_in_russian(release, tmp_path, capsys):
    arguments = ["prepare", "webnlg", "--lang", "ru", "--out", str(tmp_path / "out"), "--raw"]
    for raw in (release, release / "ru"):
        assert main([*arguments, str(raw)]) == 0
        said = capsys.readouterr().out
        assert 'left out 2 × text: in "en", not "ru" (see --lang) (Airport.xml, line ' in said
        (train,) = read_records(tmp_path / "out" / "train.jsonl")
        assert train.references == ["Аэропорт Орхуса.", "Это аэропорт."]
        assert train.context == "Aarhus_Airport : cityServed : Aarhus | Aarhus : country : Denmark"
        test = read_records(tmp_path / "out" / "test.jsonl")
        assert [(r.seen, r.subset, len(r.references)) for r in test] == [
            (True, None, 2),
            (True, None, 2),
            (False, None, 2),
        ]
    (english,) = records(release / "ru", "webnlg", split="train")
    assert english.references == ["Aarhus Airport serves Aarhus."]


def test_the_test_file_alone_and_without_references(release, tmp_path):
    folder = release / "en/test"
    prepare_corpus("webnlg", folder, tmp_path / "1")
    (folder / "rdf-to-text-generation-test-data-with-refs-en.xml").unlink()
    prepared = prepare_corpus("webnlg", folder, tmp_path / "2")
    full, blind = (read_records(tmp_path / out / "test.jsonl") for out in "12")
    # Without the training set the types say what is seen; nobody needs the categories of 2017.
    assert [record.seen for record in full] == [True, True, False]
    assert [(r.id, r.context, r.subset) for r in blind] == [(r.id, r.context, r.subset) for r in full]
    assert not any(record.references for record in blind)
    assert "  no texts: inputs only, 3 to decode and none to score" in prepared.messages
    assert not any("2017" in message for message in prepared.messages)


def test_the_parts_of_2020_are_scored_apart(release, tmp_path, capsys):
    prepare_corpus("webnlg", release, tmp_path)
    test = read_records(tmp_path / "test.jsonl")
    lines = [{"id": record.id, "hypothesis": record.references[0]} for record in test]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    segments = read_segments(tmp_path / "test.jsonl", tmp_path / "p.jsonl")
    assert {name: sum(mask) for name, mask in segments.subsets().items()} == {
        "seen": 2, "unseen": 1, "seen categories": 1, "unseen entities": 1, "unseen categories": 1,
    }  # fmt: skip
    command = [
        "webnlg",
        "--data",
        str(tmp_path / "test.jsonl"),
        "--predictions",
        str(tmp_path / "p.jsonl"),
        "-m",
        "bleu",
    ]
    assert score(command) == 0
    assert [line.split("  ")[0].strip() for line in capsys.readouterr().out.splitlines()[2:]] == [
        "all", "seen", "unseen", "seen categories", "unseen entities", "unseen categories",
    ]  # fmt: skip


HF_WEBNLG = {
    "category": "Film",
    "size": 1,
    "eid": "Id3",
    "original_triple_sets": {"otriple_set": [["Bionico | director | Kamen"]]},
    "modified_triple_sets": {"mtriple_set": [["Bionico | director | Kamen"]]},
    "shape": "(X (X))",
    "shape_type": "NA",
    "lex": {"comment": ["good", "toFix"], "lid": ["Id1", "Id2"], "text": ["One.", "Bad."], "lang": ["", ""]},
    "test_category": "rdf-to-text-generation-test-data-with-refs-en",
    "dbpedia_links": [],
    "links": [],
}
OTHER_TASK = {**HF_WEBNLG, "eid": "Id9", "test_category": "semantic-parsing-test-data-with-refs-en"}
GEM_WEBNLG = {
    "gem_id": "web_nlg_en-test-0",
    "gem_parent_id": "web_nlg_en-test-0",
    "input": ["Bionico | director | Kamen"],
    "target": "One.",
    "references": ["One.", "Two."],
    "category": "Film",
    "webnlg_id": "test/Film/1/Id3",
}
HF_DART = {
    "tripleset": [["A", "IS_IN", "B"], ["[TABLECONTEXT]", "TITLE", "C"]],
    "subtree_was_extended": False,
    "annotations": {"source": ["x", "y"], "text": ["One.", "Two."]},
}
GEM_DART = {
    "gem_id": "dart-test-0",
    "gem_parent_id": "dart-test-0",
    "dart_id": 0,
    "tripleset": [["A", "IS_IN", "B"], ["[TABLECONTEXT]", "TITLE", "C"]],
    "subtree_was_extended": False,
    "target_sources": ["x", "y"],
    "target": "One.",
    "references": ["One.", "Two."],
}
MR = "name[Blue Spice], eatType[pub], familyFriendly[no]"
HF_E2E = {"meaning_representation": MR, "human_reference": "One."}
GEM_E2E = {
    "gem_id": "e2e_nlg-test-0",
    "gem_parent_id": "e2e_nlg-test-0",
    "meaning_representation": MR,
    "target": "One.",
    "references": ["One.", "Two."],
}
EXPORTS = {
    "hf-webnlg": ("webnlg", [HF_WEBNLG, OTHER_TASK], "Bionico : director : Kamen", ["One."]),
    "gem-webnlg": ("webnlg", [GEM_WEBNLG], "Bionico : director : Kamen", ["One.", "Two."]),
    "hf-dart": ("dart", [HF_DART], "A : is_in : B | [TABLECONTEXT] : title : C", ["One.", "Two."]),
    "gem-dart": ("dart", [GEM_DART], "A : is_in : B | [TABLECONTEXT] : title : C", ["One.", "Two."]),
    "hf-e2e": (
        "e2e",
        [HF_E2E, {**HF_E2E, "human_reference": "Two."}],
        "name : Blue Spice | Type : pub | family friendly : no",
        ["One.", "Two."],
    ),
    "gem-e2e": ("e2e", [GEM_E2E], "name : Blue Spice | Type : pub | family friendly : no", ["One.", "Two."]),
}


def export(path, rows):
    """A file as `Dataset.to_json` (an entry a line), a JSON list, or Parquet."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "test-00000-of-00001.parquet"])
@pytest.mark.parametrize("kind", EXPORTS)
def test_exports(tmp_path, kind, name):
    corpus, rows, context, references = EXPORTS[kind]
    path = export(tmp_path / "raw" / name, rows)
    prepared = prepare_corpus(corpus, path.parent, tmp_path / "out")
    (record,) = read_records(tmp_path / "out" / "test.jsonl")
    assert (record.context, record.references) == (context, references)
    assert records(path)[0].context == context, "the file alone says which corpus it is"
    left_out = prepared.manifest["splits"]["test"]["left_out"]["reasons"]
    assert left_out == (
        {'text: marked "toFix", not "good"': 1, "entry: of the semantic parsing task, from text to triples": 1}
        if kind == "hf-webnlg"
        else {}
    )


BLIND = {
    "hf-webnlg": {"lex": {"comment": [], "lid": [], "text": [], "lang": []}},
    "gem-webnlg": {"target": "", "references": []},
    "hf-dart": {"annotations": {"source": [], "text": []}},
    "gem-dart": {"target": "", "references": []},
    "hf-e2e": {"human_reference": ""},
    "gem-e2e": {"target": "", "references": []},
}


@pytest.mark.parametrize("dropped", [False, True], ids=["empty", "absent"])
@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "test.parquet"])
@pytest.mark.parametrize("kind", EXPORTS)
def test_blind_exports_keep_every_input_in_order(tmp_path, kind, name, dropped):
    corpus, rows, context, _ = EXPORTS[kind]
    row = {**rows[0], **BLIND[kind]}
    if dropped:
        row = {key: value for key, value in row.items() if key not in BLIND[kind]}
    export(tmp_path / "raw" / name, [row, row])
    prepare_corpus(corpus, tmp_path / "raw", tmp_path / "out")
    found = read_records(tmp_path / "out" / "test.jsonl")
    assert [(record.context, record.references) for record in found] == [(context, [])] * 2
    assert len({record.id for record in found}) == 2


BLIND_FILES = {
    "csv.csv": ("e2e", 'MR\n"name[B]"\n"name[A], food[Thai]"\n"name[B]"\n'),
    "empty-column.csv": ("e2e", 'mr,ref\n"name[B]",\n"name[A], food[Thai]",\n"name[B]", \n'),
    "bars.txt": ("e2e", "name : B||\nname : A | food : Thai||\nname : B|| \n"),
    "contexts.txt": ("e2e", "name : B\nname : A | food : Thai\nname : B\n"),
    "own.tsv": ("table", "context\nname : B\nname : A | food : Thai\nname : B\n"),
}


@pytest.mark.parametrize("name", BLIND_FILES)
def test_blind_files_keep_every_input_in_order(tmp_path, name):
    corpus, content = BLIND_FILES[name]
    path = tmp_path / name
    path.write_text(content)
    prepare_corpus(corpus, None, tmp_path / "out", files={"test": path})
    found = read_records(tmp_path / "out" / "test.jsonl")
    assert [record.context for record in found] == ["name : B", "name : A | food : Thai", "name : B"]
    assert [(record.id, record.references) for record in found] == [(f"test-{n}", []) for n in (1, 2, 3)]


def test_a_blind_set_is_decoded_one_prediction_an_input(tmp_path):
    (tmp_path / "test.csv").write_text('mr\n"name[B]"\n"name[A], food[Thai]"\n"name[B]"\n')
    prepare_corpus("e2e", tmp_path, tmp_path)
    base = Path(__file__).parents[3] / "data" / "sample" / "base"
    command = ["decode", "--checkpoint", str(base), "--data", str(tmp_path / "test.jsonl"), "--beam", "1", "--eval_len"]
    assert main([*command, "3", "--out", str(tmp_path / "p.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["test-1", "test-2", "test-3"]
    assert lines[0]["hypothesis"] == lines[2]["hypothesis"]


def test_nothing_of_a_blind_set_is_scored(tmp_path, capsys):
    write_records(tmp_path / "test.jsonl", [Record("1", "a", []), Record("2", "b", [])])
    (tmp_path / "p.jsonl").write_text('{"id": "1", "hypothesis": "x"}\n{"id": "2", "hypothesis": "y"}\n')
    for suite in ("e2e", "webnlg"):
        command = [suite, "--data", str(tmp_path / "test.jsonl"), "--predictions", str(tmp_path / "p.jsonl")]
        assert score(command) == 1
        said = capsys.readouterr()
        assert "has no references: a blind test set, of which nothing can be scored" in said.err
        assert (said.out, said.err.count("\n")) == ("", 1)


def test_cleaned_e2e(tmp_path):
    """As the release names files and columns; references are those of the corrected meaning representation."""
    for name, split in (("train-fixed.no-ol", "train"), ("devel-fixed.no-ol", "valid"), ("test-fixed", "test")):
        with open(tmp_path / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["mr", "ref", "fixed", "orig_mr"])
            rows.writerow(
                [f"name[{split}], near[Café Adriatic]", "It is near Café Adriatic.", "1", "name[x], area[riverside]"]
            )
            rows.writerow(
                [
                    f"name[{split}], near[Café Adriatic]",
                    "Café Adriatic is near it.",
                    "0",
                    f"name[{split}], near[Café Adriatic]",
                ]
            )
    prepared = prepare_corpus("e2e", tmp_path, tmp_path / "out", Reading(tokenize=True))
    for split in ("train", "valid", "test"):
        (record,) = read_records(tmp_path / "out" / f"{split}.jsonl")
        assert record.context == f"name : {split} | near : Café Adriatic"
        assert record.references == ["It is near Café Adriatic .", "Café Adriatic is near it ."]
    assert "  columns not used in test-fixed.csv: fixed, orig_mr" in prepared.messages


def test_inputs_that_will_have_no_prediction_are_said(tmp_path):
    (tmp_path / "test.csv").write_text('mr\n"name[B]"\ncolour\n')
    messages = prepare_corpus("e2e", tmp_path, tmp_path / "out").messages
    assert "  left out 1 × row: no meaning representation: 'colour' (test.csv, line 3)" in messages
    assert "  note: 1 inputs are in no record, so there will be no prediction of them" in messages


def test_a_folder_may_be_named_as_a_split(tmp_path):
    write(tmp_path / "mine" / "a" / "Airport.xml", entry("Airport", "Id1", TEST[0][2], [("One.", GOOD.format("en"))]))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "part.csv").write_text("context,text\na,b\n")
    for corpus, folder in (("webnlg", "mine"), ("table", "own")):
        prepare_corpus(corpus, None, tmp_path / corpus, files={"train": tmp_path / folder})
        assert len(read_records(tmp_path / corpus / "train.jsonl")) == 1
        (tmp_path / "none").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="none is a folder without a file of"):
            prepare_corpus(corpus, None, tmp_path / "out", files={"train": tmp_path / "none"})


def test_e2e_text_form_by_any_name(tmp_path):
    for name in ("e2e_train_formatted.txt", "my-dev.txt"):
        (tmp_path / name).write_text("name : A||A .\n")
    (tmp_path / "strange").write_text("name : T||T .\n")
    manifest = prepare_corpus("e2e", tmp_path, tmp_path / "out", files={"test": tmp_path / "strange"}).manifest
    assert {split: part["form"] for split, part in manifest["splits"].items()} == dict.fromkeys(
        ("train", "valid", "test"), "text"
    )
    assert records(tmp_path / "strange") == [Record("test-1", "name : T", ["T ."])]


def test_records_of_rows_in_memory_and_of_what_was_prepared(tmp_path):
    rows = [{"name": "Gull", "food": "Thai", "ref": "One."}, {"name": "Gull", "food": "Thai", "ref": "Two."}]
    found = records(rows, split="train", context=["name", "food"], text="ref")
    assert found == [Record("train-1", "name : Gull | food : Thai", ["One.", "Two."])]
    write_records(tmp_path / "train.jsonl", found)
    assert records(tmp_path / "train.jsonl") == records(tmp_path, split="train") == found
    whole = [*found, Record("b", "c", [], "Food", True, "unseen entities")]
    assert records([asdict(record) for record in whole]) == whole
    with pytest.raises(InputError, match='the rows, record 1: "references" must be a list'):
        records([{"id": "1", "context": "a", "references": "b"}])
    with pytest.raises(InputError, match="`lang` is for webnlg, not for table"):
        records(rows, lang="ru")
    with pytest.raises(InputError, match="say which corpus the folder holds"):
        records(tmp_path, split="test")
    with pytest.raises(InputError, match="no corpus 'totto'"):
        records(tmp_path / "train.jsonl", "totto")


def test_datasets_in_and_out(tmp_path, monkeypatch):
    """The lines of data/README.md."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list([{"mr": "a", "ref": "One."}, {"mr": "a", "ref": "Two."}])
    found = records(dataset, context="mr", text="ref")
    assert found == [Record("test-1", "a", ["One.", "Two."])]
    again = datasets.Dataset.from_list([asdict(record) for record in found])
    assert records(again) == found
    again.to_parquet(tmp_path / "test.parquet")
    again.to_json(tmp_path / "test.json")
    again.save_to_disk(tmp_path / "saved")
    (saved,) = (tmp_path / "saved").glob("*.arrow")
    for path in (tmp_path / "test.parquet", tmp_path / "test.json", saved):
        assert records(path, "table") == found
