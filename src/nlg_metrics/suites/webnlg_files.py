"""GenerationEval's files and table: one hypothesis and one reference a line, and eval.py's printed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_lines, read_text
from nlg_metrics.segments import Segments

MOST_REFERENCE_FILES = 1000


def reference_paths(prefix: str, count: int) -> list[Path]:
    """The reference files of `-R prefix -nr count`: the path itself for one, `prefix0`, `prefix1`, … for more.

    Raises:
        InputError: fewer than one, or more than `MOST_REFERENCE_FILES`.
    """
    if count < 1:
        raise InputError(f"count is {count}; at least 1 reference is needed")
    if count > MOST_REFERENCE_FILES:
        raise InputError(f"{count} reference files asked for; at most {MOST_REFERENCE_FILES:,} are read")
    return [Path(prefix)] if count == 1 else [Path(f"{prefix}{number}") for number in range(count)]


def read_files(hypotheses: str | Path, references: Sequence[str | Path]) -> Segments:
    """Pair plain files line by line; a newline at a file's end is not a segment.

    Args:
        hypotheses: one hypothesis a line.
        references: see `read_references`.

    Returns:
        Segments named "1", "2", …

    Raises:
        InputError: a file is unreadable, or the numbers of lines differ; the message gives both.
    """
    texts = read_lines(hypotheses)
    return Segments.of_lines(texts, read_references(references, len(texts), hypotheses))


def read_references(references: Sequence[str | Path], count: int, hypotheses: str | Path) -> list[list[str]]:
    """The references of each segment, from one file a reference.

    A further reference file may end with the empty line of a segment that has fewer references (`…\\n` where the others
    have one more line).

    Args:
        references: files of one reference a line; an empty line stands for a missing reference and is kept.
        count: number of hypotheses.
        hypotheses: their file, for the message.

    Raises:
        InputError: a file is unreadable, or has another number of lines.
    """
    columns = []
    for number, path in enumerate(references):
        lines = read_lines(path)
        if number and len(lines) == count - 1 and read_text(path).endswith("\n"):
            lines.append("")
        if len(lines) != count:
            raise InputError(
                f"{hypotheses} has {count} lines but {path} has {len(lines)}; they must be equal (one segment a line)"
            )
        columns.append(lines)
    return [list(group) for group in zip(*columns, strict=True)]


def table(rows: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """eval.py's table: BLEU as printed by multi-bleu, the rest rounded to two digits.

    Args:
        rows: row name -> key -> value; with a single row its name isn't printed, as in eval.py.
        titles: key -> column heading, in order.
    """
    named = len(rows) > 1
    headings = [*(["Set"] if named else []), *titles.values()]
    body = [
        [*([name] if named else []), *(_number(values.get(key)) for key in titles)] for name, values in rows.items()
    ]
    widths = [
        # A column of numbers is at least two wider than its heading.
        max(len(heading) + (0 if named and column == 0 else 2), *(len(row[column]) for row in body))
        for column, heading in enumerate(headings)
    ]
    lines = [headings, ["-" * width for width in widths], *body]

    def align(cell: str, column: int) -> str:
        return cell.ljust(widths[column]) if named and column == 0 else cell.rjust(widths[column])

    return "\n".join("  ".join(align(cell, column) for column, cell in enumerate(line)) for line in lines)


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{round(value, 2):g}"
