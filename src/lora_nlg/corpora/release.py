"""What reading a released split gives: records, counts, and every row left out with its file, place and reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_nlg.corpora.record import Record
from lora_nlg.errors import InputError

SPLITS = ("train", "valid", "test")

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
    """

    source: Source
    entries: int = 0
    texts: int = 0
    records: list[Record] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)

    def leave_out(self, file: Path, place: str, what: str, reason: str) -> None:
        """Note something that is in no record."""
        self.left_out.append(LeftOut(file, place, what, reason))

    def note_controls(self, file: Path, place: str, texts: Iterable[str]) -> None:
        """Note a place whose texts hold characters that `clean` turns into blanks though no file shows them."""
        where = f"{file.name}, {place}"
        if any(map(_CONTROL.search, texts)) and where not in self.controls[-1:]:
            self.controls.append(where)


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


def locate(corpus: str, raw: str | Path, places: Places, form: str = "auto") -> dict[str, Source]:
    """Find the splits of a corpus.

    Args:
        corpus: its name, for messages.
        raw: the folder of the released files.
        places: where the corpus's splits may lie.
        form: `auto` takes the first form found for each split; another value takes that form alone.

    Returns:
        Split → source, for the splits found.

    Raises:
        InputError: the folder is absent, the corpus has no such form, or no split is there.
    """
    raw = Path(raw)
    if not raw.is_dir():
        raise InputError(f"`raw`: no folder {raw}; get it with scripts/download_data.sh {corpus}")
    forms = list(dict.fromkeys(name for split in places.values() for name in split))
    if form != "auto" and form not in forms:
        raise InputError(f"`form` {form}: this corpus is released as {' and '.join(forms)}")
    found: dict[str, Source] = {}
    looked: list[str] = []
    for split, by_form in places.items():
        for name in [form] if form != "auto" else by_form:
            if split not in found:
                looked += by_form[name]
                if files := _first_present(raw, by_form[name]):
                    found[split] = Source(name, files)
    if not found:
        odd = next((file.name for file in sorted(raw.rglob("*")) if file.suffix in (".parquet", ".arrow")), None)
        hint = f" (export {odd} as JSON first: `Dataset.to_json`)" if odd else ""
        raise InputError(f"`raw` {raw}: found none of {', '.join(looked)}; give the folder that holds them{hint}")
    return found


def _first_present(raw: Path, places: Sequence[str]) -> list[Path]:
    for place in places:
        path = raw / place
        if path.is_file():
            return [path]
        if path.is_dir():
            # Sorted by path, so that the order does not depend on the file system; hidden files are no data.
            files = [file for file in path.rglob("*.xml") if not file.name.startswith(".")]
            if files:
                return sorted(files, key=lambda file: file.relative_to(path).as_posix())
    return []
