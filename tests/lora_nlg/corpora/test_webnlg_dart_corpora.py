"""WebNLG and DART from their released forms: expected counts, equal forms, and files that must be refused."""

import json

import pytest

from lora_nlg.__main__ import main
from lora_nlg.corpora import dart, webnlg
from lora_nlg.corpora.finding import locate
from lora_nlg.corpora.prepare import prepare_corpus
from lora_nlg.corpora.record import read_records
from lora_nlg.corpora.release import Reading, Source
from lora_nlg.errors import InputError

ENTRY = """<entry category="{category}" eid="Id1" size="1">
<originaltripleset><otriple>x | y | z</otriple></originaltripleset>
<modifiedtripleset><mtriple>{triple}</mtriple></modifiedtripleset>
{texts}
</entry>"""


def xml(path, *entries, head="<?xml version='1.0' encoding='utf-8'?>\n", root="benchmark"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}<{root}><entries>\n" + "\n".join(entries) + f"\n</entries></{root}>\n", encoding="utf-8")
    return path


def entry(triple="A_b | isIn | C", texts='<lex comment="good" lid="Id1">A b is in C.</lex>', category="City"):
    return ENTRY.format(triple=triple, texts=texts, category=category)


@pytest.mark.parametrize(
    ("split", "entries", "records", "good", "left_out_entries"),
    [("train", 6940, 6935, 18025, 5), ("valid", 872, 871, 2258, 1), ("test", 1862, 1862, 4928, 0)],
)
def test_webnlg_counts(shared_data, split, entries, records, good, left_out_entries):
    source = locate(webnlg.CORPUS, shared_data / "webnlg")[split]
    release = webnlg.read(split, source)
    # Without the training set the ten categories of 2017 decide, and there is nothing to say about it.
    assert webnlg.mark_seen({split: release} if split != "train" else {"valid": release}) == []
    assert (release.entries, len(release.records)) == (entries, records)
    assert sum(len(record.references) for record in release.records) == good
    assert sum(row.what == "entry" for row in release.left_out) == left_out_entries
    assert release.texts - good == sum(row.what == "text" for row in release.left_out)
    assert len({record.id for record in release.records}) == records
    assert sum(bool(record.seen) for record in release.records) == (971 if split == "test" else records)


def test_webnlg_json_equals_xml(shared_data):
    from_xml = webnlg.read("valid", locate(webnlg.CORPUS, shared_data / "webnlg", Reading(form="xml"))["valid"])
    from_json = webnlg.read("valid", locate(webnlg.CORPUS, shared_data / "webnlg", Reading(form="json"))["valid"])
    by_id = {record.id: record for record in from_xml.records}
    assert {record.id: record for record in from_json.records} == by_id
    assert by_id["Airport-1-Id1"].context == "Aarhus : leaderName : Jacob_Bundsgaard"


def test_webnlg_inputs_only_release_has_the_same_entries(shared_data):
    path = shared_data / "webnlg/test/testdata_no_lex.xml"
    without = webnlg.read("test", Source("xml", [path]))
    full = webnlg.read("test", locate(webnlg.CORPUS, shared_data / "webnlg")["test"])
    assert [(r.id, r.context) for r in without.records] == [(r.id, r.context) for r in full.records]
    assert not any(record.references for record in without.records)


def test_dart_counts(shared_data):
    sources = locate(dart.CORPUS, shared_data / "dart")
    assert set(sources) == {"valid", "test"}
    valid, test = (dart.read(split, sources[split]) for split in ("valid", "test"))
    assert (valid.entries, valid.texts, len(valid.records), len(valid.left_out)) == (2768, 6980, 2768, 0)
    assert (test.entries, test.texts, len(test.records)) == (5097, 12552, 5097)
    assert len({record.context for record in test.records}) == 4159
    # One of the 12,552 released texts is empty; it is reported, not given to training and scoring.
    assert [(row.place, row.what, row.reason) for row in test.left_out] == [("line 888", "text", "empty")]
    assert sum(len(record.references) for record in test.records) == 12551
    assert valid.records[0].context == "Mars Hill College : joined : 1973 | Mars Hill College : location : " + (
        "Mars Hill, North Carolina"
    )


def test_dart_json_equals_xml(tmp_path):
    triples = [["A", "IS_IN", "B & C"], ["[TABLECONTEXT]", "[TITLE]", "D"]]
    (tmp_path / "test.json").write_text(
        json.dumps([{"tripleset": triples, "annotations": [{"source": "s", "text": "A\tis  in\nB."}]}])
    )
    inner = "</mtriple><mtriple>".join(" | ".join(t).replace("&", "&amp;") for t in triples)
    xml(tmp_path / "test.xml", entry(inner, '<lex comment="s">A\tis  in\nB.</lex>', "MISC"))
    from_json = dart.read("test", Source("json", [tmp_path / "test.json"]))
    from_xml = dart.read("test", Source("xml", [tmp_path / "test.xml"]))
    assert from_json.records == from_xml.records
    assert from_json.records[0].context == "A : is_in : B & C | [TABLECONTEXT] : [title] : D"
    assert from_json.records[0].references == ["A is in B."]


