"""SentencePiece vocabularies: lossless on any text, the end symbol out of reach, the same bytes every
time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import sentencepiece
import transformers
from hypothesis import example, given
from hypothesis import strategies as st

from lora_nlg.commands.train_tokenizer import main, training_texts
from lora_nlg.corpora.record import Record, write_records
from lora_nlg.errors import InputError
from lora_nlg.tokenizers import END_OF_TEXT, load_tokenizer
from lora_nlg.tokenizers.sentencepiece import PROBE, SentencePieceTokenizer, train_sentencepiece

TEXTS = [
    "the : boat | sails : now",
    *(f" the boat sails to the island at {hour} o'clock." for hour in range(200)),
]


@pytest.fixture(scope="module")
def tokenizer() -> SentencePieceTokenizer:
    return train_sentencepiece(TEXTS, 320)


@given(text=st.text(max_size=60))
@example("")
@example(" ")
@example("  two  spaces  ")
@example("a\u2581b")
@example("\x00\n\r\t\x85\u2028")
@example("<0x41> <unk> <|endoftext|>")
def test_any_text_comes_back_and_holds_no_end_symbol(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_id not in ids
    assert 0 not in ids, "the unknown symbol lost a character"


@given(left=st.text(max_size=20), right=st.text(max_size=20))
def test_context_and_completion_can_be_encoded_apart(tokenizer, left, right):
    assert tokenizer.decode(tokenizer.encode(left) + tokenizer.encode(" " + right)) == left + " " + right


def test_words_are_pieces_with_their_leading_space(tokenizer):
    assert len(tokenizer.encode(" the boat sails")) == 3
    assert tokenizer.encode(" the boat")[0] == tokenizer.encode("x the")[-1]
    assert tokenizer.encode("the") != tokenizer.encode(" the")


def test_special_ids(tokenizer):
    newline = tokenizer.encode("\n")
    assert tokenizer.end_ids == (tokenizer.eos_id, *newline)
    assert (tokenizer.vocab_size, tokenizer.name) == (320, "sentencepiece")
    ids = tokenizer.encode(" boat<|endoftext|> now", allow_special=True)
    assert ids == [*tokenizer.encode(" boat"), tokenizer.eos_id, *tokenizer.encode(" now")]
    assert tokenizer.decode(ids) == " boat now"


def test_the_same_texts_give_the_same_bytes(tokenizer):
    assert train_sentencepiece(TEXTS, 320).sha256 == tokenizer.sha256
    assert train_sentencepiece(TEXTS, 319).sha256 != tokenizer.sha256
    assert train_sentencepiece(TEXTS[:100], 319).sha256 != tokenizer.sha256


def test_saved_file_gives_the_same_tokenizer(tokenizer, tmp_path):
    path, twin, _ = tokenizer.save(tmp_path)
    for place in (tmp_path, path):
        loaded = load_tokenizer(place)
        assert loaded.sha256 == tokenizer.sha256
        assert loaded.encode(" the island é") == tokenizer.encode(" the island é")
    content = json.loads(twin.read_text())
    content["model"]["merges"].reverse()
    twin.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"tokenizer\.json is another vocabulary than the SentencePiece model beside it"
    ):
        load_tokenizer(tmp_path)


def test_transformers_reads_the_saved_vocabulary_and_gives_the_same_ids(tokenizer, tmp_path):
    """As a merged model's folder has it: AutoTokenizer beside a GPT-2's config.json."""
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (len(theirs), theirs.eos_token_id) == (tokenizer.vocab_size, tokenizer.eos_id)
    random = Random(0)
    texts = [
        PROBE.replace(END_OF_TEXT, ""),
        *("".join(random.choices("the islandé😀▁<0x41>  \n\t,.A", k=30)) for _ in range(500)),
    ]
    for text in texts:
        assert theirs.encode(text) == tokenizer.encode(text), text
        assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.encode(f"a{END_OF_TEXT}") == tokenizer.encode(f"a{END_OF_TEXT}", allow_special=True)


def test_a_vocabulary_without_an_equal_form_is_saved_alone(tmp_path, caplog):
    """A unigram model scores pieces by probability; its file stays the only one, and that is said."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" the island in the sea", " a sea of islands"] * 20), model_writer=model,
        model_type="unigram", vocab_size=290, hard_vocab_limit=False, add_dummy_prefix=False, minloglevel=2, unk_id=0,
        eos_id=1, bos_id=-1, pad_id=-1, eos_piece="<|endoftext|>", **IDENTITY,
    )  # fmt: skip
    files = SentencePieceTokenizer(model.getvalue()).save(tmp_path)
    assert [file.name for file in files] == ["sentencepiece.model"] and "transformers can't read" in caplog.text


