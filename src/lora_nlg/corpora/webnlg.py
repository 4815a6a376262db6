"""The WebNLG Challenge 2017 corpus, from its released XML (folders or one file) or the JSON conversion.

Release: https://gitlab.com/shimorina/webnlg-dataset (Gardent et al. 2017). A record is one entry: its modified
triples with the properties as they stand, its texts marked `good` (or, in the test set of 2020, not marked), its
category, and whether that category occurs in training. Read too: later releases up to 2020's in two languages (Castro
Ferreira et al. 2020), the enriched WebNLG, and the exports of Hugging Face and GEM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_nlg.corpora.exports import gem_texts, rows
from lora_nlg.corpora.record import Record
from lora_nlg.corpora.release import (
    TABLES,
    Corpus,
    Places,
    Reading,
    Release,
    Source,
    clean,
    json_string,
    linearise,
)
from lora_nlg.corpora.triples_xml import read_entries, split_triple
from lora_nlg.errors import InputError
from lora_nlg.files import read_json_object

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
            "test/rdf-to-text-generation-test-data-with-refs-{lang}.xml",
            "rdf-to-text-generation-test-data-with-refs-{lang}.xml",
            "test/rdf-to-text-generation-test-data-without-refs-{lang}.xml",
            "rdf-to-text-generation-test-data-without-refs-{lang}.xml",
            "test",
        ],
        "json": ["test.json"],
    },
}

SEEN_2017 = frozenset(
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
"""The categories of the training set of 2017, which decide where no training set is at hand."""
UNSEEN_2017 = frozenset({"Artist", "Athlete", "CelestialBody", "MeanOfTransportation", "Politician"})
_USABLE = ("good", "")
_TYPES = {"type1": "seen categories", "type2": "unseen entities", "type3": "unseen categories"}
"""2020's types of test entries (its test/README) and what its report calls them."""
_TYPES_FILE = "rdf-to-text-generation-test-instance-types.json"
_OTHER_TASK = "semantic-parsing"
_LANGUAGES = {"english": "en", "eng": "en", "russian": "ru", "rus": "ru"}


@dataclass
class _Entry:
    file: Path
    place: str
    category: str
    name: str
    triples: list[tuple[str, ...] | None]
    texts: list[tuple[str, str, str, str]]  # text, comment, language ("" where unknown), place
    eid: str
    task: str = ""  # of 2020's test entries, in `datasets`: the file they came from


def read(split: str, source: Source, reading: Reading | None = None) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; a test entry without any text is kept, for the inputs-only release.
        source: the files and their form, `xml`, `json` or `parquet`.
        reading: `lang`, the language of the texts: those of another are left out.

    Returns:
        The split, one record per entry with a good text, in file order; `seen` is for `mark_seen` to say. Of 2020's
        test set also which part of it an entry is in, where the file that says so lies beside it.

    Raises:
        InputError: a file is absent, empty, malformed or not a WebNLG release.
    """
    release, reading = Release(source), reading or Reading()
    ids: dict[str, int] = {}
    for file in source.files:
        parts = _parts(file, release) if split == "test" else {}
        for entry in _xml(file) if source.form == "xml" else _table(file, source.form, reading):
            _add(release, entry, ids, reading.lang, split == "test", parts.get(entry.eid))
    return release


def _parts(file: Path, release: Release) -> dict[str, str]:
    """Entry number → part of 2020's test set: by category, and by whether the entities occur in training."""
    path = file.parent / _TYPES_FILE
    if not path.is_file():
        return {}
    release.beside.append(path)
    return {number: _TYPES[kind] for number, kind in read_json_object(path).items() if kind in _TYPES}


def mark_seen(releases: Mapping[str, Release]) -> list[str]:
    """Say of every record whether its category occurs in training: in the training set at hand, else in that of 2017.

    Args:
        releases: split → release; their records are replaced. Without a training set 2020's test set says it itself.

    Returns:
        Notes for the user.
    """
    found = {record.category for release in releases.values() for record in release.records if record.category}
    training = releases.get("train")
    categories = {record.category for record in training.records} if training else SEEN_2017
    told = False
    for release in releases.values():
        for place, record in enumerate(release.records):
            seen = record.category in categories if record.category else None
            if record.subset and not training:
                seen, told = record.subset != _TYPES["type3"], True
            release.records[place] = replace(record, seen=seen)
    later = sorted(found - SEEN_2017 - UNSEEN_2017)
    if training or told or not later:
        return []
    return [
        f"note: no training set lies there, so `seen` goes by the ten training categories of WebNLG 2017, but "
        f"{', '.join(later[:3])}{', …' if len(later) > 3 else ''} is not of that year; put its train/ beside it"
    ]


