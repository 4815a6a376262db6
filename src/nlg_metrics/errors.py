"""The one exception unusable input raises; the scorers print it as a single line."""

from __future__ import annotations

import re

_LONGEST = 1200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InputError(ValueError):
    """Hypotheses, references or files that cannot be scored; the message says what was got and what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A message fit for a terminal: what a file or a name brought into it can't break the line, steer it or fill it."""
    shown = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST * 2 // 3]} … {shown[-_LONGEST // 3 :]}"
