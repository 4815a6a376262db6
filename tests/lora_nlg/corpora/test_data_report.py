"""`lora-nlg data-report`: numbers worked by hand, lengths as training sees them, and the real corpora."""

import json
import random

import pytest

from lora_nlg.__main__ import main
from lora_nlg.batching.examples import make_examples
from lora_nlg.corpora.prepare import prepare_corpus
from lora_nlg.corpora.record import Record, write_records
from lora_nlg.corpora.release import Reading
from lora_nlg.corpora.statistics import Spread, corpus_statistics, spread
from lora_nlg.tokenizers.load import load_tokenizer


def words(text):
    return len(text.split())


SMALL = {
    "train": [
        Record("a", "one two", ["x y z", "x y z"]),
        Record("b", "one two", ["x"]),
        Record("c", "three", []),
    ],
    "test": [Record("d", "one two", ["x", "w"]), Record("e", "four", ["v v v v v v"])],
}


def test_small_corpus_by_hand():
    found = corpus_statistics("small", SMALL, words, seq_len=5)
    train, test = found.splits["train"], found.splits["test"]
    assert (train.records, train.references, train.contexts, train.unreferenced) == (3, 3, 2, 1)
    assert (train.repeated_contexts, train.repeated_pairs) == (1, 1)
    assert train.references_per_context == Spread(0, 1.5, 0, 3, 3)
    assert train.context_lengths == Spread(1, 5 / 3, 2, 2, 2)
    assert train.reference_lengths == Spread(1, 7 / 3, 3, 3, 3)
    # context + separator + reference: 2+1+3 twice, 2+1+1 once.
    assert found.sequence_lengths["train"] == [6, 6, 4]
    assert train.over_seq_len == 2
    assert train.longest == [(6, "a"), (4, "b")]
    assert test.shared_contexts == {"train": 1}
    assert test.shared_pairs == {"train": 1}
    assert train.shared_contexts == {"test": 1}
    assert test.longest == [(8, "e"), (4, "d")]


def test_spread_is_nearest_rank():
    numbers = list(range(1, 101))
    random.Random(1).shuffle(numbers)
    assert spread(numbers) == Spread(1, 50.5, 50, 95, 100)
    assert spread([7]) == Spread(7, 7.0, 7, 7, 7)
    assert spread([]) is None


def test_lengths_are_those_training_sees(shared_data, shared_vocab, tmp_path):
    prepare_corpus("dart", shared_data / "dart", tmp_path, Reading(form="xml"))
    tokenizer = load_tokenizer(shared_vocab)
    from lora_nlg.corpora.record import read_records

    records = read_records(tmp_path / "test.jsonl")[:300]
    found = corpus_statistics("dart", {"test": records}, lambda text: len(tokenizer.encode(text)), 60)
    examples = make_examples(records, tokenizer, seq_len=1024)
    assert found.sequence_lengths["test"] == [example.n_inputs for example in examples]
    assert found.splits["test"].over_seq_len == sum(example.n_inputs > 60 for example in examples) > 0


@pytest.fixture(scope="module")
def prepared(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    for corpus in ("e2e", "webnlg", "dart"):
        prepare_corpus(corpus, shared_data / corpus, out / corpus)
    return out


def test_the_three_corpora(prepared, tmp_path, capsys):
    folders = [str(prepared / corpus) for corpus in ("e2e", "webnlg", "dart")]
    assert main(["data-report", "--data", *folders, "--out", str(tmp_path), "--seq_len", "100"]) == 0
    shown = capsys.readouterr().out
    report = json.loads((tmp_path / "data_report.json").read_text())
    assert (report["unit"], report["seq_len"]) == ("words", 100)
    found = {corpus["name"]: corpus["splits"] for corpus in report["corpora"]}
    counts = {
        (corpus, split): tuple(statistics[key] for key in ("records", "references", "contexts"))
        for corpus, splits in found.items()
        for split, statistics in splits.items()
    }
    assert counts == {
        ("e2e", "train"): (4862, 42061, 4862),
        ("e2e", "valid"): (547, 4672, 547),
        ("e2e", "test"): (630, 4693, 630),
        ("webnlg", "train"): (6935, 18025, 6888),
        ("webnlg", "valid"): (871, 2258, 870),
        ("webnlg", "test"): (1862, 4928, 1862),
        ("dart", "valid"): (2768, 6980, 2721),
        ("dart", "test"): (5097, 12551, 4159),
    }
    # E2E's splits share no meaning representation; ten of WebNLG's test contexts stand in its training set.
    assert found["e2e"]["test"]["shared_contexts"] == {"train": 0, "valid": 0}
    assert found["webnlg"]["test"]["shared_contexts"]["train"] == 10
    assert "42,061" in shown
    markdown = (tmp_path / "data_report.md").read_text()
    assert shown.splitlines()[0] in markdown
    assert (tmp_path / "data_report.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_written_without_out(tmp_path, capsys):
    write_records(tmp_path / "small/train.jsonl", SMALL["train"])
    before = sorted(tmp_path.rglob("*"))
    assert main(["data-report", "--data", str(tmp_path / "small")]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "| records " in capsys.readouterr().out


def test_corpora_without_references_and_equal_names(tmp_path, capsys):
    for folder in ("a/x", "b/x"):
        write_records(tmp_path / folder / "test.jsonl", [Record("1", "name : A", [])])
    folders = [str(tmp_path / folder) for folder in ("a/x", "b/x")]
    assert main(["data-report", "--data", *folders, "--out", str(tmp_path / "out")]) == 0
    assert f"{folders[1]} test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "no folder nowhere"),
        (["--data", "."], "holds none of train.jsonl, valid.jsonl, test.jsonl; run `lora-nlg prepare`"),
        (["--data", "small", "--seq_len", "0"], "--seq_len must be positive"),
        (["--data", "small", "--tokenizer", "nowhere"], "no vocabulary at nowhere"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    write_records(tmp_path / "small/train.jsonl", SMALL["train"])
    monkeypatch.chdir(tmp_path)
    assert main(["data-report", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
