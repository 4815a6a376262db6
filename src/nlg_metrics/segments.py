"""What is scored: hypotheses paired with all their references, one segment a context or an entry.

A data file repeats contexts (DART's test set has 5,097 entries of 4,159 contexts). The predecessor of this
project and the papers that used it pool the references of equal contexts into one segment; the corpora's own
scripts score every entry. Both are offered, and `Segments.unit` says which one was used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_jsonl, read_lines

UNITS = ("contexts", "entries")


@dataclass(frozen=True)
class Segments:
    """N segments ready for scoring; all lists have length N.

    Attributes:
        ids: the entry's id, or the first entry's id of a pooled context; "1", "2", … for plain files.
        hypotheses: the system's texts.
        references: every segment's reference texts, of any number per segment, at least one.
        contexts: the linearised meaning representations; empty strings for plain files.
        seen: whether the segment's category occurs in training (WebNLG); None where that is unknown.
        unit: "contexts", "entries" or "lines" (plain files).
        parts: the part of its test set each segment is in, as the data file says it (WebNLG 2020), or None; may be
            empty where none says so.
    """

    ids: list[str]
    hypotheses: list[str]
    references: list[list[str]]
    contexts: list[str]
    seen: list[bool | None]
    unit: str
    parts: list[str | None] = field(default_factory=list)

    @classmethod
    def of_lines(
        cls, hypotheses: list[str], references: list[list[str]], contexts: list[str] | None = None
    ) -> Segments:
        """The segments of plain files, named "1", "2", …"""
        count = len(hypotheses)
        ids = [str(number) for number in range(1, count + 1)]
        return cls(ids, hypotheses, references, contexts or [""] * count, [None] * count, "lines")

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, keep: Sequence[bool]) -> Segments:
        """The segments where `keep` (length N) is true, in order."""

        def chosen(values: list[Any]) -> list[Any]:
            return [value for value, kept in zip(values, keep, strict=True) if kept]

        return Segments(
            chosen(self.ids),
            chosen(self.hypotheses),
            chosen(self.references),
            chosen(self.contexts),
            chosen(self.seen),
            self.unit,
            chosen(self.parts) if self.parts else [],
        )

    def subsets(self) -> dict[str, list[bool]]:
        """Masks of length N for "seen", "unseen" and the named parts; empty where the corpus has no such notion.

        A subset without any segment is left out.
        """
        masks = {
            "seen": [value is True for value in self.seen],
            "unseen": [value is False for value in self.seen],
        }
        for part in dict.fromkeys(self.parts):
            masks |= {part: [value == part for value in self.parts]} if part is not None else {}
        return {name: mask for name, mask in masks.items() if any(mask)}

    def mapped(self, text: Callable[[str], str]) -> Segments:
        """A copy with `text` applied to every hypothesis and reference (lower-casing, detokenizing)."""
        references = [[text(reference) for reference in group] for group in self.references]
        hypotheses = [text(hypothesis) for hypothesis in self.hypotheses]
        return replace(self, hypotheses=hypotheses, references=references)


def read_segments(data: str | Path, predictions: str | Path, unit: str = "contexts") -> Segments:
    """Pair a data file with a predictions file.

    Args:
        data: JSON lines of `{"id", "context", "references", "seen", "subset"}`; the last two may be absent.
        predictions: JSON lines of `{"id", "hypothesis"}`, one for every entry of `data`, in any order.
        unit: "contexts" pools entries with the same context, in order of first occurrence; "entries" keeps
            them apart. An entry without a context is never pooled.

    Returns:
        The segments, in the data file's order.

    Raises:
        InputError: a file is unreadable, an id is missing, unknown or given twice, an entry has no reference,
            or entries of one context have different hypotheses under "contexts".
    """
    records = _read_records(data)
    hypotheses = read_predictions(predictions)
    _check_ids(records, hypotheses, data, predictions)
    segments = _grouped(records, unit, data)
    first: dict[str, str] = {}
    for record in records:
        name, hypothesis = _segment_name(record, unit), hypotheses[record["id"]]
        other = first.setdefault(name, record["id"])
        if hypotheses[other] != hypothesis:
            raise InputError(
                f"{predictions}: entries {other!r} and {record['id']!r} have the same context but different "
                "hypotheses, so they can't be pooled; decode each context once, or let `segments` be entries"
            )
    segments.hypotheses.extend(hypotheses[id_] for id_ in segments.ids)
    return segments


def read_segments_and_lines(data: str | Path, hypotheses: str | Path, unit: str = "contexts") -> Segments:
    """Pair a data file with plain text: one hypothesis a line, for every segment in the data file's order.

    Args:
        data: as for `read_segments`.
        hypotheses: plain text; its n-th line is for the n-th distinct context or the n-th entry, as `unit` says.
        unit: as for `read_segments`.

    Raises:
        InputError: a file is unreadable, or the numbers of lines and segments differ; the message gives both.
    """
    segments = read_data(data, unit)
    lines = read_lines(hypotheses)
    if len(lines) != len(segments):
        raise InputError(
            f"{hypotheses} has {len(lines)} lines but {data} has {len(segments)} {unit}; they must be equal "
            f"(`segments` is {unit})"
        )
    segments.hypotheses.extend(lines)
    return segments


def read_data(data: str | Path, unit: str = "contexts") -> Segments:
    """The segments of a data file alone, their list of hypotheses still empty; as `read_segments`.

    Raises:
        InputError: the file can't be used.
    """
    return _grouped(_read_records(data), unit, data)


def _segment_name(record: dict[str, Any], unit: str) -> str:
    pooled = unit == "contexts" and record["context"]
    return f"context {record['context']}" if pooled else f"id {record['id']}"


def _grouped(records: list[dict[str, Any]], unit: str, data: str | Path) -> Segments:
    """The segments of a data file, still without hypotheses."""
    if unit not in UNITS:
        raise InputError(f"`segments` is {unit!r}; it must be one of {', '.join(UNITS)}")
    segments = Segments([], [], [], [], [], unit)
    index: dict[str, int] = {}
    for record in records:
        at = index.setdefault(_segment_name(record, unit), len(segments))
        if at == len(segments):
            segments.ids.append(record["id"])
            segments.references.append([])
            segments.contexts.append(record["context"])
            segments.seen.append(record["seen"])
            segments.parts.append(record["subset"])
        else:
            if segments.seen[at] != record["seen"]:
                segments.seen[at] = None
            if segments.parts[at] != record["subset"]:
                segments.parts[at] = None
        segments.references[at].extend(record["references"])
    if not any(segments.references):
        raise InputError(
            f"{data} has no references: a blind test set, of which nothing can be scored; its texts are in the "
            "predictions, one for each input, in order"
        )
    for id_, references in zip(segments.ids, segments.references, strict=True):
        if not references:
            raise InputError(f"{data}: entry {id_!r} has no reference; leave it out of the scoring or give it one")
    return segments


def _read_records(path: str | Path) -> list[dict[str, Any]]:
    records = []
    ids: set[str] = set()
    for number, value in read_jsonl(path):
        where = f"{path}, line {number}"
        if not isinstance(value, dict) or not {"id", "references"} <= value.keys():
            raise InputError(f'{where}: a record needs "id" and "references"; make it with `lora-nlg prepare`')
        references, context, seen = value["references"], value.get("context", ""), value.get("seen")
        if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
            raise InputError(f'{where}: "references" must be a list of strings')
        if not isinstance(context, str):
            raise InputError(f'{where}: "context" must be a string, not {type(context).__name__}')
        if seen is not None and not isinstance(seen, bool):
            raise InputError(f'{where}: "seen" must be true, false or null, not {seen!r}')
        subset = value.get("subset")
        if subset is not None and not isinstance(subset, str):
            raise InputError(f'{where}: "subset" must be a string or null, not {subset!r}')
        id_ = str(value["id"])
        if id_ in ids:
            raise InputError(f"{where}: id {id_!r} occurs twice; ids must be unique within a file")
        ids.add(id_)
        records.append({"id": id_, "context": context, "references": references, "seen": seen, "subset": subset})
    if not records:
        raise InputError(f"{path} holds no record")
    return records


def read_predictions(path: str | Path) -> dict[str, str]:
    """Id -> hypothesis of a predictions file, in its order.

    Raises:
        InputError: an unreadable file, or a line that isn't a prediction.
    """
    hypotheses: dict[str, str] = {}
    for number, value in read_jsonl(path):
        where = f"{path}, line {number}"
        if not isinstance(value, dict) or not {"id", "hypothesis"} <= value.keys():
            raise InputError(f'{where}: a prediction needs "id" and "hypothesis"')
        if not isinstance(value["hypothesis"], str):
            raise InputError(f'{where}: "hypothesis" must be a string, not {type(value["hypothesis"]).__name__}')
        id_ = str(value["id"])
        if id_ in hypotheses:
            raise InputError(f"{where}: id {id_!r} occurs twice; keep one prediction of each entry")
        hypotheses[id_] = value["hypothesis"]
    return hypotheses


def _check_ids(
    records: list[dict[str, Any]], hypotheses: dict[str, str], data: str | Path, predictions: str | Path
) -> None:
    wanted = {record["id"] for record in records}
    missing = [record["id"] for record in records if record["id"] not in hypotheses]
    unknown = [id_ for id_ in hypotheses if id_ not in wanted]
    if missing or unknown:
        problems = []
        if missing:
            problems.append(f"lacks {len(missing)} of the {len(records)} entries of {data} (first: {missing[0]!r})")
        if unknown:
            problems.append(f"has {len(unknown)} ids that are not in it (first: {unknown[0]!r})")
        raise InputError(f"{predictions} {' and '.join(problems)}; score predictions with the data they were made from")
