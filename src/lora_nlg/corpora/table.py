"""Tables of one's own: a column, or several, of what is to be said, and texts that say it.

Several columns are linearised as the corpora are, `name : Blue Spice | food : French`. A cell may also hold structure
of its own: a list of triples, an object. Which columns they are is told, or goes by names in use.
"""

from __future__ import annotations

import ast
import io
import math
import tokenize
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lora_nlg.corpora.formats import SUFFIXES, Row, Rows, column_called, columns_called, plain_name
from lora_nlg.corpora.release import Corpus, Item, Reading, Release, Source, clean, linearise, pooled
from lora_nlg.corpora.triples_xml import split_triple
from lora_nlg.errors import InputError
from lora_nlg.files import DEEPEST, parse_json

# Names in use, for where nobody says which columns are meant.
_CONTEXTS = frozenset(
    {"context", "input", "inputs", "source", "src", "mr", "meaning_representation", "linearized_input", "prompt"}
    | {"triples", "tripleset"}
)
_TEXTS = frozenset(
    {"references", "reference", "refs", "ref", "text", "texts", "target", "targets", "completion", "human_reference"}
)
_IDS = frozenset({"id", "gem_id"})
_CATEGORIES = frozenset({"category"})
_TRIPLE_KEYS = (
    ("subject", "predicate", "object"),
    ("subject", "property", "object"),
    ("subject", "relation", "object"),
)
_LONGEST_CELL = 1 << 16


@dataclass(frozen=True)
class _Columns:
    """The columns of a table by what they are for; `text` is empty in a table of inputs."""

    context: list[str]
    text: list[str]
    id: str | None
    category: str | None
    first_text: bool  # the first of the text columns that has any is meant, not all


def read(split: str, source: Source, reading: Reading | None = None) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; names the ids of rows without any.
        source: the files and their form: `csv` (delimited text), `json` (also lines) or `parquet` (also Arrow).
        reading: the columns, and how delimited text is written.

    Returns:
        The split: a record a distinct context with the texts of its rows, or a row where a cell lists its texts. Of a
        test set without texts, each row.

    Raises:
        InputError: a file can't be read, or has no such columns; a set to train on has no texts.
    """
    release, reading = Release(source), reading or Reading()
    items: list[Item] = []
    for path in source.files:
        items += read_rows(
            reading.open(path, source.form, lambda names: _fits(names, reading)), release, split, reading
        )
    release.records = pooled(split, items)
    return release


def read_rows(table: Rows, release: Release, split: str, reading: Reading) -> list[Item]:
    """The rows of one table; what can't be used is left out of the release by its place."""
    columns = _chosen(table, reading, split)
    release.notes.append(f"  {table.file.name}: {table.found_out}; {_said(columns)}")
    used = {*columns.context, *columns.text, columns.id, columns.category}
    if unused := [name or "(unnamed)" for name in table.columns if name not in used]:
        release.notes.append(f"  columns not used in {table.file.name}: {', '.join(unused)}")
    found = [(row.place, *_item(row, table, release, columns)) for row in table.rows]
    blind = split == "test" and not any(item.texts for _, item, _ in found if item)
    items = []
    for place, item, problem in found:
        release.entries += 1
        if item is None or not (item.texts or blind):
            release.leave_out(table.file, place, "row", problem or "empty text")
        else:
            items.append(item)
            if problem:
                release.leave_out(table.file, place, "text", problem)
    return items


def _item(row: Row, table: Rows, release: Release, columns: _Columns) -> tuple[Item | None, str]:
    """What a row says, and what is wrong with it or with one of its texts."""
    values = row.values
    if row.problem or not isinstance(values, Mapping):
        return None, row.problem or "no object with columns"
    cells = [_texts(values.get(column)) for column in columns.text]
    if columns.first_text:
        cells = [next((texts for texts in cells if any(texts)), [])]
    texts = [text for cell in cells for text in cell]
    kept = [text for text in texts if text]
    release.texts += len(kept)
    used = [values.get(column) for column in [*columns.context, *columns.text]]
    release.note_controls(table.file, row.place, [value for value in used if isinstance(value, str)])
    context = _context(values, columns.context)
    if not context:
        missing = [column for column in columns.context if column not in values]
        return None, f"no {missing[0]!r}" if missing else f"nothing in {', '.join(columns.context)}"
    item = Item(
        context,
        kept,
        _plain(values.get(columns.id)) or None if columns.id else None,
        _plain(values.get(columns.category)) or None if columns.category else None,
        apart=any(isinstance(cell := _structure(values.get(column)), list) and cell for column in columns.text),
    )
    return item, "empty" if kept and len(kept) < len(texts) else ""


def _fits(names: Collection[str], reading: Reading) -> bool:
    """Whether a first line has the columns that are asked for, or that go by names in use."""
    names = list(names)
    wanted = [*reading.context, *reading.text]
    if not wanted:
        return bool(columns_called(names, _CONTEXTS))
    return not {plain_name(name) for name in wanted}.isdisjoint(map(plain_name, names))


