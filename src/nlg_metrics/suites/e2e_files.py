"""Reads the inputs of e2e-metrics' measure_scores.py exactly as it does: text, TSV and CSV, references and outputs.

Lines break wherever `str.splitlines` breaks them (also at U+2028, U+0085, vertical tab, …) and are stripped. A file
is a table when its name ends in .tsv or .csv. One thing differs: a line end inside a quoted field is a blank, as for
`lora-nlg prepare`; the tool glues the words on both sides.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_plain
from nlg_metrics.segments import Segments

# What the tool takes for the heading of a column: beginnings of fields, in any case.
_SOURCE = r"mr|src|source|meaning([_ .-]rep(resentation)?)?|da|dial(ogue)?[_ .-]act"
_OUTPUT = r"out(put)?|ref(erence)?|sys(tem)?([_ .-](out(put)?|ref(erence)?))?"
_REFERENCE = r"trg|tgt|target|ref(erence)?|human([_ .-](ref(erence)?))?"

# Damaged encodings in the challenge's files, mended in tables only, in this order.
_MENDED = (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é"))


def is_table(path: str | Path) -> bool:
    """Whether the tool reads the file as TSV/CSV: by its name's ending."""
    return re.search(r"\.[ct]sv$", str(path), re.IGNORECASE) is not None


def official_lines(path: str | Path) -> list[str]:
    """The stripped lines of a UTF-8 file as the tool has them: a byte order mark stays part of the first.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or JSON lines.
    """
    return [line.strip() for line in read_plain(path, "utf-8").splitlines()]


def _table_column(path: str | Path, heading: list[str], pattern: str) -> list[int]:
    return [index for index, field in enumerate(heading) if re.match(f"({pattern})s?", field, re.IGNORECASE)]


def read_table(path: str | Path, text_heading: str) -> tuple[list[str], list[str]]:
    """Source and text columns of a TSV or CSV file.

    Args:
        path: the file; tab-separated if its first line has a tab.
        text_heading: pattern of the text column's heading.

    Returns:
        Sources and texts, row by row.

    Raises:
        InputError: no heading, several columns for one purpose, a row of another length than the heading, or a quote
            that is never closed.
    """
    lines = official_lines(path)
    lines[0] = lines[0].replace("\ufeff", "")
    for wrong, right in _MENDED:
        lines = [line.replace(wrong, right) for line in lines]
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"{path} has no row")
    rows = _rows(path, lines)
    heading = rows[0]
    sources, texts = _table_column(path, heading, _SOURCE), _table_column(path, heading, text_heading)
    if len(sources) != 1 or len(texts) != 1:
        raise InputError(
            f"{path} needs a heading with one source column (mr, src, …) and one text column (ref, output, …); its "
            f"first line has {len(sources)} and {len(texts)}: {', '.join(heading)[:80]}"
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(heading):
            raise InputError(f"{path}: row {number} has {len(row)} columns, the heading {len(heading)}")
    return [row[sources[0]] for row in rows[1:]], [row[texts[0]] for row in rows[1:]]


def _rows(path: str | Path, lines: list[str]) -> list[list[str]]:
    """The rows of a table; a line end inside a quoted field is a blank (the tool glues the two words there)."""
    reader = csv.reader([f"{line}\n" for line in lines], delimiter="\t" if "\t" in lines[0] else ",")
    rows, before, read = [], 0, 0
    try:
        for row in reader:
            rows.append([field.strip("\n").replace("\n", " ") for field in row])
            before, read = read, reader.line_num
    except csv.Error as error:
        raise InputError(f"{path} is not a table: {error} (line {reader.line_num})") from None
    if read - before > 1 and "".join(lines[before:]).count('"') % 2:
        raise InputError(
            f"{path}: row {len(rows)} opens a quote that is never closed and takes in the rest of the file"
        )
    return rows


def read_references(path: str | Path, sources: Sequence[str]) -> list[list[str]]:
    """The references of each segment.

    Args:
        path: a table (source, reference), or text: one reference a line, a blank line between segments; without any
            blank line, one reference a segment.
        sources: the system file's sources. If any is not empty, a table's references are looked up by them;
            otherwise consecutive rows of one source are a segment.

    Raises:
        InputError: a source without reference, or an unreadable file.
    """
    if not is_table(path):
        groups: list[list[str]] = [[]]
        for line in official_lines(path):
            if line:
                groups[-1].append(line)
            else:
                groups.append([])
        if not groups[-1]:
            groups.pop()
        # One group means no blank line: one reference a segment.
        return [[reference] for reference in groups[0]] if len(groups) == 1 else groups
    reference_sources, texts = read_table(path, _REFERENCE)
    if not any(sources):
        groups = []
        previous = None
        for source, text in zip(reference_sources, texts, strict=True):
            if source != previous:
                groups.append([])
                previous = source
            groups[-1].append(text)
        return groups
    by_source: dict[str, list[str]] = {}
    for source, text in zip(reference_sources, texts, strict=True):
        by_source.setdefault(source, []).append(text)
    missing = [source for source in sources if source not in by_source]
    if missing:
        raise InputError(f"{path} has no reference for {len(missing)} source(s), the first: {missing[0][:120]}")
    return [by_source[source] for source in sources]


def read_outputs(path: str | Path, source_path: str | Path | None = None) -> tuple[list[str], list[str]]:
    """Sources and outputs of a system.

    Args:
        path: a table (source, output), or text, one output a line.
        source_path: file of sources the table's must equal, line by line. Default: no check.

    Raises:
        InputError: an unreadable file, or sources that differ.
    """
    if source_path is None and not is_table(path):
        outputs = official_lines(path)
        return [""] * len(outputs), outputs
    sources, outputs = read_table(path, _OUTPUT)
    if source_path is not None:
        expected = official_lines(source_path)
        if len(expected) != len(sources):
            raise InputError(f"{path} has {len(sources)} rows, but {source_path} {len(expected)} lines")
        for number, (source, wanted) in enumerate(zip(sources, expected, strict=True), start=1):
            if source != wanted:
                raise InputError(f"row {number} of {path} has another source than line {number} of {source_path}")
    return sources, outputs


def load(references_path: str | Path, outputs_path: str | Path, source_path: str | Path | None = None) -> Segments:
    """References and outputs as measure_scores.py loads them.

    Raises:
        InputError: unreadable files, or different numbers of segments (both counts are given).
    """
    sources, outputs = read_outputs(outputs_path, source_path)
    references = read_references(references_path, sources)
    if len(references) != len(outputs):
        raise InputError(
            f"{references_path} has references for {len(references)} segments, but {outputs_path} has "
            f"{len(outputs)} outputs; they must be equal"
        )
    for number, group in enumerate(references, start=1):
        if not group:
            raise InputError(f"{references_path}: segment {number} has no reference (two blank lines in a row)")
    return Segments.of_lines(outputs, references, sources)
