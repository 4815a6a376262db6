"""Reads hypotheses and references in whichever layout they come, and says which it found.

Layouts of references: a file for each reference (`a.txt b.txt`, or `PREFIX` of `PREFIX0`, `PREFIX1`, …), an empty line
standing for a missing one; groups of lines with blank lines between segments; one reference a line; a table of sources
and references (.tsv, .csv); JSON lines of `{"id", "references"}`. Hypotheses are one a line, or JSON lines of
`{"id", "hypothesis"}`. The number of hypotheses decides between layouts, so nothing has to be told or guessed.
Inputs, for metrics that need them, are in the table or the JSON lines, or in a file of their own, one a line; if that
is a table file of PARENT's program, the others are read as that program reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlg_metrics.errors import InputError
from nlg_metrics.files import is_json_lines, read_lines
from nlg_metrics.metrics.padding import without_blanks
from nlg_metrics.segments import UNITS, Segments, read_predictions, read_segments, read_segments_and_lines
from nlg_metrics.suites import e2e_files, parent_files, webnlg_files

_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Texts:
    """What was read.

    Attributes:
        segments: hypotheses and references, paired.
        layout: how the references lay there, in words.
        paths: the reference files, and the file of inputs.
        note: a sentence on what else lies there and was not used, or empty.
        tokenised: whether all tokens have blanks between them, as in the files of PARENT's program.
    """

    segments: Segments
    layout: str
    paths: list[Path]
    note: str
    tokenised: bool = False


def read_any(references: Sequence[str], hypotheses: str, tables: str | None = None) -> Texts:
    """Pair references of any layout with hypotheses.

    Args:
        references: one path or prefix, or a file for each reference.
        hypotheses: plain text or predictions.
        tables: file of inputs, one a line.

    Raises:
        InputError: a file can't be used, or no layout gives as many segments as there are hypotheses; the message has
            both numbers.
    """
    paths = [path for given in references for path in _found(given)]
    note = unused_note(paths)
    if tables is None:
        return _paired(paths, hypotheses, note)
    tokenised = parent_files.is_table_file(tables)
    if tokenised and len(paths) == 1 and not is_json_lines(paths[0]):
        segments = parent_files.read(paths[0], hypotheses, tables)
        return Texts(segments, "one line a segment, tabs between them", [*paths, Path(tables)], note, tokenised)
    found = _paired(paths, hypotheses, note)
    contexts = read_lines(tables)
    if len(contexts) != len(found.segments):
        raise InputError(
            f"{tables} has {len(contexts)} lines but there are {len(found.segments)} segments; they must be equal"
        )
    segments = replace(found.segments, contexts=contexts)
    return replace(found, segments=segments, paths=[*found.paths, Path(tables)], tokenised=tokenised)


def _paired(paths: list[Path], hypotheses: str, note: str) -> Texts:
    """The segments of reference files and hypotheses."""
    if len(paths) > 1:
        texts = read_hypotheses(hypotheses)
        groups = webnlg_files.read_references(paths, len(texts), hypotheses)
        segments = Segments.of_lines(texts, without_blanks(groups))
        return Texts(segments, f"one file a reference ({len(paths)} files)", paths, note)
    return Texts(*_single_file(paths[0], hypotheses), paths, note)


def _single_file(path: Path, hypotheses: str) -> tuple[Segments, str]:
    """The segments of one reference file, and its layout."""
    if is_json_lines(path):
        return _records(path, hypotheses)
    if e2e_files.is_table(path):
        return e2e_files.load(path, hypotheses), "a table of sources and references"
    texts, lines = read_hypotheses(hypotheses), read_lines(path)
    groups = _groups(lines)
    if len(groups) == len(texts) and len(lines) > len(texts):
        return Segments.of_lines(texts, groups), "groups with blank lines between them"
    if len(lines) == len(texts):
        return Segments.of_lines(texts, [[line] for line in lines]), "one a line"
    grouped = f" and {len(groups)} groups between blank lines" if len(groups) > 1 else ""
    raise InputError(
        f"{hypotheses} has {len(texts)} hypotheses, but {path} has {len(lines)} lines{grouped}; they must be equal"
    )


def _records(path: Path, hypotheses: str) -> tuple[Segments, str]:
    """The segments of JSON lines; a hypothesis for each of its contexts if they pair, else of its entries."""
    read = read_segments if is_json_lines(hypotheses) else read_segments_and_lines
    problems = []
    for unit in UNITS:
        try:
            return read(path, hypotheses, unit), f"JSON lines, a hypothesis for each of its {unit}"
        except InputError as error:
            problems.append(error)
    raise problems[-1]


def read_hypotheses(path: str) -> list[str]:
    """One hypothesis a line, or those of a predictions file in its order."""
    return list(read_predictions(path).values()) if is_json_lines(path) else read_lines(path)


def _groups(lines: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group]


def _found(given: str) -> list[Path]:
    """The file itself, or the files `given0`, `given1`, … in order."""
    path = Path(given)
    if path.exists():
        return [path]
    found = _numbered(path)
    if not found:
        raise InputError(f"no file {given}, nor files {given}0, {given}1, …")
    return found


def _numbered(prefix: Path) -> list[Path]:
    """The files whose names are `prefix` and a number, by number."""
    found = {}
    for path in prefix.parent.glob("*") if prefix.parent.is_dir() else ():
        rest = path.name.removeprefix(prefix.name)
        if path.is_file() and path.name.startswith(prefix.name) and rest.isascii() and rest.isdigit():
            found[int(rest)] = path
    return [found[number] for number in sorted(found)]


def unused_note(paths: Sequence[Path]) -> str:
    """A sentence naming reference files that lie beside those used and were not used; empty where there is none."""
    used = {path.resolve() for path in paths}
    unused: list[Path] = []
    for path in paths:
        match = _NUMBERED.fullmatch(path.name)
        prefix = path.with_name(match[1]) if match and match[1] else path
        unused += [other for other in _numbered(prefix) if other.resolve() not in used and other not in unused]
    if not unused:
        return ""
    names = ", ".join(str(path) for path in unused[:3]) + (", …" if len(unused) > 3 else "")
    return f"{len(unused)} more reference files lie there and are not used: {names}"
