"""Find out which vocabulary a path holds and read it."""

from __future__ import annotations

from pathlib import Path

from lora_nlg.errors import InputError
from lora_nlg.tokenizers.added_tokens import TOKENIZER_JSON
from lora_nlg.tokenizers.base import Tokenizer, show
from lora_nlg.tokenizers.gpt2_bpe import read_pair, read_tokenizer_json
from lora_nlg.tokenizers.sentencepiece import read_model

PAIRS = {"encoder.json": "vocab.bpe", "vocab.json": "merges.txt"}
"""GPT-2's vocabulary file → the file of merges that belongs to it."""

ALLOWED = "encoder.json + vocab.bpe, vocab.json + merges.txt, tokenizer.json (GPT-2), or one SentencePiece *.model"


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a vocabulary from its folder or from one of its files.

    Args:
        path: a folder (a vocabulary's, a Hugging Face model's, a run directory) or a file: either of GPT-2's
            two files, a `tokenizer.json`, or a SentencePiece `.model`.

    Returns:
        The tokenizer. Where a folder has both GPT-2's pair of files and a `tokenizer.json`, they must agree.

    Raises:
        InputError: nothing there, no vocabulary or more than one kind in the folder, or a file that is not
            what its name says; the message names what was found and what is allowed.
    """
    path = Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise InputError(f"no vocabulary at {path}; give a folder or file with {ALLOWED}")
    for vocabulary, merges in PAIRS.items():
        if path.name in (vocabulary, merges):
            return _pair(path.parent / vocabulary, path.parent / merges)
    if path.suffix == ".model":
        return read_model(path)
    if path.suffix == ".json":
        return read_tokenizer_json(path)
    raise InputError(f"{path} is not a vocabulary this project reads; allowed: {ALLOWED}")


def _from_folder(folder: Path) -> Tokenizer:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    pairs = [pair for pair in PAIRS.items() if pair[0] in names or pair[1] in names]
    models = [name for name in names if name.endswith(".model")]
    if len(models) > 1 or (models and pairs):
        kinds = [*models, *(name for pair in pairs for name in pair if name in names)]
        raise InputError(f"{folder} holds more than one vocabulary ({show(kinds)}); give the file itself")
    if models:
        return read_model(folder / models[0])
    if pairs:
        vocabulary, merges = pairs[0]
        tokenizer = _pair(folder / vocabulary, folder / merges)
        if TOKENIZER_JSON in names and read_tokenizer_json(folder / TOKENIZER_JSON).sha256 != tokenizer.sha256:
            raise InputError(
                f"{folder} holds two vocabularies: {TOKENIZER_JSON} is another than {vocabulary} with {merges}; delete "
                "the wrong one, or give the file itself"
            )
        return tokenizer
    if TOKENIZER_JSON in names:
        return read_tokenizer_json(folder / TOKENIZER_JSON)
    found = show(names) if names else "nothing"
    raise InputError(f"no vocabulary in {folder} (found {found}); allowed: {ALLOWED}")


def _pair(vocabulary: Path, merges: Path) -> Tokenizer:
    for file, other in ((vocabulary, merges), (merges, vocabulary)):
        if not file.is_file():
            raise InputError(f"{other} needs {file.name} beside it; GPT-2's vocabulary is both files")
    return read_pair(vocabulary, merges)
