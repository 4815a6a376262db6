"""Tables as text: CSV, TSV and their kin. Encoding, delimiter and quoting are found out where nobody gives them.

Every delimiter is tried with every way of quoting on the file's beginning; the one under which the columns that are
looked for are there and the rows are as wide as the first is it. The rows themselves are read line by line.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lora_nlg.corpora.formats.rows import Row, Rows, Wanted
from lora_nlg.errors import InputError
from lora_nlg.files import check_readable

AUTO = "auto"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
QUOTINGS: dict[str, dict[str, Any]] = {
    "double": {"quotechar": '"'},
    "backslash": {"quotechar": '"', "doublequote": False, "escapechar": "\\"},
    "single": {"quotechar": "'"},
    "none": {"quoting": csv.QUOTE_NONE},
}
"""Name → csv's parameters: a quote inside is doubled, or behind a backslash; or quotes are characters like others."""
_SAID = {
    "double": "double quotes",
    "backslash": "double quotes escaped by backslashes",
    "single": "single quotes",
    "none": "no quoting",
}
_SAMPLE = 1 << 18
_LONGEST_LINE = 1 << 24


def read_delimited(
    path: Path, delimiter: str = AUTO, quoting: str = AUTO, encoding: str = AUTO, wanted: Wanted | None = None
) -> Rows:
    """A delimited text file with column names in its first line.

    Args:
        path: the file.
        delimiter: a name of `DELIMITERS`, a character, or `auto`.
        quoting: a name of `QUOTINGS`, or `auto`.
        encoding: Python's name of one, or `auto`: UTF-8 with or without byte order mark, or UTF-16.
        wanted: whether column names are those looked for: decides between delimiters. Default: any.

    Raises:
        InputError: the file can't be read or has no first line; also while the rows are read, where one is no CSV or
            no text in the encoding.
    """
    check_readable(path)
    encoding = encoding_of(path, encoding)
    sample = _sample(path, encoding)
    if not sample.strip():
        return Rows(path, "empty", [], [])
    whole = len(sample) < _SAMPLE
    tried = [
        (_fit(sample, whole, character, QUOTINGS[name], wanted), character, name)
        for character in _delimiters(delimiter)
        for name in _quotings(quoting, sample, character)
    ]
    # The first of equals: `max` keeps the order of the tables above.
    _, character, name = max(tried, key=lambda one: one[0])
    dialect = {"delimiter": character, "strict": True, **QUOTINGS[name]}
    _, header = next(_rows(path, encoding, dialect))
    columns = [column.strip() for column in header]
    between = next((word for word, known in DELIMITERS.items() if known == character), repr(character))
    quotes = _SAID[name] if name != "double" or '"' in sample else "no quotes"
    said = encoding.upper().replace("-SIG", " with byte order mark")
    return Rows(path, f"{between} between columns, {quotes}, {said}", columns, _named(path, encoding, dialect, columns))


def encoding_of(path: Path, given: str = AUTO) -> str:
    """The encoding of a text file.

    Args:
        path: the file; its first bytes tell UTF-8's and UTF-16's byte order marks, and UTF-16 without one.
        given: what a person says it is.

    Raises:
        InputError: Python knows no such encoding of text.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    if given != AUTO:
        try:
            "a".encode(given)
            name = codecs.lookup(given).name
        except (LookupError, ValueError):
            raise InputError(f"`encoding` {given!r} is none; give utf-8, utf-16, cp1252 or the like") from None
        return "utf-8-sig" if name == "utf-8" and head.startswith(codecs.BOM_UTF8) else name
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Letters of ASCII in UTF-16 are a NUL and the letter; a text in UTF-8 has no NUL.
    for name, nuls, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if nuls.count(0) > len(nuls) / 2 and not letters.count(0):
            return name
    return "utf-8"


def not_text(path: Path, encoding: str, line: int) -> InputError:
    """The message for a file that is not in the encoding."""
    name = encoding.upper().removesuffix("-SIG")
    with open(path, "rb") as file:
        head = file.read(4)
    for begins, what, instead in (
        (b"PK\x03\x04", "a workbook or another zip archive", "save the sheet as CSV"),
        (b"\x1f\x8b", "compressed", "gunzip it"),
    ):
        if head.startswith(begins):
            return InputError(f"{path} is not {name} text but {what}; {instead}")
    return InputError(f"{path} is not {name} text (about line {line}); say its `encoding`, such as cp1252")


def lines_of(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file with their ends, none of them without bound.

    Raises:
        InputError: a line is too long for one, or no text in the encoding.
    """
    number = 0
    with open(path, encoding=encoding, newline="") as file:
        try:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise InputError(f"{path}, line {number}, has more than {_LONGEST_LINE:,} characters: no table has")
                yield line
        except UnicodeError:
            raise not_text(path, encoding, number + 1) from None


