"""`lora-nlg prepare` as a command: files, manifest, messages, and nothing written when a file is broken."""

import json
import shutil

import pytest

from lora_nlg.__main__ import main
from lora_nlg.corpora.prepare import prepare_corpus
from lora_nlg.corpora.record import read_records
from lora_nlg.corpora.release import Reading
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file


def small_e2e(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text("name : A||A is here . \nname : A||Here is A . \nodd\n", encoding="utf-8")
    (folder / "devset.csv").write_text('mr,ref\nname[A],"It isn\'t here."\n', encoding="utf-8")
    return folder


def test_splits_manifest_and_messages(tmp_path, capsys):
    raw, out = small_e2e(tmp_path / "raw"), tmp_path / "out"
    assert main(["prepare", "e2e", "--raw", str(raw), "--out", str(out), "--tokenise"]) == 0
    shown = capsys.readouterr().out
    assert (
        "test: not found (looked for test.txt, testset_w_refs.csv, testset.csv, test-fixed.csv, test.csv, another"
        in shown
    )
    assert "left out 1 × row: no || between context and completion (train.txt, line 3)" in shown
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "train.jsonl", "valid.jsonl"]
    assert read_records(out / "valid.jsonl")[0].references == ["It isn 't here ."]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["not_found"] == ["test"]
    assert manifest["tokenised"] == {"train": True, "valid": True}
    train = manifest["splits"]["train"]
    assert train["sources"] == [{"file": "train.txt", "sha256": sha256_file(raw / "train.txt")}]
    assert train["output"] == {"file": "train.jsonl", "sha256": sha256_file(out / "train.jsonl")}
    assert (train["entries"], train["texts"], train["records"], train["references"]) == (3, 2, 1, 2)
    assert train["left_out"]["total"] == 1
    assert train["left_out"]["listed"][0]["place"] == "line 3"


def test_text_form_is_preferred_and_can_be_overruled(tmp_path):
    raw = small_e2e(tmp_path / "raw")
    (raw / "valid.txt").write_text("name : A||From the text form . \n", encoding="utf-8")

    def first_text(form):
        prepare_corpus("e2e", raw, tmp_path / form, Reading(form=form))
        return read_records(tmp_path / form / "valid.jsonl")[0].references

    assert first_text("auto") == first_text("text") == ["From the text form ."]
    assert first_text("csv") == ["It isn't here."]


def test_references_are_preferred(tmp_path):
    raw = small_e2e(tmp_path / "raw")
    (raw / "testset.csv").write_text("MR\nname[A]\n", encoding="utf-8")
    assert prepare_corpus("e2e", raw, tmp_path / "1").manifest["splits"]["test"]["references"] == 0
    (raw / "testset_w_refs.csv").write_text("mr,ref\nname[A],A.\n", encoding="utf-8")
    assert prepare_corpus("e2e", raw, tmp_path / "2").manifest["splits"]["test"]["references"] == 1


def test_mixed_tokenisation_is_pointed_out(tmp_path):
    raw = small_e2e(tmp_path / "raw")
    assert any("set `tokenize`" in message for message in prepare_corpus("e2e", raw, tmp_path / "1").messages)
    tokenised = prepare_corpus("e2e", raw, tmp_path / "2", Reading(tokenize=True))
    assert not any("set `tokenize`" in message for message in tokenised.messages)


def test_text_that_is_untokenised_throughout_is_pointed_out(tmp_path):
    raw = small_e2e(tmp_path / "raw")
    (raw / "train.txt").rename(tmp_path / "train.txt")
    (note,) = [message for message in prepare_corpus("e2e", raw, tmp_path / "1").messages if "note:" in message]
    assert "published E2E scores are on tokenised text; to compare with them set `tokenize`" in note
    assert not any("note:" in m for m in prepare_corpus("e2e", raw, tmp_path / "2", Reading(tokenize=True)).messages)


def test_files_of_an_earlier_run_are_pointed_out(tmp_path):
    raw, out = small_e2e(tmp_path / "raw"), tmp_path / "out"
    prepare_corpus("e2e", raw, out)
    (raw / "devset.csv").unlink()
    assert any("valid.jsonl is from an earlier run" in message for message in prepare_corpus("e2e", raw, out).messages)


def test_nothing_is_written_when_a_file_is_broken(tmp_path, capsys):
    raw, out = small_e2e(tmp_path / "raw"), tmp_path / "out"
    (raw / "devset.csv").write_bytes(b"\xff\xfe\x00")
    assert main(["prepare", "e2e", "--raw", str(raw), "--out", str(out)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(raw / "devset.csv") in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("e2e", None), "`raw` is missing"),
        (("e2e", "nowhere"), "nowhere; get it with scripts/download_data.sh e2e"),
        (("e2e", "empty"), "found none of train.txt"),
        (("webnlg", "raw", Reading(form="csv")), "this corpus is read as xml, json, parquet"),
        (("dart", "raw", Reading(tokenize=True)), "`tokenize` is for e2e"),
        (("snli", "raw"), "choose from e2e, webnlg, dart, table, sample"),
    ],
)
def test_wrong_requests(tmp_path, arguments, said):
    small_e2e(tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    corpus, raw, *rest = arguments
    with pytest.raises(InputError, match=said):
        prepare_corpus(corpus, raw and tmp_path / raw, tmp_path / "out", *rest)


def test_a_split_without_any_record_is_an_error(tmp_path):
    (tmp_path / "train.txt").write_text("||\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.txt gives no record: line 1: empty context"):
        prepare_corpus("e2e", tmp_path, tmp_path / "out")


def test_same_input_same_bytes_whatever_the_file_system_order(shared_data, tmp_path):
    """Copied in another order, the WebNLG folders give the same file."""
    shutil.copytree(shared_data / "webnlg/dev", tmp_path / "raw/dev")
    for path in sorted((tmp_path / "raw/dev").rglob("*.xml"), reverse=True):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    (tmp_path / "raw/dev/1triples/.hidden.xml").write_text("not data")
    one = prepare_corpus("webnlg", shared_data / "webnlg", tmp_path / "1").manifest["splits"]["valid"]
    two = prepare_corpus("webnlg", tmp_path / "raw", tmp_path / "2").manifest["splits"]["valid"]
    assert one == two


def test_the_sample_needs_no_raw_folder(tmp_path, capsys):
    assert main(["prepare", "sample", "--out", str(tmp_path)]) == 0
    assert "records, " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["corpus"] == "sample"
    assert manifest["not_found"] == []
    for split, entry in manifest["splits"].items():
        records = read_records(tmp_path / f"{split}.jsonl")
        assert entry["records"] == len(records) > 0
        assert entry["output"]["sha256"] == sha256_file(tmp_path / f"{split}.jsonl")
