"""A finding of the check, as a line between processes and as a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARK = "ROW"


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        part, check: what was looked at.
        found: the figure.
        limit: what it has to keep; empty where it only informs.
        verdict: `ok`, `FAIL`, `skipped`, or empty where it only informs.
    """

    part: str
    check: str
    found: str
    limit: str = ""
    verdict: str = ""

    def __str__(self) -> str:
        """As `parse` reads it."""
        return "\t".join((MARK, self.part, self.check, self.found, self.limit, self.verdict))

    @classmethod
    def parse(cls, line: str) -> Row | None:
        """The row a line holds, if it holds one."""
        mark, *fields = line.rstrip("\n").split("\t")
        return cls(*fields) if mark == MARK and len(fields) == 5 else None


class Report:
    """Says the rows of one part, at once."""

    def __init__(self, part: str) -> None:
        self.part = part

    def note(self, check: str, found: str, limit: str = "") -> None:
        """A figure that only informs."""
        print(Row(self.part, check, found, limit), flush=True)

    def skip(self, check: str, why: str) -> None:
        """Something that can't be looked at here."""
        print(Row(self.part, check, why, "", "skipped"), flush=True)

    def require(self, check: str, holds: bool, found: str, limit: str = "") -> None:
        """Something that has to be so."""
        print(Row(self.part, check, found, limit, "ok" if holds else "FAIL"), flush=True)

    def at_most(self, check: str, value: float, most: float) -> None:
        """A difference that has to be small; a value that is no number is not."""
        self.require(check, value <= most, f"{value:.2g}", f"{most:.2g}")


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| part | check | found | limit | |", "|---|---|---|---|---|"]
    lines += [f"| {row.part} | {row.check} | {row.found} | {row.limit} | {row.verdict} |" for row in rows]
    failed = sum(row.verdict == "FAIL" for row in rows)
    skipped = sum(row.verdict == "skipped" for row in rows)
    passed = sum(row.verdict == "ok" for row in rows)
    return "\n".join([*lines, "", f"{passed} passed, {failed} failed, {skipped} skipped."])
