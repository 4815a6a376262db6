"""Vocabularies with added tokens, against transformers on the same folder; files of another shape, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, pre_tokenizers

from lora_nlg.errors import InputError
from lora_nlg.tokenizers import load_tokenizer

END = "<|endoftext|>"
TEXTS = [
    "<H> Aarhus <R> cityServed <T> Denmark", "<H><R>", "a <mask> b", "x<H>y", "New York, New Yorks", "the <pad>the",
    "thing the<T>", "", "<h> <H", "é <H>\n\n",
]  # fmt: skip


def model() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "Ġth", "Ġthe", END]
    return {token: index for index, token in enumerate(tokens)}, [("t", "h"), ("Ġ", "th"), ("Ġth", "e")]


def write_pair(folder: Path) -> Path:
    vocabulary, merges = model()
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return folder


def write_json_form(folder: Path, **changes: Any) -> Path:
    vocabulary, merges = model()
    folder.mkdir(exist_ok=True)
    content = {
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [list(pair) for pair in merges]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content | changes))
    return folder


@pytest.fixture
def fine_tuned(tmp_path: Path) -> Path:
    """A vocabulary to which a script added tokens of every kind, saved by transformers."""
    write_pair(tmp_path / "plain")
    tokenizer = transformers.GPT2Tokenizer.from_pretrained(tmp_path / "plain")
    tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<H>", "<R>", "<T>"]})
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True), AddedToken("New York", single_word=True)])
    tokenizer.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_text_that_spells_an_added_token_is_encoded_as_transformers_does(fine_tuned: Path) -> None:
    ours, theirs = load_tokenizer(fine_tuned), transformers.AutoTokenizer.from_pretrained(fine_tuned)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text), text
    assert ours.vocab_size == len(theirs) == 260 + 6
    assert ours.encode("<H>") == [261] and ours.decode(ours.encode("a<H> b")) == "a<H> b"
    assert ours.eos_id not in ours.encode(END), "the end token is still no text's"
    assert ours.encode(f"<H>{END}", allow_special=True) == [261, ours.eos_id]


def test_the_four_files_of_older_transformers(tmp_path: Path) -> None:
    folder = write_pair(tmp_path)
    (folder / "added_tokens.json").write_text(json.dumps({"<H>": 260, "New York": 261, "<pad>": 262}))
    special = {"pad_token": "<pad>", "eos_token": {"content": END}, "additional_special_tokens": ["<H>"]}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text), text
    assert ours.encode("<H> New York") == [260, ours.encode(" ")[0], 261]
    assert ours.sha256 != load_tokenizer(write_pair(tmp_path / "plain")).sha256


def test_saved_and_read_again(fine_tuned: Path, tmp_path: Path) -> None:
    ours = load_tokenizer(fine_tuned)
    assert [path.name for path in ours.save(tmp_path / "run")] == ["tokenizer.json", "tokenizer_config.json"]
    again, theirs = load_tokenizer(tmp_path / "run"), transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    assert again.sha256 == ours.sha256
    for text in TEXTS:
        assert again.encode(text) == ours.encode(text) == theirs.encode(text), text
    assert theirs.eos_token_id == ours.eos_id


def test_one_flag_is_another_vocabulary(tmp_path: Path) -> None:
    token = {"content": "<H>", "id": 260, "special": True}
    plain = load_tokenizer(write_json_form(tmp_path / "a", added_tokens=[token]))
    other = load_tokenizer(write_json_form(tmp_path / "b", added_tokens=[{**token, "lstrip": True}]))
    assert plain.encode("a <H>") != other.encode("a <H>") and plain.sha256 != other.sha256


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("added_tokens.json", ["<H>"], "holds no JSON object"),
        ("added_tokens.json", {"<H>": "260"}, "'<H>' needs an id"),
        ("added_tokens.json", {"<H>": 300}, "the 261 ids must be 0 to 260"),
        ("added_tokens.json", {"th": 260}, "contradicts the other files about the added token 'th'"),
        ("special_tokens_map.json", {"pad_token": "<pad>"}, "special token '<pad>', of which no file beside it says"),
        ("special_tokens_map.json", {"pad_token": 3}, "pad_token must name tokens, got 3"),
        ("special_tokens_map.json", {"additional_special_tokens": "<H>"}, "must be a list of tokens"),
        ("tokenizer_config.json", {"pad_token": "<pad>"}, "special token '<pad>', of which no file beside it says"),
        ("tokenizer_config.json", {"add_prefix_space": True}, "add_prefix_space"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, None),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}, "must map ids to tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "<H>"}}}, "'<H>' needs an id"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"260": "<H>"}}, "must say its content"),
        ("tokenizer_config.json", 7, "holds no JSON object"),
    ],
)
def test_files_beside_the_pair(tmp_path: Path, name: str, value: object, message: str | None) -> None:
    folder = write_pair(tmp_path)
    (folder / name).write_text(json.dumps(value))
    if message is None:
        assert load_tokenizer(folder).vocab_size == 260
        return
    with pytest.raises(InputError, match=message) as error:
        load_tokenizer(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"added_tokens": {"<H>": 260}}, {"added_tokens": ["<H>"]}, {"added_tokens": [{"content": 3, "id": 260}]},
        {"added_tokens": [{"content": "<H>", "id": "260"}]}, {"added_tokens": [{"content": "<H>"}]},
        {"added_tokens": [{"content": "<H>", "id": 260, "lstrip": 1}]}, {"added_tokens": 5},
        {"pre_tokenizer": [1]}, {"pre_tokenizer": "ByteLevel"}, {"pre_tokenizer": {"type": ["ByteLevel"]}},
        {"model": None}, {"model": []}, {"model": {"vocab": []}}, {"model": {"vocab": {"a": 0}}},
        {"normalizer": "NFC"},
        *({"model": {"vocab": model()[0], "merges": model()[1]} | wrong} for wrong in (
            {"merges": {"t": "h"}}, {"merges": None}, {"merges": "t h"}, {"merges": [[1, 2]]}, {"merges": [["t"]]},
            {"merges": [None]}, {"merges": ["t h x"]}, {"vocab": {"a": "b"}}, {"vocab": {**model()[0], "th": True}},
            {"vocab": {**model()[0], "th": -1}}, {"vocab": 3}, {"dropout": 0.1}, {"ignore_merges": True},
            {"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}, {"byte_fallback": True},
        )),
    ],
    ids=lambda value: str(value)[-40:],
)  # fmt: skip
def test_a_tokenizer_json_of_another_shape_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json") as error:
        load_tokenizer(write_json_form(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_merges_cut_at_a_line_end_are_refused(tmp_path: Path) -> None:
    merges = write_pair(tmp_path) / "merges.txt"
    merges.write_text("".join(merges.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"no merge makes 1 of the tokens .'Ġthe'.*merges was cut short"):
        load_tokenizer(tmp_path)


def test_two_vocabularies_in_one_folder(tmp_path: Path) -> None:
    write_pair(write_json_form(tmp_path))
    assert load_tokenizer(tmp_path).vocab_size == 260
    vocabulary, merges = model()
    vocabulary["th"], vocabulary["Ġth"] = vocabulary["Ġth"], vocabulary["th"]
    write_json_form(tmp_path, model={"type": "BPE", "vocab": vocabulary, "merges": merges})
    with pytest.raises(InputError, match=r"holds two vocabularies: tokenizer\.json is another than vocab\.json"):
        load_tokenizer(tmp_path)