def _add(
    release: Release, entry: _Entry, ids: dict[str, int], lang: str, keep_without_texts: bool, part: str | None
) -> None:
    release.entries += 1
    release.texts += len(entry.texts)
    release.note_controls(entry.file, entry.place, [text for text, *_ in entry.texts])
    release.note_controls(entry.file, entry.place, [part for triple in entry.triples if triple for part in triple])
    if entry.task.startswith(_OTHER_TASK):
        release.leave_out(entry.file, entry.place, "entry", "of the semantic parsing task, from text to triples")
        return
    triples = [triple for triple in entry.triples if triple is not None]
    if not triples or len(triples) < len(entry.triples):
        release.leave_out(entry.file, entry.place, "entry", "a triple is missing or is not subject | property | object")
        return
    references = []
    for text, comment, spoken, place in entry.texts:
        if spoken and _code(spoken) != lang:
            release.leave_out(entry.file, place, "text", f'in "{spoken}", not "{lang}" (see `lang`)')
        elif comment not in _USABLE:
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
    release.records.append(Record(name, linearise(triples), references, entry.category or None, subset=part))


def _code(language: str) -> str:
    """`en` of "en", "EN-GB", "English"."""
    name = language.strip().lower().replace("_", "-").partition("-")[0]
    return _LANGUAGES.get(name, name)


def _xml(file: Path) -> Iterator[_Entry]:
    for entry in read_entries(file):
        category, size, eid = (entry.attributes.get(name, "") for name in ("category", "size", "eid"))
        yield _Entry(
            file,
            f"line {entry.line}",
            category,
            f"{category}-{size}-{eid}",
            [split_triple(text) for text in entry.triples],
            [(text.text, text.comment, text.lang, f"line {text.line}") for text in entry.texts],
            eid,
        )


def _table(file: Path, form: str, reading: Reading) -> Iterator[_Entry]:
    for row in reading.open(file, form).rows:
        entry = row.values
        try:
            # The conversion of the XML names each entry by a number: {"1": {…}}.
            make = _converted if len(entry) == 1 else _exported
            yield make(file, row.place, entry)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{file}, {row.place}: not a WebNLG entry ({type(error).__name__}: {error})") from None


def _converted(file: Path, place: str, wrapped: dict[str, Any]) -> _Entry:
    """An entry of the JSON conversion."""
    ((_, entry),) = wrapped.items()
    category, eid = json_string(entry["category"]), json_string(entry["xml_id"])
    return _Entry(
        file,
        place,
        category,
        f"{category}-{json_string(entry['size'])}-{eid}",
        [_json_triple(triple) for triple in entry["modifiedtripleset"]],
        [
            (json_string(lex["lex"]), json_string(lex.get("comment", "")), json_string(lex.get("lang", "")), place)
            for lex in entry.get("lexicalisations") or []
        ],
        eid,
    )


def _exported(file: Path, place: str, entry: dict[str, Any]) -> _Entry:
    """An entry of GEM, or of `datasets`' web_nlg."""
    category = json_string(entry["category"])
    if "input" in entry:
        texts = [(json_string(text), "", "", place) for text in gem_texts(entry)]
        name = json_string(entry.get("webnlg_id") or entry["gem_id"])
        triples = entry["input"]
        return _Entry(file, place, category, name, [split_triple(json_string(t)) for t in triples], texts, name)
    eid = json_string(entry["eid"])
    return _Entry(
        file,
        place,
        category,
        f"{category}-{entry['size']}-{eid}",
        [split_triple(json_string(triple)) for triple in entry["modified_triple_sets"]["mtriple_set"][0]],
        [
            (json_string(lex["text"]), json_string(lex.get("comment", "")), json_string(lex.get("lang", "")), place)
            for lex in rows(entry.get("lex"), "lex")
        ],
        eid,
        json_string(entry.get("test_category") or ""),
    )


def _json_triple(triple: dict[str, Any]) -> tuple[str, ...] | None:
    parts = tuple(json_string(triple[part]).strip() for part in ("subject", "property", "object"))
    return parts if all(map(clean, parts)) else None


CORPUS = Corpus(
    "webnlg",
    PLACES,
    {"xml": (".xml",), **TABLES},
    read,
    frozenset({"lang", "encoding"}),
    mark_seen,
)
