"""The DART corpus (v1.1.1), from its released JSON or XML, or an export.

Release: https://github.com/Yale-LILY/dart (Nan et al. 2021). A record is one entry: its triples with the relation
lower-cased, as LoRA's DART inputs have them, and all its texts; in a test set it may have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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

PLACES: Places = {
    split: {form: [f"dart-v1.1.1-full-{name}.{form}", f"{name}.{form}"] for form in ("json", "xml")}
    for split, name in (("train", "train"), ("valid", "dev"), ("test", "test"))
}

_Entry = tuple[str, list[tuple[str, ...] | None], list[tuple[str, str]]]  # place, triples, (text, place)


def read(split: str, source: Source, reading: Reading | None = None) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; names the ids.
        source: the files and their form, `json`, `xml` or `parquet`.
        reading: the encoding of JSON.

    Returns:
        The split, one record per entry with a text, in file order; of a test set also entries that have none.

    Raises:
        InputError: the file is absent, empty, malformed or not a DART release.
    """
    release, reading = Release(source), reading or Reading()
    for file in source.files:
        for place, triples, texts in _xml(file) if source.form == "xml" else _table(file, source.form, reading, split):
            release.entries += 1
            _add(release, split, file, place, triples, texts)
    return release


def _add(
    release: Release,
    split: str,
    file: Path,
    place: str,
    triples: list[tuple[str, ...] | None],
    texts: list[tuple[str, str]],
) -> None:
    release.texts += len(texts)
    release.note_controls(file, place, [text for text, _ in texts])
    release.note_controls(file, place, [part for triple in triples if triple for part in triple])
    whole = [triple for triple in triples if triple is not None]
    if not whole or len(whole) < len(triples):
        release.leave_out(file, place, "entry", "a triple is missing or is not subject | relation | object")
        return
    references = []
    for text, text_place in texts:
        if clean(text):
            references.append(clean(text))
        else:
            release.leave_out(file, text_place, "text", "empty")
    if not references and (texts or split != "test"):
        release.leave_out(file, place, "entry", "no text")
        return
    context = linearise((subject, relation.lower(), value) for subject, relation, value in whole)
    release.records.append(Record(f"{split}-{release.entries}", context, references))


def _xml(file: Path) -> Iterator[_Entry]:
    for entry in read_entries(file):
        triples = [split_triple(text) for text in entry.triples]
        yield f"line {entry.line}", triples, [(text.text, f"line {text.line}") for text in entry.texts]


def _table(file: Path, form: str, reading: Reading, split: str) -> Iterator[_Entry]:
    for row in reading.open(file, form).rows:
        entry = row.values
        try:
            triples = [_three_strings(triple) for triple in entry["tripleset"]]
            if entry.get("annotations") is not None or not (split == "test" or {"target", "references"} & entry.keys()):
                found = [annotation["text"] for annotation in rows(entry["annotations"], "annotations")]
            else:
                found = gem_texts(entry)
            texts = [(json_string(text), row.place) for text in found]
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{file}, {row.place}: not a DART entry ({type(error).__name__}: {error})") from None
        yield row.place, triples, texts


def _three_strings(triple: object) -> tuple[str, ...] | None:
    if not isinstance(triple, list) or len(triple) != 3:
        return None
    parts = tuple(json_string(part).strip() for part in triple)
    return parts if all(map(clean, parts)) else None


CORPUS = Corpus(
    "dart",
    PLACES,
    {"json": TABLES["json"], "xml": (".xml",), "parquet": TABLES["parquet"]},
    read,
    frozenset({"encoding"}),
)
