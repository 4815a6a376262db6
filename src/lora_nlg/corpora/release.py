"""What every corpus answers to: how a person has it read, where its files are, and what reading a split gives.

A split becomes records, counts, and every row left out with its file, place and reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_nlg.corpora.formats import AUTO, SUFFIXES, Rows, Wanted, open_rows
from lora_nlg.corpora.record import Record

SPLITS = ("train", "valid", "test")

TABLES = {form: SUFFIXES[form] for form in ("json", "parquet")}
"""The suffixes of the forms that exports come in."""

# Split → form → places to look, relative to the raw folder, the preferred form and place first. A folder stands
# for all XML files under it.
Places = Mapping[str, Mapping[str, Sequence[str]]]

_WHITE_SPACE = re.compile("[\x00-\x20\x7f]+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Source:
    """Where a split is read from: its form and its files, in reading order."""

    form: str
    files: list[Path]


@dataclass(frozen=True)
class Reading:
    """How a person wants a corpus read.

    Attributes:
        form: which of its forms to read; `auto` takes the first that is there.
        tokenize: E2E: give tables the text form's tokenisation.
        lang: WebNLG: the language of the texts to keep.
        context: own tables: the columns of the meaning representation; one stands for itself, of several each value
            follows its column's name.
        text: own tables: the columns of texts.
        id: own tables: the column of ids.
        category: own tables: the column of categories.
        delimiter, quoting, encoding: of delimited text, as for `formats.read_delimited`.
    """

    form: str = AUTO
    tokenize: bool = False
    lang: str = "en"
    context: Sequence[str] = ()
    text: Sequence[str] = ()
    id: str | None = None
    category: str | None = None
    delimiter: str = AUTO
    quoting: str = AUTO
    encoding: str = AUTO

    def open(self, path: Path, form: str, wanted: Wanted | None = None) -> Rows:
        """A table's rows; see `formats.open_rows`."""
        return open_rows(path, form, self.delimiter, self.quoting, self.encoding, wanted)


@dataclass(frozen=True)
class LeftOut:
    """One row, text or entry of a released file that is in no record.

    Attributes:
        file: the released file.
        place: where in it: `line 17` or, in JSON, `entry 17`.
        what: `row`, `text` or `entry`.
        reason: why it is left out.
    """

    file: Path
    place: str
    what: str
    reason: str


@dataclass
class Release:
    """One split as released.

    Attributes:
        source: the files it was read from.
        entries: entries in those files (E2E: rows), left out or not.
        texts: texts in those files, left out or not.
        records: what became of them.
        left_out: everything that is in no record.
        notes: what else to tell the user, a sentence each.
        controls: places that held control characters, which became blanks.
        beside: files read beside the source.
    """

    source: Source
    entries: int = 0
    texts: int = 0
    records: list[Record] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)

    def leave_out(self, file: Path, place: str, what: str, reason: str) -> None:
        """Note something that is in no record."""
        self.left_out.append(LeftOut(file, place, what, reason))

    def note_controls(self, file: Path, place: str, texts: Iterable[str]) -> None:
        """Note a place whose texts hold characters that `clean` turns into blanks though no file shows them."""
        where = f"{file.name}, {place}"
        if any(map(_CONTROL.search, texts)) and where not in self.controls[-1:]:
            self.controls.append(where)


@dataclass(frozen=True)
class Corpus:
    """A corpus: one module makes one.

    Attributes:
        name: what it is called on the command line.
        places: where the files of its releases lie; `{lang}` in a place stands for the language.
        suffixes: form → how files of other names end, by which they are known.
        read: reads a split.
        heeds: the fields of `Reading` it minds, beside `form`.
        finish: what is to be done when all splits are read; gives notes for the user.
    """

    name: str
    places: Places
    suffixes: Mapping[str, Sequence[str]]
    read: Callable[[str, Source, Reading], Release]
    heeds: frozenset[str] = frozenset({"delimiter", "quoting", "encoding"})
    finish: Callable[[Mapping[str, Release]], list[str]] = lambda releases: []


@dataclass(frozen=True)
class Item:
    """A row that is to be in a record: its context, texts (none in a blind test set), and what is said of it.

    Attributes:
        context, texts: as they will stand in the record.
        id, category: the row's own, or None.
        apart: whether it stays a record of its own even if its context comes again.
    """

    context: str
    texts: list[str]
    id: str | None = None
    category: str | None = None
    apart: bool = False


def pooled(split: str, items: Sequence[Item]) -> list[Record]:
    """Records of rows: one a distinct context, with all its texts, in order of first appearance.

    Where no row has a text there is nothing to pool: each row is a record, so that each gets its prediction.

    Args:
        split: names the ids of rows that have none.
        items: the rows.
    """
    blind = not any(item.texts for item in items)
    groups: dict[str | int, list[Item]] = {}
    for number, item in enumerate(items):
        groups.setdefault(number if blind or item.apart else item.context, []).append(item)
    times: Counter[str] = Counter()
    records = []
    for number, group in enumerate(groups.values(), start=1):
        name = next((item.id for item in group if item.id), f"{split}-{number}")
        times[name] += 1
        category = next((item.category for item in group if item.category), None)
        records.append(
            Record(
                name if times[name] == 1 else f"{name}-{times[name]}",
                group[0].context,
                [text for item in group for text in item.texts],
                category,
            )
        )
    return records


def clean(text: str) -> str:
    """The text with each run of blanks, tabs, line ends and control characters made one blank, and none at the ends."""
    return _WHITE_SPACE.sub(" ", text).strip(" ")


def json_string(value: object) -> str:
    """A string that came out of JSON, checked.

    Raises:
        TypeError: it is not a string, or holds a lone surrogate (half a character), which no file can hold.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r:.60}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise TypeError(f"half a character (a lone surrogate) in {value!r:.60}")
    return value


def linearise(triples: Iterable[Sequence[str]]) -> str:
    """`subject : property : object | …`, the form LoRA's WebNLG and DART inputs have."""
    return " | ".join(" : ".join(map(clean, triple)) for triple in triples)
