"""E2E from both released forms: expected counts, grouping, and every way a file can be wrong."""

import csv

import pytest

from lora_nlg.corpora import e2e
from lora_nlg.corpora.release import Reading, Source
from lora_nlg.errors import InputError

MR = "name[Blue Spice], eatType[coffee shop], area[city centre]"


def read(path, form, split="test", tokenize=False):
    return e2e.read(split, Source(form, [path]), Reading(tokenize=tokenize))


def write_csv(path, *rows, header=("mr", "ref")):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize(
    ("split", "rows", "contexts"), [("train", 42061, 4862), ("valid", 4672, 547), ("test", 4693, 630)]
)
def test_text_form_counts(shared_data, split, rows, contexts):
    release = read(shared_data / f"e2e/{split}.txt", "text", split)
    assert (release.entries, release.texts, len(release.records), len(release.left_out)) == (rows, rows, contexts, 0)
    assert sum(len(record.references) for record in release.records) == rows
    assert len({record.context for record in release.records}) == contexts
    assert len({record.id for record in release.records}) == contexts


@pytest.mark.parametrize(("split", "name"), [("valid", "devset"), ("test", "testset_w_refs")])
def test_csv_and_text_form_agree(shared_data, split, name):
    text = read(shared_data / f"e2e/{split}.txt", "text", split)
    made = read(shared_data / f"e2e/{name}.csv", "csv", split, tokenize=True)
    plain = read(shared_data / f"e2e/{name}.csv", "csv", split)
    assert [(r.id, r.context) for r in made.records] == [(r.id, r.context) for r in text.records]
    assert len(plain.records) == len(text.records)
    made_texts, texts = ([ref for record in r.records for ref in record.references] for r in (made, text))
    pairs = list(zip(made_texts, texts, strict=True))
    assert sum(a == b for a, b in pairs) / len(pairs) >= 0.999
    assert plain.records != made.records


def test_test_set_without_references(shared_data):
    without = read(shared_data / "e2e/testset.csv", "csv")
    full = read(shared_data / "e2e/testset_w_refs.csv", "csv")
    assert [(r.id, r.context) for r in without.records] == [(r.id, r.context) for r in full.records]
    assert without.texts == 0
    assert all(record.references == [] for record in without.records)


def test_rows_are_grouped_in_order_of_first_appearance(tmp_path):
    path = tmp_path / "valid.txt"
    path.write_text("b : 1||one \na : 1||two\nb : 1||three \n", encoding="utf-8")
    release = read(path, "text", "valid")
    assert [(r.id, r.context, r.references) for r in release.records] == [
        ("valid-1", "b : 1", ["one", "three"]),
        ("valid-2", "a : 1", ["two"]),
    ]


def test_linearised_as_the_community_does():
    mr = (
        "name[The Mill], eatType[pub], food[Fast food], priceRange[£20-25], customer rating[5 out of 5], "
        "area[riverside], familyFriendly[no], near[Café Brazil]"
    )
    assert e2e.linearise_mr(mr) == (
        "name : The Mill | Type : pub | food : Fast food | price : £20-25 | customer rating : 5 out of 5 | "
        "area : riverside | family friendly : no | near : Café Brazil"
    )


@pytest.mark.parametrize(
    ("mr", "said"),
    [
        ("", "empty meaning representation"),
        ("Blue Spice", "no meaning representation: 'Blue Spice'"),
        ("name[Blue Spice", "no meaning representation"),
        ("name[Blue Spice] or so", "no meaning representation"),
        ("name[]", "attribute 'name' has no value"),
        ("colour[red]", "unknown attribute 'colour'; E2E has name, eatType"),
    ],
)
def test_odd_meaning_representations_are_left_out_and_reported(tmp_path, mr, said):
    path = write_csv(tmp_path / "devset.csv", (MR, "Good."), (mr, "Odd."), (MR, "Good too."))
    release = read(path, "csv", "valid")
    assert [r.references for r in release.records] == [["Good.", "Good too."]]
    assert (release.entries, release.texts) == (3, 3)
    (row,) = release.left_out
    assert (row.file, row.place, row.what) == (path, "line 3", "row")
    assert said in row.reason


def test_odd_rows_keep_their_line_numbers(tmp_path):
    path = write_csv(tmp_path / "devset.csv", (MR, "Two\nlines."), (MR, ""), (MR,), (MR, "a", "b"), (MR, "End."))
    release = read(path, "csv", "valid")
    assert [(row.place, row.reason) for row in release.left_out] == [
        ("line 4", "empty text"),
        ("line 5", "1 fields instead of 2"),
        ("line 6", "3 fields instead of 2"),
    ]
    assert release.records[0].references == ["Two lines.", "End."]


def test_odd_lines_of_the_text_form(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text("no bars here\n||only a text\nname : A||\n\nname : A||A text || with bars \n", encoding="utf-8")
    release = read(path, "text")
    assert [(row.place, row.reason) for row in release.left_out] == [
        ("line 1", "no || between context and completion"),
        ("line 2", "empty context"),
        ("line 3", "empty completion"),
        ("line 4", "no || between context and completion"),
    ]
    assert [(r.context, r.references) for r in release.records] == [("name : A", ["A text || with bars"])]


@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        ("csv", b"", "first line must name"),
        ("csv", b"a,b\n1,2\n", "(human_reference, ref, target), not 'a,b'"),
        ("csv", b"mr,text\n1,2\n", "first line must name"),
        ("csv", b"mr,ref,target\n1,2,3\n", "first line must name"),
        ("csv", b'mr,ref\n"name[A],A text\n', "not CSV"),
        ("csv", b"PK\x03\x04\x00\x00\xff\xfe", "not UTF-8"),
        ("csv", "mr,ref\nname[Café],x\n".encode("latin-1"), "not UTF-8"),
        ("text", b"", "not in the text form"),
        ("text", b"mr,ref\nname[A],x\n", "not in the text form"),
        ("text", "name : Café||x\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_named_in_one_line(tmp_path, form, content, said):
    path = tmp_path / f"file.{form}"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(path, form)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("header", "unused"),
    [
        (["mr", "ref"], ""),
        (["MR", " Ref "], ""),
        (["meaning_representation", "human_reference"], ""),
        (["gem_id", "meaning representation", "target", "references"], "gem_id, references"),
        (["mr", "ref", "fixed", "orig_mr"], "fixed, orig_mr"),
        (["", "mr", "ref"], "(unnamed)"),
    ],
)
def test_columns_are_found_by_name(tmp_path, header, unused, delimiter):
    values = {"mr": MR, "ref": "A text."}
    names = {"meaning_representation": "mr", "meaning representation": "mr", "human_reference": "ref", "target": "ref"}
    row = [values.get(names.get(name.strip().lower(), name.strip().lower()), "0") for name in header]
    path = tmp_path / "trainset.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, row])
    release = read(path, "csv")
    assert [record.references for record in release.records] == [["A text."]]
    assert release.records[0].context == "name : Blue Spice | Type : coffee shop | area : city centre"
    assert release.notes == ([f"  columns not used in trainset.csv: {unused}"] if unused else [])


def test_an_unnamed_column_beside_inputs_only(tmp_path):
    path = tmp_path / "testset.csv"
    path.write_text(f',MR\n0,"{MR}"\n', encoding="utf-8")
    assert [record.references for record in read(path, "csv").records] == [[]]
