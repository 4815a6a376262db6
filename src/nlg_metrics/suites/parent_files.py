"""Reads the three files of PARENT's official program as it does: generations, references and tables, a segment a line.

References lie on one line with tabs between them, and so do the entries of a table, whose members have `|||` between
them. Lines end at a newline, a carriage return or both; a byte order mark stays. One thing differs: files of unequal
length are refused, where the program scores the shortest.
"""

from __future__ import annotations

import re
from pathlib import Path

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_text
from nlg_metrics.metrics.tables import BARS
from nlg_metrics.segments import Segments

_LINE_END = re.compile("\r\n|\r|\n")


def is_table_file(path: str | Path) -> bool:
    """Whether a file is of the program's tables: `|||` stands in it."""
    return BARS in read_text(path)


def read(references: str | Path, generations: str | Path, tables: str | Path) -> Segments:
    """The segments of the program's three files.

    Raises:
        InputError: a file is unreadable or empty, or they have different numbers of lines.
    """
    files = {path: lines_of(path) for path in (generations, references, tables)}
    if len({len(lines) for lines in files.values()}) > 1:
        counts = ", ".join(f"{path} has {len(lines)} lines" for path, lines in files.items())
        raise InputError(f"{counts}; they must be equal (one segment a line)")
    texts = [line.strip() for line in files[generations]]
    return Segments.of_lines(texts, [split_references(line) for line in files[references]], files[tables])


def lines_of(path: str | Path) -> list[str]:
    """The lines of a file.

    Raises:
        InputError: it is unreadable or empty.
    """
    lines = _LINE_END.split(read_text(path, "utf-8"))
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path} is empty")
    return lines


def split_references(line: str) -> list[str]:
    """The references of a line: blank ones inside it stay, those at its ends go, and a blank line is one of them."""
    return line.strip().split("\t")
