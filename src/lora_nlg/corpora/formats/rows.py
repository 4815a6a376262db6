"""What every format of tables is read into: rows of named values, each with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        place: `line 17` or, where a format has no lines, `entry 17`.
        values: column → value; of JSON whatever stands there.
        problem: why the row has no values, "" where it has them.
    """

    place: str
    values: Any
    problem: str = ""


@dataclass(frozen=True)
class Rows:
    """A table.

    Attributes:
        file: where it was read from.
        found_out: its format, and what of it had to be found out, for people.
        columns: their names; of JSON those of the first rows.
        rows: the rows, read as they are asked for.
    """

    file: Path
    found_out: str
    columns: list[str]
    rows: Iterable[Row]


Wanted = Callable[[Sequence[str]], bool]
"""Whether a table's column names are those one looks for."""


def plain_name(column: str) -> str:
    """A column's name without what people vary: case, blanks, `_`, `-`."""
    return re.sub(r"[\W_]+", "_", column.strip().lower()).strip("_")


def columns_called(columns: Sequence[str], names: Collection[str]) -> list[str]:
    """The columns whose plain name is one of `names`, in the table's order."""
    return [column for column in columns if plain_name(column) in names]


def column_called(table: Rows, name: str, flag: str) -> str:
    """The column that a person called `name`: that very one, else the only one of the same plain name.

    Args:
        table: the table.
        name: what was asked for.
        flag: by which flag, for the message.

    Raises:
        InputError: there is none, or more than one.
    """
    exact = [column for column in table.columns if column == name]
    found = exact or columns_called(table.columns, {plain_name(name)})
    if len(found) == 1:
        return found[0]
    shown = ", ".join(column or "(unnamed)" for column in table.columns[:20])
    more = ", …" if len(table.columns) > 20 else ""
    how = f"no column {name!r}" if not found else f"{len(found)} columns {name!r}"
    raise InputError(f"`{flag}`: {table.file} has {how}; its columns are {shown or '(none)'}{more}")
