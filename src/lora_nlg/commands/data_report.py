"""`lora-nlg data-report --data DIR…`: what prepared corpora hold, as a table, a plot and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.corpora.report import longest_lines, markdown_table, plot
from lora_nlg.corpora.statistics import Count, corpus_statistics, read_corpus
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, write_json
from lora_nlg.tokenizers.load import load_tokenizer


@dataclass
class DataReportArguments:
    """Files.

    Attributes:
        data: One or more folders that `lora-nlg prepare` wrote, holding train.jsonl, valid.jsonl, test.jsonl or some.
        out: Folder to write data_report.md, data_report.png and data_report.json to; none: print only.
        tokenizer: Vocabulary (folder or file) whose tokens lengths are counted in; blank-separated words without it.
        seq_len: The longest sequence training takes whole.
    """

    data: list[str]
    out: str | None = None
    tokenizer: str | None = None
    seq_len: int = 512

    def __post_init__(self) -> None:
        if not self.data:
            raise InputError("--data is empty: give one or more folders that `lora-nlg prepare` wrote")
        if self.seq_len < 1:
            raise InputError(f"--seq_len must be positive, got {self.seq_len}")


def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg data-report`; returns the exit status."""
    parsed = parse_arguments(
        "data-report",
        "Count what prepared corpora hold: records, lengths, references per context, overlaps, duplicates.",
        argv,
        DataReportArguments,
    )
    (arguments,) = parsed.groups
    corpora_records = {folder: read_corpus(folder) for folder in arguments.data}
    count, unit = _counter(arguments.tokenizer)
    names = _names(arguments.data)
    corpora = [
        corpus_statistics(names[folder], records, count, arguments.seq_len)
        for folder, records in tqdm(corpora_records.items(), desc="counting", unit="corpus", leave=False)
    ]
    text = "\n".join(
        [
            markdown_table(corpora, unit, arguments.seq_len),
            "",
            "A sequence is what goes through the model for one reference: context, separator, reference.",
            "Longest:",
            *longest_lines(corpora, unit),
        ]
    )
    print(text)
    if arguments.out is not None:
        out = Path(arguments.out)
        with atomic_write(out / "data_report.md") as file:
            file.write(f"# Data report\n\n{text}\n\n![lengths and references per context](data_report.png)\n")
        plot(out / "data_report.png", corpora, unit, arguments.seq_len)
        write_json(
            out / "data_report.json",
            {"unit": unit, "seq_len": arguments.seq_len, "corpora": [corpus.as_json() for corpus in corpora]},
        )
        print(f"written: {out}/data_report.{{md,png,json}}")
    return 0


def _counter(tokenizer: str | None) -> tuple[Count, str]:
    if tokenizer is None:
        return (lambda text: len(text.split())), "words"
    vocabulary = load_tokenizer(tokenizer)
    return (lambda text: len(vocabulary.encode(text))), "tokens"


def _names(folders: Sequence[str]) -> dict[str, str]:
    """The folders' own names where those differ, otherwise the paths as given."""
    names = {folder: Path(folder).resolve().name for folder in folders}
    return names if len(set(names.values())) == len(names) else {folder: folder for folder in folders}
