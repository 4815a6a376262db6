"""The built-in sample: reproducible byte for byte, faithful to its meanings, and with something new to say in
the test."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lora_nlg.batching import make_batch, make_examples
from lora_nlg.corpora.record import Record, read_records
from lora_nlg.corpora.sample import (
    FOLDER,
    HELD_OUT_PAIRS,
    SIZES,
    generate_prose,
    generate_splits,
    is_held_out,
    linearise,
    main,
    sample_facts,
    sample_splits,
)
from lora_nlg.corpora.sample_grammar import SLOTS, SPOKEN_TIMES, Dice, Facts, article, describe
from lora_nlg.errors import InputError
from lora_nlg.gpt2.attention import FlatAttention
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.base import load_base


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Record]]:
    return sample_splits()


def facts_of(record: Record) -> Facts:
    return dict(part.split(" : ") for part in record.context.split(" | "))  # type: ignore[misc]


def says(text: str, slot: str, value: str) -> bool:
    """Whether a text says a slot's value, judged by words that only this slot's phrases have."""
    if slot == "departs":
        return value in text or SPOKEN_TIMES[value] in text
    if slot == "dogs":
        refused = any(mark in text for mark in ("not allowed", "ashore", "not bring", "does not take", "no place"))
        return "dog" in text.lower() and refused == (value == "no")
    if value == "free":
        return any(phrase in text for phrase in ("free", "no fare"))
    return value in text


def test_the_committed_files_are_what_the_seed_gives(tmp_path):
    # In a process of its own, with another hash seed: nothing may depend on the order of a set.
    subprocess.run(
        [sys.executable, "-m", "lora_nlg.corpora.sample", "--out", str(tmp_path), "--paragraphs", "3"],
        check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src"), "PYTHONHASHSEED": "7"},
        capture_output=True,
    )
    for split in SIZES:
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (FOLDER / f"{split}.jsonl").read_bytes(), split
    assert read_records(tmp_path / "pretrain.jsonl") == generate_prose(paragraphs=3)


def test_another_seed_is_another_corpus(splits):
    other = generate_splits(seed=2)
    assert {split: len(records) for split, records in other.items()} == {s: size[0] for s, size in SIZES.items()}
    contexts = {record.context for record in splits["train"]}
    assert len(contexts & {record.context for record in other["train"]}) < 20


def test_sizes_and_references(splits):
    for split, (count, fewest, most) in SIZES.items():
        assert len(splits[split]) == count
        for record in splits[split]:
            assert fewest <= len(record.references) <= most
            assert len(set(record.references)) == len(record.references)
    assert min(SIZES["test"][1:]) >= 3


def test_the_test_set_combines_what_training_never_does(splits):
    contexts = {split: {record.context for record in records} for split, records in splits.items()}
    for one, other in itertools.combinations(contexts, 2):
        assert not contexts[one] & contexts[other]

    def pairs(split: str) -> list[set[tuple[str, ...]]]:
        meanings = [facts_of(record) for record in splits[split]]
        return [
            {(a, b, facts[a], facts[b]) for a, b in HELD_OUT_PAIRS if a in facts and b in facts} for facts in meanings
        ]

    trained = set().union(*pairs("train"), *pairs("valid"))
    assert all(combined - trained for combined in pairs("test"))
    values = {(slot, value) for record in splits["train"] for slot, value in facts_of(record).items()}
    assert values == {(slot, value) for slot, all_values in SLOTS.items() for value in all_values}


def test_every_reference_says_its_whole_meaning_and_nothing_else(splits):
    for record in itertools.chain.from_iterable(splits.values()):
        facts = facts_of(record)
        for text in record.references:
            for slot, value in facts.items():
                assert says(text, slot, value), (record.id, slot, text)
            for slot in SLOTS.keys() - facts.keys():
                assert not any(says(text, slot, value) for value in SLOTS[slot]), (record.id, slot, text)


def test_prose_holds_no_meaning_representation_and_no_held_out_pair():
    prose = generate_prose(paragraphs=400)
    assert all(record.context == "" and len(record.references) == 1 for record in prose)
    text = "\n".join(record.references[0] for record in prose)
    assert " : " not in text and " | " not in text
    for values in SLOTS.values():
        assert all(value in text for value in values if value not in ("yes", "no"))
    dice = Dice("test")
    assert not any(is_held_out(sample_facts(dice, 2, 6)) for _ in range(500))


def test_paraphrases_differ_and_read_well():
    facts = {"name": "Foxglove", "vessel": "old trawler", "from": "Wrenport", "to": "Ravensey", "fare": "free"}
    dice = Dice("test")
    texts = {describe(facts, dice) for _ in range(200)}
    assert len(texts) > 40
    for text in texts:
        assert text[0].isupper() and text.endswith(".") and "  " not in text and ".." not in text
        assert "a old" not in text and "{}" not in text
    assert describe({"name": "Foxglove", "dogs": "no"}, Dice("1")) in {
        "The Foxglove does not take dogs.",
        "The Foxglove is no place for dogs.",
    }
    assert (article("old trawler"), article("tall ship")) == ("an old trawler", "a tall ship")


def test_choices_are_the_same_on_every_python():
    # Python promises the numbers of Random(text).random(); these are the first three of Random("sample").
    dice = Dice("sample")
    assert [dice.number(0, 999) for _ in range(3)] == [735, 666, 502]
    assert dice.prefer(["only"]) == "only"
    counts = [0, 0]
    for _ in range(3000):
        counts[dice.prefer([0, 1])] += 1
    assert 1900 < counts[0] < 2100, "the first option should come twice as often as the second"
    assert sorted(dice.shuffled(range(9))) == list(range(9))


def test_context_form():
    assert linearise({"name": "Sparrow", "on board": "a sun deck"}) == "name : Sparrow | on board : a sun deck"


def test_the_committed_vocabulary_fits(splits):
    tokenizer = load_tokenizer(FOLDER / "base")
    assert tokenizer.vocab_size == 1024
    for record in splits["test"]:
        for text in (record.context, *(f" {reference}" for reference in record.references)):
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert len(ids) < 64


def test_the_committed_base_knows_the_language_and_not_the_task(splits):
    model = load_base(FOLDER / "base")
    tokenizer = load_tokenizer(FOLDER / "base")
    assert model.config.vocab_size == tokenizer.vocab_size
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 8_000_000

    def loss(records: list[Record], objective: str) -> float:
        batch = make_batch(make_examples(records, tokenizer, model.config.n_positions, objective))
        with torch.no_grad():
            hidden = model(batch.tokens, batch.positions, FlatAttention(batch.lengths))
            return float(F.cross_entropy(model.logits(hidden[batch.target_rows]), batch.targets))

    prose = generate_prose(seed=5, paragraphs=24)
    contexts = [Record(record.id, "", [record.context]) for record in splits["test"][:24]]
    assert loss(prose, "jlm") < 0.8 < 4 < loss(contexts, "jlm")
    # A reference after its own context is hardly likelier than after another's.
    pairs = [Record(r.id, r.context, r.references[:1]) for r in splits["test"][:24]]
    others = [Record(p.id, q.context, p.references) for p, q in zip(pairs, pairs[1:] + pairs[:1], strict=True)]
    assert loss(pairs, "clm") > 0.8 * loss(others, "clm")


def test_absent_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no train\.jsonl in .*: run from a clone"):
        sample_splits(tmp_path)


def test_the_module_says_what_it_wrote(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--seed", "3", "--paragraphs", "0"]) == 0
    assert f"{tmp_path / 'train.jsonl'}: 1200 records, 3600 texts" in capsys.readouterr().out
    assert not (tmp_path / "pretrain.jsonl").exists()
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--paragraphs", "-1"])
