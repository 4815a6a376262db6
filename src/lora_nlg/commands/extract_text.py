"""`lora-nlg extract-text`: prepared corpora without their meaning representations, to pretrain a small base on.

A base pretrained on the domain's text alone knows its language but not the task: what LoRA then adds is the mapping
from a meaning representation to a text. Records keep their references and lose their context. Joining several texts
of one record into a paragraph lets a base learn to take up again what a text has said, as GPT-2 has from the web;
without it LoRA on q and v has nothing to build copying from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.corpora.record import Record, read_records, write_records
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file


@dataclass
class ExtractArguments:
    """Files."""

    input: list[str]
    """Prepared JSONL files."""
    out: str
    """JSONL file to write: the same records with empty contexts."""
    join: int = 1
    """Texts of one record put together as one paragraph."""

    def __post_init__(self) -> None:
        if self.join < 1:
            raise InputError(f"--join must be at least 1, got {self.join}")


def paragraphs(record: Record, join: int) -> list[str]:
    """A record's references, `join` at a time; the last paragraph may be shorter."""
    texts = record.references
    return [" ".join(texts[first : first + join]) for first in range(0, len(texts), join)]


def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg extract-text`; returns the exit status.

    Raises:
        InputError: an input is absent or not prepared, or no record has a reference.
    """
    description = "Write the references of prepared files without their contexts, to pretrain a base on."
    (arguments,) = parse_arguments("extract-text", description, argv, ExtractArguments).groups
    records = []
    for number, name in enumerate(arguments.input):
        path = existing_file(name, "--input")
        kept = [record for record in read_records(path) if record.references]
        # The file's number keeps ids unique across corpora.
        records += [
            replace(record, id=f"{number}-{record.id}", context="", references=paragraphs(record, arguments.join))
            for record in kept
        ]
        print(f"{path}: {sum(len(record.references) for record in kept):,} texts of {len(kept):,} records")
    if not records:
        raise InputError("no record has a reference; a base needs text to be trained on")
    write_records(arguments.out, records)
    print(f"written: {Path(arguments.out)}")
    return 0
