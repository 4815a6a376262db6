"""The check of a card: its rows, its time limits, and on a machine with a GPU the check itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script with this Python."""
    command = ["bash", str(ROOT / "scripts" / "check_gpu.sh"), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, text=True, capture_output=True)


def test_a_row_survives_the_way_between_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    from gpu_check.rows import Report, Row, table

    report = Report("part")
    report.note("figure", "12 ms")
    report.at_most("small", 1e-7, 1e-6)
    report.at_most("large", 1e-5, 1e-6)
    report.at_most("no number", float("nan"), 1e-6)
    report.skip("absent", "not installed")
    lines = capsys.readouterr().out.splitlines()
    rows = [Row.parse(line) for line in lines]
    assert [row.verdict for row in rows if row] == ["", "ok", "FAIL", "FAIL", "skipped"]
    assert [str(row) for row in rows] == lines
    assert Row.parse("a line of something else") is None
    assert "1 passed, 2 failed, 1 skipped." in table([row for row in rows if row])


def test_a_part_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    result = check("--device", "cpu", "--parts", "attention", "--patience", "0.001", "--limit", "1e6")
    assert result.returncode == 1
    assert "ended after 0 s" in result.stdout and "1 failed" in result.stdout


def test_a_part_that_breaks_is_a_failure() -> None:
    result = check("--device", "cuda:99", "--parts", "attention")
    assert result.returncode == 1
    assert "cuda:99" in result.stdout and "1 failed" in result.stdout


@pytest.mark.gpu
@pytest.mark.parametrize(
    "part", ["versions", "attention", "steps", "methods", "decoding", "golden", "repeat", "sweep", "ranks"]
)
def test_on_this_card(part: str) -> None:
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    result = check("--device", "cuda", "--parts", part, "--patience", "3")
    assert result.returncode == 0, result.stdout + result.stderr