def _chosen(table: Rows, reading: Reading, split: str) -> _Columns:
    """Which columns are meant.

    Raises:
        InputError: a column that is asked for isn't there, or none is asked for and no name is in use.
    """
    names = table.columns
    context = [column_called(table, name, "context") for name in reading.context]
    if not context:
        guessed = columns_called(names, _CONTEXTS)
        if len(guessed) != 1:
            raise InputError(
                f"{table.file}: say which column holds what is to be said, or which several, with `context`; there are "
                f"{', '.join(name or '(unnamed)' for name in names[:20]) or 'none'}"
            )
        context = guessed
    if reading.text and split == "test" and not any(set(columns_called(names, {plain_name(t)})) for t in reading.text):
        text = []  # a test set of inputs
    else:
        text = [column_called(table, name, "text") for name in reading.text]
        text = text or [name for name in _in_order(names, _TEXTS) if name not in context]
    if not text and split != "test":
        raise InputError(
            f"{table.file}: say which column holds the texts with `text`; there are {', '.join(names[:20])}"
        )
    guessed_ids, guessed_categories = columns_called(names, _IDS), columns_called(names, _CATEGORIES)
    ids = [column_called(table, reading.id, "id")] if reading.id else guessed_ids
    category = [column_called(table, reading.category, "category")] if reading.category else guessed_categories
    return _Columns(
        context,
        text,
        next((name for name in ids if name not in context), None),
        next((name for name in category if reading.category or name not in context), None),
        first_text=not reading.text,
    )


def _in_order(names: list[str], known: Collection[str]) -> list[str]:
    """The columns of known names, lists of references before single texts."""
    return sorted(columns_called(names, known), key=lambda name: not name.lower().startswith("references"))


def _said(columns: _Columns) -> str:
    parts = [f"context from {', '.join(columns.context)}"]
    parts.append(f"texts from {', '.join(columns.text)}" if columns.text else "no texts")
    parts += [f"{what} from {name}" for what, name in (("id", columns.id), ("category", columns.category)) if name]
    return ", ".join(parts)


def _context(values: Mapping[str, Any], columns: list[str]) -> str:
    if len(columns) == 1:
        return _linear(_structure(values.get(columns[0])))
    pairs = [(clean(column), _plain(_structure(values.get(column)))) for column in columns]
    return " | ".join(f"{name} : {value}" for name, value in pairs if value)


def _linear(value: Any) -> str:
    """A cell that is the whole meaning representation: text, triples, or an object."""
    if isinstance(value, Mapping):
        triple = _triple(value)
        pairs = [(clean(str(name)), _plain(inner)) for name, inner in value.items()]
        return linearise([triple]) if triple else " | ".join(f"{name} : {inner}" for name, inner in pairs if inner)
    if isinstance(value, list):
        triples = [_triple(part) for part in value]
        if value and all(triples):
            return linearise(triple for triple in triples if triple)
        return " | ".join(filter(None, map(_linear, value)))
    return _plain(value)


def _triple(value: Any) -> tuple[str, ...] | None:
    """A list of three, an object of subject, relation and object, or `s | p | o`."""
    if isinstance(value, str):
        return split_triple(value)
    if isinstance(value, Mapping):
        keys = next((keys for keys in _TRIPLE_KEYS if value.keys() == set(keys)), None)
        value = [value[key] for key in keys] if keys else None
    if not isinstance(value, list) or len(value) != 3 or any(isinstance(part, list | Mapping) for part in value):
        return None
    parts = tuple(map(_plain, value))
    return parts if all(parts) else None


def _texts(value: Any) -> list[str]:
    """The texts of a cell, empty ones as they come; a cell that is empty itself has none."""
    value = _structure(value)
    texts = [_plain(text) for text in value] if isinstance(value, list) else [_plain(value)]
    return texts if any(texts) or len(texts) > 1 else []


def _structure(value: Any) -> Any:
    """What a cell of text holds if it is a list or an object, written as JSON or as Python writes it; else the cell."""
    if not isinstance(value, str) or len(value) > _LONGEST_CELL or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        found = parse_json(value, "a cell")
    except InputError:
        found = _literal(value.strip())
    return found if isinstance(found, list | dict) else value


def _literal(text: str) -> Any:
    """The value of a Python literal, None where it is none; numpy's arrays lack the commas between texts."""
    if text.count("[") + text.count("{") > DEEPEST:
        return None
    try:
        lines = io.StringIO(text).readline
        tokens = [token for token in tokenize.generate_tokens(lines) if token.type != tokenize.NL]
        parts = [
            token.string + "," * (token.type == following.type == tokenize.STRING)
            for token, following in pairwise(tokens)
        ]
        return ast.literal_eval("".join(parts).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, tokenize.TokenError):
        return None


def _plain(value: Any) -> str:
    """A value as text: whole numbers without a fraction, yes and no, nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_plain, value)))
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", "replace"))
    return clean(str(value))


CORPUS = Corpus(
    "table",
    {},
    SUFFIXES,
    read,
    frozenset({"context", "text", "id", "category", "delimiter", "quoting", "encoding"}),
)
