"""The record every corpus becomes: one released entry, all its references with it.

The files `{train,valid,test}.jsonl` hold one record a line. Training reads each reference as an example, decoding
reads each distinct context once, scoring pools or keeps entries (docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.files import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Record:
    """One data-to-text entry.

    Attributes:
        id: unique within its file.
        context: the linearised meaning representation.
        references: the texts people wrote for it; may be empty (a test set without references).
        category: the corpus's own category (WebNLG's DBpedia category), or None.
        seen: whether the category occurs in training (WebNLG), or None where the corpus has no such notion.
        subset: which part of its test set it is in, where the release says so (WebNLG 2020: "seen categories", "unseen
            entities", "unseen categories"): scored also by itself.
    """

    id: str
    context: str
    references: list[str] = field(default_factory=list)
    category: str | None = None
    seen: bool | None = None
    subset: str | None = None


def read_records(path: str | Path) -> list[Record]:
    """Read a prepared JSONL file.

    Raises:
        InputError: the file is absent, empty, or a line is not a record; the message names file and line.
    """
    return _unique([_parse(f"{path}, line {number}", value) for number, value in read_jsonl(path)], path)


def check_records(values: Iterable[Any], source: str) -> list[Record]:
    """Records given as such, or as mappings with a record's fields, such as the rows of a `datasets.Dataset`.

    Args:
        values: the records.
        source: what they are, for messages.

    Raises:
        InputError: there is none, or a value is no record; the message names the source and the record's number.
    """
    plain = (asdict(v) if isinstance(v, Record) else dict(v) if isinstance(v, Mapping) else v for v in values)
    return _unique([_parse(f"{source}, record {n}", value) for n, value in enumerate(plain, start=1)], source)


def _unique(records: list[Record], source: str | Path) -> list[Record]:
    if not records:
        raise InputError(f"{source} holds no record")
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise InputError(f"{source}: id {record.id!r} occurs twice; ids must be unique within a file")
        seen.add(record.id)
    return records


def _parse(where: str, value: Any) -> Record:
    if not isinstance(value, dict) or not {"id", "context", "references"} <= value.keys():
        hint = "make it with `lora-nlg prepare`"
        if isinstance(value, dict) and isinstance(value.get("completion"), str):
            hint = 'write its completions as {"id": "1", "context": "…", "references": ["…", …]}, one line a context'
        raise InputError(f'{where}: a record needs "id", "context" and "references" (a list); {hint}')
    references = value["references"]
    if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
        raise InputError(f'{where}: "references" must be a list of strings')
    if not isinstance(value["context"], str):
        raise InputError(f'{where}: "context" must be a string')
    if not isinstance(value["id"], str | int):
        raise InputError(f'{where}: "id" must be a string or a whole number, not {type(value["id"]).__name__}')
    category, seen = value.get("category"), value.get("seen")
    if not isinstance(category, str | None):
        raise InputError(f'{where}: "category" must be a string or null, not {category!r:.60}')
    if not isinstance(seen, bool | None):
        raise InputError(f'{where}: "seen" must be true, false or null, not {seen!r:.60}')
    subset = value.get("subset")
    if not isinstance(subset, str | None):
        raise InputError(f'{where}: "subset" must be a string or null, not {subset!r:.60}')
    return Record(str(value["id"]), value["context"], references, category, seen, subset)


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines, atomically. Returns their number."""
    return write_jsonl(path, map(as_line, records))


def as_line(record: Record) -> dict[str, Any]:
    """The record as its line holds it: `subset` only where there is one."""
    values = asdict(record)
    return values if record.subset is not None else {k: v for k, v in values.items() if k != "subset"}
