"""Entries of JSON: a list, JSON lines, an object around a list, or an object of columns (as pandas writes them)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lora_nlg.corpora.formats.delimited import AUTO, decoded, encoding_of, lines_of
from lora_nlg.corpora.formats.rows import Row, Rows
from lora_nlg.errors import InputError
from lora_nlg.files import check_readable, parse_json

_FIRST = 1000
_OF_ENTRIES = {"context", "mr", "meaning_representation", "category", "tripleset", "gem_id"}
"""What an object has that is an entry itself, not an object around entries."""


def read_json_entries(path: Path, encoding: str = AUTO) -> Rows:
    """The entries of a JSON file.

    Args:
        path: the file; what it holds decides whether it is JSON lines, not its name.
        encoding: as for `read_delimited`.

    Raises:
        InputError: the file can't be read, is no JSON or holds no entries; of JSON lines also while they are read.
    """
    check_readable(path)
    encoding = encoding_of(path, encoding)
    lines = ((number, line) for number, line in enumerate(lines_of(path, encoding), start=1) if line.strip())
    _, first = next(lines, (1, ""))
    if _is_object(first) and next(lines, None) is not None:
        said, entries = "JSON lines", _lines(path, encoding)
    else:
        listed = _entries(path, parse_json(decoded(path, encoding), str(path)))
        said, entries = "JSON", (Row(f"entry {number}", entry) for number, entry in enumerate(listed, start=1))
    # The columns are those of the first entries; the others may lack some and have more.
    begun = list(islice(entries, _FIRST))
    names = dict.fromkeys(name for row in begun if isinstance(row.values, dict) for name in row.values)
    return Rows(path, said, list(names), chain(begun, entries))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line.lstrip("\ufeff")), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path, encoding: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(path, encoding), start=1):
        if line.strip():
            yield Row(f"line {number}", parse_json(line, f"{path}, line {number}"))


def _entries(path: Path, value: Any) -> list[Any]:
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if lists and len(lists) == len(value) > 1 and len(set(map(len, lists))) == 1:
            value = [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
        elif _OF_ENTRIES & value.keys() and not all(isinstance(part, dict) for part in value.values()):
            value = [value]
        elif len(lists) == 1:
            (value,) = lists
        elif value and all(isinstance(part, dict) for part in value.values()):
            keys = dict.fromkeys(key for column in value.values() for key in column)
            value = [{name: column.get(key) for name, column in value.items()} for key in keys]
        else:
            value = [value] if value else []
    if not isinstance(value, list) or not value:
        raise InputError(f"{path} holds no entries: it must be a list of them, or one object a line")
    return value
