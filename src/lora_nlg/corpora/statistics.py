"""What a prepared corpus holds: counts, lengths, references per context, overlaps and duplicates.

Lengths are of the sequences training sees, context + separator + " " + reference, so that they can be held against
`--seq_len`; without a vocabulary they are counted in blank-separated words.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_nlg.corpora.record import Record, read_records
from lora_nlg.corpora.release import SPLITS
from lora_nlg.errors import InputError

Count = Callable[[str], int]
"""Text → its number of tokens (or words)."""


@dataclass(frozen=True)
class Spread:
    """Smallest, mean, median, 95th percentile and largest of some numbers."""

    least: int
    mean: float
    median: int
    p95: int
    most: int


def spread(numbers: Iterable[int]) -> Spread | None:
    """Summarise numbers; percentiles are numbers that occur (nearest rank). None if there are none."""
    ordered = sorted(numbers)
    if not ordered:
        return None

    def rank(percent: int) -> int:
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

    return Spread(ordered[0], sum(ordered) / len(ordered), rank(50), rank(95), ordered[-1])


@dataclass(frozen=True)
class SplitStatistics:
    """One split.

    Attributes:
        records, references, contexts: how many (contexts: distinct).
        unreferenced: records without any reference.
        references_per_context: references of equal contexts pooled.
        context_lengths: over records.
        reference_lengths: over references.
        sequence_lengths: over references: what goes through the model for each.
        over_seq_len: sequences longer than `--seq_len`, which training would cut.
        longest: `(length, record id)` of the longest sequences, longest first.
        shared_contexts: split → how many of this split's distinct contexts also occur there.
        shared_pairs: split → how many of this split's distinct (context, reference) pairs also occur there.
        repeated_contexts: records whose context an earlier record had.
        repeated_pairs: references that repeat one of the same context, word for word.
    """

    records: int
    references: int
    contexts: int
    unreferenced: int
    references_per_context: Spread | None
    context_lengths: Spread | None
    reference_lengths: Spread | None
    sequence_lengths: Spread | None
    over_seq_len: int
    longest: list[tuple[int, str]]
    shared_contexts: dict[str, int]
    shared_pairs: dict[str, int]
    repeated_contexts: int
    repeated_pairs: int


@dataclass(frozen=True)
class CorpusStatistics:
    """All splits of one folder, with the numbers a plot needs.

    Attributes:
        name: the folder's name.
        splits: split → its statistics.
        sequence_lengths, references_per_context: split → every single number.
    """

    name: str
    splits: dict[str, SplitStatistics]
    sequence_lengths: dict[str, list[int]]
    references_per_context: dict[str, list[int]]

    def as_json(self) -> dict[str, Any]:
        """The statistics without the single numbers."""
        return {"name": self.name, "splits": {split: asdict(found) for split, found in self.splits.items()}}


def read_corpus(folder: str | Path) -> dict[str, list[Record]]:
    """The prepared splits in a folder.

    Raises:
        InputError: no folder, or no prepared split in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"no folder {folder}; `lora-nlg prepare` makes it")
    found = {split: Path(folder) / f"{split}.jsonl" for split in SPLITS}
    records = {split: read_records(path) for split, path in found.items() if path.is_file()}
    if not records:
        raise InputError(
            f"{folder} holds none of {', '.join(path.name for path in found.values())}; run `lora-nlg prepare`"
        )
    return records


def corpus_statistics(name: str, records: dict[str, list[Record]], count: Count, seq_len: int) -> CorpusStatistics:
    """Count everything about a corpus.

    Args:
        name: what to call it.
        records: split → its records.
        count: text → its length.
        seq_len: the longest sequence training takes whole.
    """
    contexts = {split: {record.context for record in found} for split, found in records.items()}
    pairs = {split: set(_pairs(found)) for split, found in records.items()}
    splits, lengths, pooled = {}, {}, {}
    for split, found in records.items():
        per_context: Counter[str] = Counter()
        for record in found:
            per_context[record.context] += len(record.references)
        context_lengths = [count(record.context) for record in found]
        reference_lengths, sequences = [], []
        for record, context_length in zip(found, context_lengths, strict=True):
            for reference in record.references:
                reference_lengths.append(count(f" {reference}"))
                # The end token is predicted but never an input, so the separator is the only one added.
                sequences.append((context_length + 1 + reference_lengths[-1], record.id))
        lengths[split] = [length for length, _ in sequences]
        pooled[split] = list(per_context.values())
        others = [other for other in records if other != split]
        splits[split] = SplitStatistics(
            records=len(found),
            references=len(sequences),
            contexts=len(contexts[split]),
            unreferenced=sum(not record.references for record in found),
            references_per_context=spread(pooled[split]),
            context_lengths=spread(context_lengths),
            reference_lengths=spread(reference_lengths),
            sequence_lengths=spread(lengths[split]),
            over_seq_len=sum(length > seq_len for length in lengths[split]),
            longest=_longest(sequences),
            shared_contexts={other: len(contexts[split] & contexts[other]) for other in others},
            shared_pairs={other: len(pairs[split] & pairs[other]) for other in others},
            repeated_contexts=len(found) - len(contexts[split]),
            repeated_pairs=len(sequences) - len(pairs[split]),
        )
    return CorpusStatistics(name, splits, lengths, pooled)


def _pairs(records: Sequence[Record]) -> Iterable[tuple[str, str]]:
    return ((record.context, reference) for record in records for reference in record.references)


def _longest(sequences: Sequence[tuple[int, str]], number: int = 5) -> list[tuple[int, str]]:
    """The longest records (not references), longest first, the earlier of equals first."""
    by_record: dict[str, int] = {}
    for length, record_id in sequences:
        by_record[record_id] = max(length, by_record.get(record_id, 0))
    return [
        (length, record_id) for record_id, length in heapq.nlargest(number, by_record.items(), key=lambda item: item[1])
    ]
