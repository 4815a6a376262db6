"""GPT-2's tokenizer against transformers' (5.23.0) on the real corpora and on arbitrary Unicode, and its
strictness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_nlg.errors import InputError
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.tokenizers.gpt2_bpe import GPT2Tokenizer


@pytest.fixture(scope="module")
def gpt2(shared_vocab: Path) -> Tokenizer:
    return load_tokenizer(shared_vocab)


@pytest.fixture(scope="module")
def reference(shared_vocab: Path):
    from transformers import GPT2Tokenizer as Reference

    return Reference(vocab=str(shared_vocab / "encoder.json"), merges=str(shared_vocab / "vocab.bpe"))


def tiny_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The 256 bytes, three merges worked by hand, and the end token last, as in GPT-2."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*sorted(ByteLevel.alphabet()), "th", "Ġth", "Ġthe", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}, [("t", "h"), ("Ġ", "th"), ("Ġth", "e")]


@pytest.fixture
def tiny() -> GPT2Tokenizer:
    return GPT2Tokenizer(*tiny_vocabulary())


def write_pair(folder: Path, vocabulary: dict[str, int], merges: str, names=("encoder.json", "vocab.bpe")) -> None:
    folder.mkdir(exist_ok=True)
    (folder / names[0]).write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / names[1]).write_text(merges, encoding="utf-8")


def corpus_lines(shared_data: Path, step: int) -> list[str]:
    files = ["e2e/valid.txt", "e2e/devset.csv", "webnlg/dev.json", "dart/dart-v1.1.1-full-test.xml"]
    texts = (shared_data / file for file in files)
    return [line for path in texts for line in path.read_text(encoding="utf-8").split("\n")[::step]]


def test_equals_transformers_on_the_corpora(gpt2, reference, shared_data):
    lines = corpus_lines(shared_data, step=29)
    assert len(lines) > 3000
    for line in lines:
        assert gpt2.encode(line) == reference.encode(line)
    assert sum(map(len, map(gpt2.encode, lines))) < 0.5 * sum(map(len, lines)), "merges were not applied"


@given(text=st.text(max_size=60))
def test_equals_transformers_on_any_text_and_comes_back(gpt2, reference, text):
    ids = gpt2.encode(text)
    assert ids == reference.encode(text, split_special_tokens=True)
    assert gpt2.decode(ids) == text


def test_the_known_ids(gpt2):
    # The ids that GPT-2's own encoder gives; 628 is the blank line on which the predecessor ends a
    # hypothesis.
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("\n\n") == [628]
    assert (gpt2.vocab_size, gpt2.eos_id, gpt2.end_ids) == (50257, 50256, (50256, 628))
    assert gpt2.name == "gpt2-bpe"


def test_the_end_token_comes_from_text_only_on_request(gpt2, reference):
    text = "a <|endoftext|> b<|endoftext|>"
    ordinary = gpt2.encode(text)
    assert gpt2.eos_id not in ordinary
    assert gpt2.decode(ordinary) == text
    special = gpt2.encode(text, allow_special=True)
    assert special == reference.encode(text)
    assert special.count(gpt2.eos_id) == 2
    assert gpt2.decode(special) == "a  b"


def test_worked_by_hand(tiny):
    vocabulary, _ = tiny_vocabulary()
    assert tiny.encode("the the") == [vocabulary[token] for token in ("th", "e", "Ġthe")]
    assert tiny.encode("") == []
    assert tiny.vocab_size == 260
    assert tiny.end_ids == (259,), "this vocabulary has no token for a blank line"
    # é is the bytes C3 A9; half of it is no character.
    assert tiny.decode(tiny.encode("é")) == "é"
    assert tiny.decode(tiny.encode("é")[:1]) == "\N{REPLACEMENT CHARACTER}"


def test_saved_files_give_the_same_tokenizer(tiny, tmp_path):
    files = tiny.save(tmp_path / "run")
    assert sorted(file.name for file in files) == ["merges.txt", "vocab.json"]
    again = load_tokenizer(tmp_path / "run")
    assert again.sha256 == tiny.sha256
    assert again.encode("the theé") == tiny.encode("the theé")
    assert load_tokenizer(tmp_path / "run" / "merges.txt").sha256 == tiny.sha256


def test_every_layout_is_the_same_vocabulary(tiny, tmp_path):
    vocabulary, merges = tiny_vocabulary()
    lines = [f"{a} {b}" for a, b in merges]
    write_pair(tmp_path / "openai", vocabulary, "#version: 0.2\n" + "\n".join(lines) + "\n")
    write_pair(tmp_path / "windows", vocabulary, "\r\n".join(lines) + "\r\n", ("vocab.json", "merges.txt"))
    for name, form in (("strings", lines), ("pairs", [list(merge) for merge in merges])):
        content = {
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
            "added_tokens": [{"content": "<|endoftext|>", "id": 259, "special": True}],
            "model": {"type": "BPE", "vocab": vocabulary, "merges": form},
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    for folder in ("openai", "windows", "strings", "pairs"):
        loaded = load_tokenizer(tmp_path / folder)
        assert loaded.sha256 == tiny.sha256, folder
        assert tiny.eos_id not in loaded.encode("<|endoftext|>"), folder


def test_one_changed_id_changes_the_hash(tiny):
    vocabulary, merges = tiny_vocabulary()
    vocabulary["th"], vocabulary["Ġth"] = vocabulary["Ġth"], vocabulary["th"]
    assert GPT2Tokenizer(vocabulary, merges).sha256 != tiny.sha256
    assert GPT2Tokenizer(tiny_vocabulary()[0], [merges[1], merges[0], merges[2]]).sha256 != tiny.sha256


def test_a_file_of_transformers_is_read(gpt2, reference, tmp_path):
    reference.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.sha256 == gpt2.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, m: v.pop("<|endoftext|>"), "no token <|endoftext|>"),
        (lambda v, m: v.update({"<|endoftext|>": 400}), "ids must be 0 to 259"),
        (lambda v, m: v.update({"<|endoftext|>": 258}), "ids must be 0 to 259"),
        (lambda v, m: v.update({"xyz": v.pop("Ġ")}), "not byte-level"),
        (lambda v, m: m.append(("q", "z")), "1 merges do not make a token .'q z'."),
    ],
)
def test_files_that_do_not_belong_together_are_refused(change, message):
    vocabulary, merges = tiny_vocabulary()
    change(vocabulary, merges)
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        GPT2Tokenizer(vocabulary, merges)


def test_bad_files_are_named(tmp_path):
    vocabulary, _ = tiny_vocabulary()
    write_pair(tmp_path, vocabulary, "t h\nĠ th e\n")
    with pytest.raises(InputError, match=r"vocab\.bpe, line 2: a merge is two tokens"):
        load_tokenizer(tmp_path)
    (tmp_path / "encoder.json").write_text('{"a": "b"}')
    with pytest.raises(InputError, match=r"encoder\.json is not a vocabulary"):
        load_tokenizer(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json is not JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "WordPiece", "vocab": {}}}, "WordPiece"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "Metaspace"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "puts a space"),
        ({"normalizer": {"type": "Lowercase"}}, "normalises text"),
    ],
)
def test_another_kind_of_tokenizer_json_is_refused(tmp_path, change, message):
    vocabulary, merges = tiny_vocabulary()
    content = {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_ids_and_surrogates_from_outside(tiny):
    with pytest.raises(InputError, match="id 260 lies outside the vocabulary of 260"):
        tiny.decode([5, 260])
    with pytest.raises(InputError, match="lone surrogate"):
        tiny.encode("a\ud800")
