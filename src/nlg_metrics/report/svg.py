"""What the report's drawings share: their size, ticks, printed numbers, the SVG element around them.

A drawing is made for a width of 400 units, that of a phone, so that its labels stay readable there; it takes its
colours from the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 38
"""Margins of a chart with axes."""
_DRAWN = 1e30  # an axis that reaches further overflows


def drawable(value: float) -> bool:
    """Whether a number is finite and its axis would be too."""
    return abs(value) < _DRAWN


def ticks(low: float, high: float, count: int, log: bool = False) -> list[float]:
    """Round numbers within the range, about `count` of them."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [base * 10.0**power for power in powers for base in (1, 2, 5)]
        return [mark for mark in marks if low <= mark <= high]
    rough = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(base * power for base in (1, 2, 5, 10) if base * power >= rough)
    first = math.ceil(low / stride - 1e-9)
    return [place * stride for place in range(first, math.floor(high / stride + 1e-9) + 1)]


def number(value: float) -> str:
    """At most seven signs, so that it fits beside an axis: `26.2k`, `1.5e-4`, `0.25`."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    if size < 1e-3 or size >= 1e9:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(power)}"
    for unit, sign in ((1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{value / (1e3 if sign == 'k' else unit):.3g}{sign}"
    return f"{value:.3g}" if size < 1000 else f"{value:.0f}"


def spread(count: int, most: int) -> list[int]:
    """Places of so many things, or of every k-th of them if they are more than `most`; always the last."""
    stride = max(1, math.ceil(count / most))
    return sorted({*range(0, count, stride), count - 1}) if count else []


def svg(width: int, height: int, label: str, parts: Sequence[Any], kind: str = "chart") -> str:
    """The element around a drawing's parts; `kind` is its class, `label` what it is called for who can't see it."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(label)}">'
        + "".join(map(str, parts))
        + "</svg>"
    )


def escaped(text: str) -> str:
    """As it stands in HTML, in attributes too."""
    return escape(text, quote=True)
