"""Runs every check_*.py beside this file in a process that has the pretend device.

The device changes torch for the whole process and for good, so these tests can't share one with the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))


@pytest.mark.slow
@pytest.mark.timeout(1200)  # the first run compiles the device
@pytest.mark.parametrize("file", sorted(HERE.glob("check_*.py")), ids=lambda file: file.stem)
def test_checks(file: Path, tmp_path: Path) -> None:
    import torch

    from pretend_cuda import NoCompiler, build

    if torch.version.cuda is not None:
        pytest.skip("this torch is built for CUDA; `pytest -m gpu` tests the real thing")
    try:
        build()
    except NoCompiler as missing:
        pytest.skip(str(missing))
    path = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests"))
    command = [sys.executable, "-m", "pretend_cuda", "-m", "pytest", str(file), "-q", "-x", "--basetemp", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "-p", "no:cacheprovider"], env=environment, cwd=ROOT, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