def test_webnlg_keeps_good_texts_only_and_says_where_the_others_are(tmp_path):
    texts = '<lex comment="toFix">Bad.</lex>\n<lex comment="good">Good.</lex>\n<lex comment="good"> </lex>'
    path = xml(tmp_path / "train.xml", entry(texts=texts), entry(texts='<lex comment="toFix">Bad.</lex>'), entry())
    release = webnlg.read("train", Source("xml", [path]))
    # The third entry repeats the first one's number: ids stay unique.
    assert [(r.id, r.references) for r in release.records] == [
        ("City-1-Id1", ["Good."]),
        ("City-1-Id1-2", ["A b is in C."]),
    ]
    assert [(row.what, row.place, row.reason) for row in release.left_out] == [
        ("text", "line 6", 'marked "toFix", not "good"'),
        ("text", "line 8", "empty"),
        ("text", "line 13", 'marked "toFix", not "good"'),
        ("entry", "line 10", "no good text"),
    ]


@pytest.mark.parametrize("triple", ["A | isIn", "A | isIn | C | D", "A |  | C", ""])
@pytest.mark.parametrize("corpus", [webnlg, dart])
def test_a_malformed_triple_leaves_the_entry_out(tmp_path, corpus, triple):
    path = xml(tmp_path / "test.xml", entry(triple), entry())
    release = corpus.read("test", Source("xml", [path]))
    assert len(release.records) == 1
    (row,) = release.left_out
    assert (row.what, row.place) == ("entry", "line 3")


def test_without_a_training_set_seen_is_the_ten_training_categories_of_2017(tmp_path):
    categories = ["Airport", "WrittenWork", "Artist", "CelestialBody", ""]
    path = xml(tmp_path / "test.xml", *[entry(category=category) for category in categories])
    release = webnlg.read("test", Source("xml", [path]))
    assert webnlg.mark_seen({"test": release}) == []
    assert [record.seen for record in release.records] == [True, True, False, False, None]


def test_seen_is_decided_by_the_training_set_at_hand(tmp_path):
    for split, categories in {"train": ["Artist", "Company", ""], "test": ["Artist", "Airport", "Film", ""]}.items():
        xml(tmp_path / f"{split}.xml", *[entry(category=category) for category in categories])
    prepared = prepare_corpus("webnlg", tmp_path, tmp_path / "out")
    train, test = (read_records(tmp_path / "out" / f"{split}.jsonl") for split in ("train", "test"))
    assert [record.seen for record in train] == [True, True, None]
    assert [record.seen for record in test] == [True, False, False, None]
    assert prepared.manifest["splits"]["train"]["seen"] == 2
    assert not any("2017" in message for message in prepared.messages)


def test_another_years_test_set_alone_is_pointed_out(tmp_path):
    xml(tmp_path / "test.xml", *[entry(category=category) for category in ("Airport", "Film", "Scientist")])
    (note,) = [text for text in prepare_corpus("webnlg", tmp_path, tmp_path / "out").messages if "2017" in text]
    assert "Film, Scientist is not of that year" in note


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("<i>Aaron Deer</i> plays <b>psychedelia</b> music.", "Aaron Deer plays psychedelia music."),
        ("Aaron<br/>Deer <!-- who? -->plays<p>music.</p>", "Aaron Deer plays music."),
        ("<![CDATA[A & B <]]> is <a><b><c>in</c></b></a> C.", "A & B < is in C."),
        (
            "<sortedtripleset><sentence><striple>A | b | C</striple></sentence></sortedtripleset>"
            "<references><reference>A</reference></references><text>Aaron <i>Deer</i> plays.</text>"
            "<template>AGENT-1 plays .</template>",
            "Aaron Deer plays.",
        ),
        ("<template>AGENT-1 plays .</template><text>Aaron plays.</text>", "Aaron plays."),
    ],
)
@pytest.mark.parametrize("corpus", [webnlg, dart])
def test_the_whole_text_of_a_lex_with_elements_inside(tmp_path, corpus, texts, expected):
    path = xml(tmp_path / "test.xml", entry(texts=f'<lex comment="good">{texts}</lex>'))
    assert [record.references for record in corpus.read("test", Source("xml", [path])).records] == [[expected]]