def decoded(path: Path, encoding: str = AUTO) -> str:
    """All of a text file, its line ends made `\\n`.

    Raises:
        InputError: it can't be read, or is no text in the encoding.
    """
    check_readable(path)
    encoding = encoding_of(path, encoding)
    try:
        return path.read_text(encoding)
    except UnicodeError as error:
        raise not_text(path, encoding, _line_of(error)) from None


def _line_of(error: UnicodeError) -> int:
    """About the line of what can't be decoded."""
    before: bytes = getattr(error, "object", b"")[: getattr(error, "start", 0)]
    return before.count(b"\n") + 1


def _sample(path: Path, encoding: str) -> str:
    with open(path, encoding=encoding, newline="") as file:
        try:
            return file.read(_SAMPLE)
        except UnicodeError as error:
            raise not_text(path, encoding, _line_of(error)) from None


def _delimiters(given: str) -> list[str]:
    if given == AUTO:
        return list(DELIMITERS.values())
    character = DELIMITERS.get(given, "\t" if given == "\\t" else given)
    if len(character) != 1 or character in '"\r\n':
        raise InputError(f"`delimiter` {given!r} is no character; give one, or {', '.join(DELIMITERS)}")
    return [character]


def _quotings(given: str, sample: str, delimiter: str) -> list[str]:
    """What may be: backslashes only before quotes, single quotes only around the whole of a line's first value."""
    if given != AUTO:
        if given not in QUOTINGS:
            raise InputError(f"`quoting` is {given!r}; it must be one of {', '.join([AUTO, *QUOTINGS])}")
        return [given]
    names = ["backslash", "double"] if '\\"' in sample else ["double"]
    if re.search(rf"^'[^'\n]*'{re.escape(delimiter)}", sample, re.MULTILINE):
        names.append("single")
    # Where commas part columns, quotes are there for the commas; a quote that is never closed is damage.
    return [*names, "none"] if '"' in sample and delimiter in "\t|" else names


def _fit(
    sample: str, whole: bool, delimiter: str, quoting: dict[str, Any], wanted: Wanted | None
) -> tuple[bool, bool, float]:
    """How well a sample is read so: the wanted columns, several columns, the part of rows as wide as the first.

    One that is no CSV so fits worse than any that is.
    """
    found: list[Sequence[str]] = []
    broken = False
    try:
        found.extend(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True, **quoting))
    except csv.Error as error:
        broken = whole or "end of data" not in str(error)
    rows = [row for row in (found if whole else found[:-1]) if row]
    if not rows:
        return False, False, -1.0
    alike = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    names = [name.strip() for name in rows[0]]
    return wanted is not None and wanted(names), len(names) > 1, alike - broken


def _rows(path: Path, encoding: str, dialect: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, values) of every row, the heading first, without empty lines."""
    reader = csv.reader(lines_of(path, encoding), **dialect)
    first_line = 1
    try:
        for row in reader:
            if row:
                yield first_line, row
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: not CSV ({error}); `quoting` none takes quotes for characters"
        ) from None


def _named(path: Path, encoding: str, dialect: dict[str, Any], columns: list[str]) -> Iterator[Row]:
    rows = _rows(path, encoding, dialect)
    next(rows)
    for line, row in rows:
        if len(row) == len(columns):
            yield Row(f"line {line}", dict(zip(columns, row, strict=True)))
        else:
            yield Row(f"line {line}", {}, f"{len(row)} fields instead of {len(columns)}")