def test_added_tokens_beside_a_model_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<H>": 9000}')
    with pytest.raises(InputError, match="comes with the added token '<H>', which SentencePiece doesn't know"):
        load_tokenizer(tmp_path)


IDENTITY = {"normalization_rule_name": "identity", "byte_fallback": True, "remove_extra_whitespaces": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hard_vocab_limit": False, "vocab_size": 60}, "does not give back"),
        (IDENTITY | {"add_dummy_prefix": True}, "does not give back"),
        (IDENTITY | {"add_dummy_prefix": False, "eos_id": -1}, "no end symbol"),
    ],
)
def test_models_that_change_text_are_refused(options, message):
    options = {"vocab_size": 330} | options
    size = options.pop("vocab_size")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.strip() for text in TEXTS),
        model_writer=model,
        vocab_size=size,
        model_type="bpe",
        minloglevel=2,
        **options,
    )
    with pytest.raises(InputError, match=message):
        SentencePieceTokenizer(model.getvalue())


def test_bad_input(tokenizer, tmp_path):
    (tmp_path / "x.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"x\.model is not a SentencePiece model"):
        load_tokenizer(tmp_path / "x.model")
    (tmp_path / "x.model").write_bytes(b"")
    with pytest.raises(InputError, match=r"x\.model"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="id 320 lies outside"):
        tokenizer.decode([320])
    with pytest.raises(InputError, match="id -1 lies outside"):
        tokenizer.decode([-1])
    with pytest.raises(InputError, match="lone surrogate"):
        tokenizer.encode("\udfff")
    with pytest.raises(InputError, match="no vocabulary of 100000 pieces from 201 lines of text: Vocabulary size"):
        train_sentencepiece(TEXTS, 100_000)
    with pytest.raises(InputError, match="no vocabulary of 100 pieces"):
        train_sentencepiece(TEXTS, 100)
    with pytest.raises(InputError, match="every line of the input is empty"):
        train_sentencepiece([" \n", ""], 300)


def test_training_texts_are_what_training_encodes(tmp_path):
    write_records(tmp_path / "a.jsonl", [Record("1", "to : Ona", ["We sail.", "Off to Ona."]), Record("2", "", ["x"])])
    assert list(training_texts(tmp_path / "a.jsonl")) == ["to : Ona", " We sail.", " Off to Ona.", " x"]
    (tmp_path / "a.txt").write_text("First line. \n\nSecond.\n")
    assert list(training_texts(tmp_path / "a.txt")) == [" First line.", " Second."]


def test_the_command(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    write_records(tmp_path / "b.jsonl", [Record(str(n), "", [text.strip()]) for n, text in enumerate(TEXTS)])
    inputs = ["--input", str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")]
    assert main([*inputs, "--vocab_size", "320", "--out", str(tmp_path / "out")]) == 0
    assert load_tokenizer(tmp_path / "out").vocab_size == 320
    with pytest.raises(InputError, match=r"no file .*absent\.txt"):
        main(["--input", str(tmp_path / "absent.txt"), "--vocab_size", "320", "--out", str(tmp_path)])
    with pytest.raises(InputError, match="vocab_size must be positive, got 0"):
        main([*inputs, "--vocab_size", "0", "--out", str(tmp_path)])


def test_the_command_line_ends_in_one_line(tmp_path):
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lora_nlg",
            "train-tokenizer",
            "--input",
            "absent",
            "--vocab_size",
            "9",
            "--out",
            "x",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "lora-nlg train-tokenizer: error: no file absent\n"
