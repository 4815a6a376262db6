"""`lora-nlg train-tokenizer`: a SentencePiece vocabulary from text files or prepared JSONL."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.corpora.record import read_records
from lora_nlg.errors import InputError
from lora_nlg.files import read_text
from lora_nlg.tokenizers.sentencepiece import train_sentencepiece

log = logging.getLogger(__name__)


@dataclass
class TokenizerArguments:
    """The vocabulary to train."""

    input: list[str]
    """Files to train on, one after another: prepared JSONL (contexts and references), or text, one sentence
    or paragraph a line."""
    vocab_size: int
    """Number of token ids; 256 of them are bytes, so at least about 350."""
    out: str
    """Folder that receives sentencepiece.model."""

    def __post_init__(self) -> None:
        if not self.input:
            raise InputError("--input: no file given")
        if self.vocab_size < 1:
            raise InputError(f"--vocab_size must be positive, got {self.vocab_size}")


def main(argv: Sequence[str]) -> int:
    """Train the vocabulary and write it; returns the exit status."""
    parsed = parse_arguments(
        "train-tokenizer",
        "Train a SentencePiece vocabulary in which every text comes back as it was, byte for byte.",
        argv,
        TokenizerArguments,
    )
    arguments: TokenizerArguments = parsed.groups[0]
    texts = [text for path in arguments.input for text in training_texts(path)]
    tokenizer = train_sentencepiece(texts, arguments.vocab_size)
    path, *_ = tokenizer.save(arguments.out)
    log.info("%d pieces from %d texts: %s", tokenizer.vocab_size, len(texts), path)
    return 0


def training_texts(path: str | Path) -> Iterator[str]:
    """The texts of a file as training will encode them.

    A `.jsonl` file gives its contexts as they stand and its references with the space that stands before a
    completion; any other file is text, and each line that is not empty is taken for a completion.

    Raises:
        InputError: the file is absent, not UTF-8, or not what its name says.
    """
    if Path(path).suffix == ".jsonl":
        for record in read_records(path):
            if record.context:
                yield record.context
            for reference in record.references:
                yield " " + reference
        return
    for line in read_text(path).split("\n"):
        if line.strip():
            yield " " + line.strip()
