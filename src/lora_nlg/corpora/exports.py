"""Entries of JSON files as Hugging Face's `datasets` and GEM export them, in the shape of the corpus' own release.

`Dataset.to_json` writes an entry a line, and keeps a list of objects as one object of lists. GEM
(https://gem-benchmark.com) has `target` and `references` in place of annotations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, read_jsonl


def json_entries(path: Path, entry_key: str) -> Any:
    """The value of a JSON file, or the list of its lines.

    Args:
        path: the file.
        entry_key: what every entry has: tells a single line of JSON lines from another object.

    Raises:
        InputError: it is neither.
    """
    try:
        value = read_json(path)
    except InputError as whole:
        try:
            lines = [line for _, line in read_jsonl(path)]
        except InputError:
            raise whole from None
        if not lines:
            raise
        return lines
    return [value] if isinstance(value, dict) and entry_key in value else value


def rows(value: Any, name: str) -> Any:
    """A list of objects; one object of equally long lists becomes one.

    Raises:
        TypeError: `name` is an object whose parts are no lists or differ in length.
    """
    if not isinstance(value, dict):
        return value
    # A column may be absent: exports leave empty ones out.
    value = {key: column for key, column in value.items() if column != []}
    if not all(isinstance(column, list) for column in value.values()) or len(set(map(len, value.values()))) > 1:
        raise TypeError(f"{name} is neither a list nor one object of equally long lists")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def gem_texts(entry: dict[str, Any]) -> Any:
    """The texts of a GEM entry: its references or, where it has none (training), its target."""
    return entry.get("references") or [entry["target"]]