@pytest.mark.parametrize(
    ("tag", "triple"), [("mtriple", "<s>A</s>_<i>b</i> | isIn | C"), ("otriple", "A_b | isIn | C")]
)
def test_triples_with_elements_inside_and_by_their_other_name(tmp_path, tag, triple):
    path = xml(tmp_path / "test.xml", entry().replace("mtriple", tag).replace("A_b | isIn | C", triple))
    # The original triples beside them, <otriple> too, are none of them.
    assert [r.context for r in webnlg.read("test", Source("xml", [path])).records] == ["A_b : isIn : C"]


def test_a_text_that_is_only_a_template_is_left_out(tmp_path):
    path = xml(tmp_path / "train.xml", entry(texts='<lex comment="good"><template>X</template></lex>'), entry())
    release = webnlg.read("train", Source("xml", [path]))
    assert [row.reason for row in release.left_out] == ["empty", "no good text"] and len(release.records) == 1


TWO_LANGUAGES = (
    '<lex comment="good" lang="en">It is in C.</lex><lex comment="good" lang="ru">Оно в C.</lex>'
    '<lex comment="" lang="">It lies in C.</lex><lex comment="good" lang="en-GB">C has it.</lex>'
)


def test_one_language_of_a_release(tmp_path, capsys):
    xml(tmp_path / "raw/test.xml", entry(texts=TWO_LANGUAGES))
    expected = {"en": ["It is in C.", "It lies in C.", "C has it."], "ru": ["Оно в C.", "It lies in C."]}
    for lang, references in expected.items():
        out = tmp_path / lang
        assert main(["prepare", "webnlg", "--raw", str(tmp_path / "raw"), "--out", str(out), "--lang", lang]) == 0
        assert read_records(out / "test.jsonl")[0].references == references
        assert f'not "{lang}" (see --lang)' in capsys.readouterr().out
    for corpus, lang in (("dart", "ru"), ("webnlg", "all of them")):
        command = ["prepare", corpus, "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "no"), "--lang", lang]
        assert main(command) == 1
        assert "--lang" in capsys.readouterr().err


def test_depth_and_encodings_are_refused_in_one_line(tmp_path):
    deep = xml(tmp_path / "deep.xml", "<a>" * 60_000 + "</a>" * 60_000)
    with pytest.raises(InputError, match="elements more than 100 deep"):
        webnlg.read("test", Source("xml", [deep]))
    for encoding in ("gb2312", "shift_jis", "utf-7", "euc-kr", "big5", "utf-32", "no-such"):
        path = xml(tmp_path / "odd.xml", entry(), head=f"<?xml version='1.0' encoding='{encoding}'?>\n")
        with pytest.raises(InputError, match=r"odd\.xml"):
            webnlg.read("test", Source("xml", [path]))


DART_EXPORT = {"tripleset": [["A", "B", "C"]], "annotations": {"source": ["x", "y"], "text": ["A B C.", "C."]}}
DART_GEM = {"gem_id": "dart-1", "tripleset": [["A", "B", "C"]], "target": "A B C.", "references": ["A B C.", "C."]}
WEBNLG_GEM = {"gem_id": "w-1", "input": ["A | b | C"], "target": "A b C.", "references": [], "category": "Airport"}
WEBNLG_EXPORT = {
    "category": "Airport",
    "size": 1,
    "eid": "Id1",
    "modified_triple_sets": {"mtriple_set": [["A | b | C"]]},
    "lex": {"comment": ["good", "toFix"], "lid": ["Id1", "Id2"], "text": ["A b C.", "Bad."], "lang": []},
}


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    ("corpus", "value", "context", "references"),
    [
        (dart, DART_EXPORT, "A : b : C", ["A B C.", "C."]),
        (dart, DART_GEM, "A : b : C", ["A B C.", "C."]),
        (dart, {**DART_GEM, "references": []}, "A : b : C", ["A B C."]),
        (webnlg, WEBNLG_GEM, "A : b : C", ["A b C."]),
        (webnlg, WEBNLG_EXPORT, "A : b : C", ["A b C."]),
    ],
)
def test_exports_of_hugging_face(tmp_path, corpus, value, context, references, lines):
    for count in (1, 2):
        path = tmp_path / "train.json"
        values = [value] * count
        path.write_text("".join(json.dumps(one) + "\n" for one in values) if lines else json.dumps(values))
        release = corpus.read("train", Source("json", [path]))
        assert [(record.context, record.references) for record in release.records] == [(context, references)] * count


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {**DART_EXPORT, "annotations": {"source": ["x"], "text": "A"}},
            "annotations is neither a list nor one object",
        ),
        ({**DART_EXPORT, "annotations": {"source": ["x"], "text": ["A", "B"]}}, "equally long lists"),
        ({"tripleset": [["A", "B", "C"]]}, "annotations"),
    ],
)
def test_odd_exports_are_refused_in_words(tmp_path, value, said):
    (tmp_path / "train.json").write_text(json.dumps([value]))
    with pytest.raises(InputError, match=said):
        dart.read("train", Source("json", [tmp_path / "train.json"]))


