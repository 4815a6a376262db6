"""Fixtures shared by all tests: where the real corpora, vocabulary and recorded values lie, if they are here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One thread a process, set before torch is imported: the suite runs several processes side by side, and threads that
# wait for each other on busy cores take many times as long. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests never assert times; in CI the same examples are drawn every time.
settings.register_profile(
    "lora_nlg",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lora_nlg")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LORA_NLG_SHARED", ROOT.parent / "shared"))


def _shared(part: str) -> Path:
    path = SHARED / part
    if not path.exists():
        pytest.skip(f"needs {path} (real data, not part of the project; set LORA_NLG_SHARED to its folder)")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the released corpora (e2e/, webnlg/, dart/)."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_vocab() -> Path:
    """The folder with GPT-2's encoder.json and vocab.bpe."""
    return _shared("vocab/gpt2")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Recorded training curves and beam outputs of the predecessor."""
    return _shared("reference/golden")


@pytest.fixture(scope="session")
def shared_metrics() -> Path:
    """Recorded official scores and probes of the metric tools."""
    return _shared("reference/metrics")
