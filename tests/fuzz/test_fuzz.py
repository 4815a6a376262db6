"""Thousands of spoiled inputs: no traceback, no hang, nothing read as something else than it was.

In `make test` a few of each kind; `make test-fuzz` runs FUZZ_INPUTS of them (10,000). FUZZ_SEED gives others.
"""

from __future__ import annotations

import os
from pathlib import Path

import areas
import pytest
import weights_area
from fuzzing import fuzz, quiet

INPUTS = int(os.environ.get("FUZZ_INPUTS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
AREAS = {
    "JSON and YAML": (areas.json_and_yaml, 0.25),
    "flags": (areas.flags, 0.05),
    "corpora": (areas.corpora, 0.2),
    "scorers": (areas.scorers, 0.2),
    "weights": (weights_area.weights, 0.2),
    "journals": (areas.journals, 0.06),
    "downloads": (areas.downloads, 0.04),
}
"""Area -> what makes its targets in a folder, and its share of the inputs."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("area", AREAS)
def test_spoiled_inputs(area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path in a spoiled file leads nowhere else
    quiet(monkeypatch)
    make, share = AREAS[area]
    with make(tmp_path) as targets:
        report = fuzz(targets, round(INPUTS * share), SEED)
    with capsys.disabled():
        print(f"\n{area}: {report}")
    assert not report.faults, f"{len(report.faults)} faults (FUZZ_SEED={SEED}):\n" + "\n\n".join(report.faults)