@pytest.mark.parametrize("control", ["\0", "\x01", "\x1b", "\x7f"])
def test_control_characters_become_blanks_and_are_said(tmp_path, control, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    clean = {"tripleset": [["A", "b", "C"]], "annotations": [{"source": "x", "text": "A b C."}]}
    odd = {"tripleset": [[f"A{control}A", "b", "C"]], "annotations": [{"source": "x", "text": f"A{control}b{control}"}]}
    empty = {"tripleset": [[control, "b", "C"]], "annotations": [{"source": "x", "text": "x"}]}
    (raw / "train.json").write_text(json.dumps([clean, odd, empty]))
    assert main(["prepare", "dart", "--raw", str(raw), "--out", str(out)]) == 0
    records = read_records(out / "train.jsonl")
    assert [(r.context, r.references) for r in records] == [("A : b : C", ["A b C."]), ("A A : b : C", ["A b"])]
    said = capsys.readouterr().out
    assert "control characters (NUL and the like) became blanks in 1 places (train.json, entry 2)" in said


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY c "&a;&a;&a;">]>\n'
EXTERNAL = '<?xml version="1.0"?>\n<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'


@pytest.mark.parametrize("corpus", [webnlg, dart])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: xml(path, entry(texts="<lex>&c;</lex>"), head=BOMB), "is refused"),
        (lambda path: xml(path, entry(texts="<lex>&a;</lex>"), head=EXTERNAL), "is refused"),
        (lambda path: path.write_text("<benchmark><entries><entry>"), "not well-formed XML"),
        (lambda path: path.write_text(""), "not well-formed XML"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00garbage"), "not well-formed XML"),
        (lambda path: path.write_bytes("<benchmark>é</benchmark>".encode("latin-1")), "not well-formed XML"),
        (lambda path: path.write_text('<?xml version="1.0" encoding="klingon"?><benchmark/>'), "no encoding"),
        (lambda path: path.write_text("<html><body/></html>"), "its root is <html>, not <benchmark>"),
        (lambda path: path.write_text("<benchmark><entries/></benchmark>"), "holds no <entry>"),
    ],
)
def test_bad_xml_is_named_in_one_line(tmp_path, corpus, make, said):
    path = tmp_path / "test.xml"
    make(path)
    with pytest.raises(InputError) as error:
        corpus.read("test", Source("xml", [path]))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


GOOD_JSON_ENTRY = {
    "category": "City",
    "size": "1",
    "xml_id": "Id1",
    "modifiedtripleset": [{"subject": "A", "property": "p", "object": "B"}],
    "lexicalisations": [{"lex": "A.", "comment": "good"}],
}


@pytest.mark.parametrize(
    ("corpus", "value", "said"),
    [
        (webnlg, "{", "is not JSON"),
        (webnlg, "", "is not JSON"),
        (webnlg, [], "holds no entries"),
        (webnlg, {"entries": []}, "holds no entries"),
        (webnlg, {"entries": [{"1": GOOD_JSON_ENTRY}, {"2": {}}]}, "entry 2: not a WebNLG entry"),
        (webnlg, {"entries": ["text"]}, "entry 1: not a WebNLG entry"),
        (
            webnlg,
            {"entries": [{"1": {**GOOD_JSON_ENTRY, "lexicalisations": [{"lex": 3, "comment": "good"}]}}]},
            "entry 1",
        ),
        (
            webnlg,
            {"entries": [{"1": {**GOOD_JSON_ENTRY, "lexicalisations": [{"lex": "\ud800", "comment": "good"}]}}]},
            "half a character",
        ),
        (dart, [{"tripleset": [["A", "b", "C"]], "annotations": [{"text": "\ud800"}]}], "half a character"),
        (dart, [{"tripleset": [["A", "\ud800", "C"]], "annotations": [{"text": "x"}]}], "half a character"),
        (dart, {}, "must be a list of them"),
        (dart, [], "must be a list of them"),
        (dart, [{"annotations": [{"text": "x"}]}], "entry 1: not a DART entry"),
        (dart, [{"tripleset": [["A", "b", "C"]], "annotations": [{"text": None}]}], "expected a string, got None"),
    ],
)
def test_bad_json_is_named_in_one_line(tmp_path, corpus, value, said):
    path = tmp_path / "test.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    with pytest.raises(InputError) as error:
        corpus.read("test", Source("json", [path]))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
