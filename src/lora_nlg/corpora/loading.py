"""Records from Python: any corpus in any form it comes in, or rows that are in memory already."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lora_nlg.corpora import table
from lora_nlg.corpora.finding import locate, source_of
from lora_nlg.corpora.formats import Row, Rows, plain_name
from lora_nlg.corpora.prepare import READ, check_reading, left_out_messages, read_sources
from lora_nlg.corpora.record import Record, check_records, read_records
from lora_nlg.corpora.release import Corpus, Reading, Release, Source, pooled
from lora_nlg.errors import InputError
from lora_nlg.files import check_readable

log = logging.getLogger(__name__)

_HEAD = 4096
_SIGNS = {
    "dart": {"tripleset"},
    "webnlg": {"modified_triple_sets", "webnlg_id"},
    "e2e": {"mr", "meaning_representation"},
}
"""Columns that give a corpus away."""


def records(
    source: str | Path | Iterable[Mapping[str, Any]], corpus: str | None = None, split: str = "test", **reading: Any
) -> list[Record]:
    """The records of a file, a folder, or of rows in memory such as a `datasets.Dataset`.

    Args:
        source: a file of any form that `lora-nlg prepare` reads, or that it wrote; a folder of them; or rows, which are
            records or read as a table is.
        corpus: `e2e`, `webnlg`, `dart` or `table`. Default: what the file looks like.
        split: `train`, `valid` or `test`: which is taken of a folder, and what rows without an id are called. Only a
            test set may have no texts. Default: "test"
        reading: fields of `Reading`, such as `context=["name", "food"], text="ref"` for a table, `lang="ru"` for
            WebNLG.

    Returns:
        The records. What is left out is logged, with its places.

    Raises:
        InputError: as `prepare_corpus`.
        TypeError: `Reading` has no such field.
    """
    asked = _reading(reading)
    if not isinstance(source, str | Path):
        check_reading(table.CORPUS, asked)
        rows = list(source)
        if asked == Reading() and _are_records(dict.fromkeys(name for row in rows[:1] for name in row)):
            return check_records(rows, "the rows")
        release = _of_rows(rows, split, asked)
    else:
        path = Path(source)
        if corpus is None and _is_prepared(path, split):
            return read_records(path / f"{split}.jsonl" if path.is_dir() else path)
        chosen = _corpus(corpus, path, asked)
        check_reading(chosen, asked)
        release = read_sources(chosen, {split: _source(chosen, path, split, asked)}, asked)[split]
        for note in chosen.finish({split: release}):
            log.info("%s", note)
    for message in [*release.notes, *left_out_messages(release.left_out)]:
        log.info("%s", message.strip())
    return release.records


def _reading(given: dict[str, Any]) -> Reading:
    """`Reading`, with a single column's name in place of a list of one."""
    for name in ("context", "text"):
        if isinstance(given.get(name), str):
            given[name] = (given[name],)
    return Reading(**given)


def _of_rows(rows: list[Any], split: str, reading: Reading) -> Release:
    columns = dict.fromkeys(name for row in rows if isinstance(row, Mapping) for name in row)
    release = Release(Source("rows", []))
    numbered = [Row(f"entry {number}", values) for number, values in enumerate(rows, start=1)]
    found = Rows(Path("rows"), "in memory", list(columns), numbered)
    release.records = pooled(split, table.read_rows(found, release, split, reading))
    if not release.records:
        raise InputError("the rows give no record")
    return release


def _is_prepared(path: Path, split: str) -> bool:
    file = path / f"{split}.jsonl" if path.is_dir() else path
    if file.suffix != ".jsonl" or not file.is_file():
        return False
    return _are_records(Reading().open(file, "json").columns)


def _are_records(columns: Iterable[str]) -> bool:
    return {"id", "context", "references"} <= set(columns) <= {field.name for field in fields(Record)}


def _corpus(name: str | None, path: Path, reading: Reading) -> Corpus:
    if name is None and path.is_dir():
        raise InputError(f"{path}: say which corpus the folder holds: {', '.join(READ)}")
    name = name or _guessed(path, reading)
    if name not in READ:
        raise InputError(f"no corpus {name!r}; choose from {', '.join(READ)}")
    return READ[name]


def _guessed(path: Path, reading: Reading) -> str:
    """The corpus that a file looks like one of; a table where it looks like none."""
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.lstrip(b"\xef\xbb\xbf").startswith(b"<"):
        return "dart" if b'category="MISC"' in head else "webnlg"
    if b"||" in head.partition(b"\n")[0]:
        return "e2e"
    found = reading.open(path, source_of(READ["table"], path, reading).form)
    names = set(map(plain_name, found.columns))
    corpus = next((corpus for corpus, signs in _SIGNS.items() if signs & names), "table")
    if corpus == "table" and (b'"modifiedtripleset"' in head or {"input", "category", "gem_id"} <= names):
        return "webnlg"
    return corpus


def _source(corpus: Corpus, path: Path, split: str, reading: Reading) -> Source:
    if not path.is_dir():
        return source_of(corpus, path, reading)
    found = locate(corpus, path, reading)
    if split not in found:
        raise InputError(f"{path} holds no {split}; there are {', '.join(found)}")
    return found[split]
