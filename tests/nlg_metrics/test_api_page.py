"""docs/metrics-api.md: its blocks run, one after the other, and print what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics-api.md"


def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {"__name__": "page"}
    printed = []
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        printed.append(capsys.readouterr().out)
    assert "chrF++|" in printed[0]
    assert 0 < float(printed[1]) < 1
    assert "95% interval" in printed[3]
    assert [line.split()[0] for line in printed[4].splitlines()[:-1]] == [
        *("bleu", "rouge", "cider", "chrf++", "ter", "parent", "coverage")
    ]
    assert "length ratio = 1." in printed[5] or "length ratio = 0." in printed[5]
