"""The WebNLG Challenge 2017 corpus, from its released XML (folders or one file) or the JSON conversion.

Release: https://gitlab.com/shimorina/webnlg-dataset (Gardent et al. 2017). A record is one entry: its modified
triples with the properties as they stand, its texts marked `good`, its category, and whether that category is one
of the ten of the training set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg.corpora.record import Record
from lora_nlg.corpora.release import Places, Release, Source, clean, json_string, linearise
from lora_nlg.corpora.triples_xml import read_entries, split_triple
from lora_nlg.errors import InputError
from lora_nlg.files import read_json

PLACES: Places = {
    "train": {"xml": ["train", "train.xml"], "json": ["train.json"]},
    "valid": {"xml": ["dev", "dev.xml"], "json": ["dev.json"]},
    "test": {
        "xml": [
            "test/testdata_with_lex.xml",
            "testdata_with_lex.xml",
            "test.xml",
            "test/testdata_no_lex.xml",
            "testdata_no_lex.xml",
        ],
        "json": ["test.json"],
    },
}

SEEN_CATEGORIES = frozenset(
    {
        "Airport",
        "Astronaut",
        "Building",
        "City",
        "ComicsCharacter",
        "Food",
        "Monument",
        "SportsTeam",
        "University",
        "WrittenWork",
    }
)


@dataclass
class _Entry:
    file: Path
    place: str
    category: str
    name: str
    triples: list[tuple[str, ...] | None]
    texts: list[tuple[str, str, str]]  # text, comment, place


def read(split: str, source: Source) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; a test entry without any text is kept, for the inputs-only release.
        source: the files and their form, `xml` or `json`.

    Returns:
        The split, one record per entry with a good text, in file order.

    Raises:
        InputError: a file is absent, empty, malformed or not a WebNLG release.
    """
    release = Release(source)
    ids: dict[str, int] = {}
    for file in source.files:
        for entry in _xml(file) if source.form == "xml" else _json(file):
            _add(release, entry, ids, split == "test")
    return release


def _add(release: Release, entry: _Entry, ids: dict[str, int], keep_without_texts: bool) -> None:
    release.entries += 1
    release.texts += len(entry.texts)
    triples = [triple for triple in entry.triples if triple is not None]
    if not triples or len(triples) < len(entry.triples):
        release.leave_out(entry.file, entry.place, "entry", "a triple is missing or is not subject | property | object")
        return
    references = []
    for text, comment, place in entry.texts:
        if comment != "good":
            release.leave_out(entry.file, place, "text", f'marked "{comment}", not "good"')
        elif not clean(text):
            release.leave_out(entry.file, place, "text", "empty")
        else:
            references.append(clean(text))
    if not references and (entry.texts or not keep_without_texts):
        release.leave_out(entry.file, entry.place, "entry", "no good text")
        return
    # The release numbers entries within category and size; files of one's own making may repeat a number.
    ids[entry.name] = ids.get(entry.name, 0) + 1
    name = entry.name if ids[entry.name] == 1 else f"{entry.name}-{ids[entry.name]}"
    seen = entry.category in SEEN_CATEGORIES if entry.category else None
    release.records.append(Record(name, linearise(triples), references, entry.category or None, seen))


def _xml(file: Path) -> Iterator[_Entry]:
    for entry in read_entries(file):
        category, size, eid = (entry.attributes.get(name, "") for name in ("category", "size", "eid"))
        yield _Entry(
            file,
            f"line {entry.line}",
            category,
            f"{category}-{size}-{eid}",
            [split_triple(text) for text in entry.triples],
            [(text.text, text.comment, f"line {text.line}") for text in entry.texts],
        )


def _json(file: Path) -> Iterator[_Entry]:
    value = read_json(file)
    entries = value.get("entries") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{file} is not the WebNLG JSON conversion: it needs {{"entries": [...]}} with an entry')
    for number, wrapped in enumerate(entries, start=1):
        place = f"entry {number}"
        try:
            ((_, entry),) = wrapped.items()
            category = json_string(entry["category"])
            yield _Entry(
                file,
                place,
                category,
                f"{category}-{json_string(entry['size'])}-{json_string(entry['xml_id'])}",
                [_json_triple(triple) for triple in entry["modifiedtripleset"]],
                [(json_string(lex["lex"]), json_string(lex["comment"]), place) for lex in entry["lexicalisations"]],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}, {place}: not a WebNLG entry ({type(error).__name__}: {error})") from None


def _json_triple(triple: dict[str, Any]) -> tuple[str, ...] | None:
    parts = tuple(json_string(triple[part]).strip() for part in ("subject", "property", "object"))
    return parts if all(parts) else None
