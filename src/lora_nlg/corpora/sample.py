"""The built-in sample: boat trips of a made-up archipelago as a data-to-text corpus (synthetic, see data/sample).

`python -m lora_nlg.corpora.sample --out DIR` writes the corpus and the pretraining text from a seed; the committed
files in data/sample are what seed 1 gives, and `lora-nlg prepare sample` reads those.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from lora_nlg.corpora.record import Record, read_records, write_records
from lora_nlg.corpora.sample_grammar import SLOTS, Dice, Facts, describe
from lora_nlg.corpora.sample_prose import paragraph
from lora_nlg.errors import InputError

SEED = 1
"""The seed of the committed files."""

FOLDER = Path(__file__).resolve().parents[3] / "data" / "sample"
"""The committed files, in a clone of the project."""

SIZES = {"train": (1200, 3, 3), "valid": (100, 4, 4), "test": (120, 4, 6)}
"""Split → meanings, and the least and the most references of each."""

PRETRAIN_PARAGRAPHS = 30_000

HELD_OUT_PAIRS = (("from", "to"), ("vessel", "on board"), ("name", "sights"))
"""Pairs of slots of which every sixth combination of values is kept for the test set."""


def is_held_out(facts: Facts) -> bool:
    """Whether a meaning combines values that only the test set may combine."""
    return any(
        zlib.crc32(f"{facts[one]} & {facts[other]}".encode()) % 6 == 0
        for one, other in HELD_OUT_PAIRS
        if one in facts and other in facts
    )


def linearise(facts: Facts) -> str:
    """The context of a meaning, in E2E's form: `name : Grey Heron | from : Saltmouth | …`."""
    return " | ".join(f"{slot} : {value}" for slot, value in facts.items())


def sample_facts(dice: Dice, fewest: int, most: int) -> Facts:
    """Draw a meaning that the training set may hold.

    Args:
        dice: the stream of choices.
        fewest, most: bounds on the number of slots beside the name.
    """
    while True:
        facts = _any_facts(dice, fewest, most)
        if not is_held_out(facts):
            return facts


def _any_facts(dice: Dice, fewest: int, most: int) -> Facts:
    others = dice.shuffled(slot for slot in SLOTS if slot != "name")
    chosen = {"name", *others[: dice.number(fewest, most)]}
    return {slot: dice.pick(values) for slot, values in SLOTS.items() if slot in chosen}


def generate_splits(seed: int = SEED) -> dict[str, list[Record]]:
    """Generate the corpus.

    Args:
        seed: the same number gives the same corpus, whatever the machine and the Python. Default: that of the
            committed files.

    Returns:
        `train`, `valid` and `test`, no context in two of them. Every value occurs in training, but every test
        meaning holds at least one pair of values (`HELD_OUT_PAIRS`) that training never combines.
    """
    used: set[str] = set()
    splits = {}
    for split, (n_meanings, fewest, most) in SIZES.items():
        dice = Dice(f"{seed} {split}")
        records: list[Record] = []
        while len(records) < n_meanings:
            facts = _any_facts(dice, 2, 5)
            context = linearise(facts)
            if context in used or is_held_out(facts) != (split == "test"):
                continue
            used.add(context)
            references = _distinct_texts(facts, dice, dice.number(fewest, most))
            if len(references) < fewest:
                continue
            records.append(Record(f"sample-{split}-{len(records) + 1}", context, references))
        splits[split] = records
    return splits


def _distinct_texts(facts: Facts, dice: Dice, count: int) -> list[str]:
    """Up to `count` different texts; fewer where the grammar soon repeats itself, as for a boat with two slots."""
    texts: list[str] = []
    for _ in range(10 * count):
        text = describe(facts, dice)
        if text not in texts and len(texts) < count:
            texts.append(text)
    return texts


def generate_prose(seed: int = SEED, paragraphs: int = PRETRAIN_PARAGRAPHS) -> list[Record]:
    """Generate text of the same world to pretrain on: records with an empty context and one paragraph each."""
    dice = Dice(f"{seed} prose")
    return [
        Record(f"sample-prose-{number}", "", [paragraph(sample_facts, dice)]) for number in range(1, paragraphs + 1)
    ]


def sample_splits(folder: str | Path = FOLDER) -> dict[str, list[Record]]:
    """Read the committed sample.

    Args:
        folder: where it lies. Default: data/sample of the clone this file is in.

    Returns:
        The records of `train`, `valid` and `test`.

    Raises:
        InputError: a file is absent (the package was installed without its clone) or damaged.
    """
    if absent := [split for split in SIZES if not (Path(folder) / f"{split}.jsonl").is_file()]:
        raise InputError(
            f"no {absent[0]}.jsonl in {folder}: run from a clone of the project, or write the same files with "
            f"`python -m lora_nlg.corpora.sample --out DIR`"
        )
    return {split: read_records(Path(folder) / f"{split}.jsonl") for split in SIZES}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus and the pretraining text; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lora_nlg.corpora.sample",
        description="Generate the built-in sample: {train,valid,test}.jsonl and pretrain.jsonl, all synthetic.",
    )
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s, the committed sample's")
    parser.add_argument(
        "--paragraphs",
        type=int,
        default=PRETRAIN_PARAGRAPHS,
        help="paragraphs of pretraining text, 0 for none; default: %(default)s",
    )
    arguments = parser.parse_args(argv)
    if arguments.paragraphs < 0:
        parser.error(f"--paragraphs must not be negative, got {arguments.paragraphs}")
    files: dict[str, list[Record]] = generate_splits(arguments.seed)
    if arguments.paragraphs:
        files["pretrain"] = generate_prose(arguments.seed, arguments.paragraphs)
    for name, records in files.items():
        path = Path(arguments.out) / f"{name}.jsonl"
        texts = sum(len(record.references) for record in records)
        write_records(path, records)
        print(f"{path}: {len(records)} records, {texts} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
