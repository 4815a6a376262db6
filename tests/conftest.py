"""Fixtures shared by all tests: where the real corpora, vocabulary and recorded values lie, if they are here."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import forked_commands
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
def shared_methods() -> Path:
    """Recordings of tuning methods on the small base in `shared_golden`."""
    return _shared("reference/methods")


@pytest.fixture(scope="session")
def shared_metrics() -> Path:
    """Recorded official scores and probes of the metric tools."""
    return _shared("reference/metrics")


def released_csv(path: Path, records: list, n: int) -> None:
    """Write sample records in the released form of E2E: `mr,ref` with `slot[value]` attributes."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["mr", "ref"])
        for number, record in enumerate(records[:n]):
            for text in record.references:
                writer.writerow([f"name[Boat {number}], area[riverside]", text])


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next((name for name in found if name), None)
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def quick_commands() -> Iterator[Path]:
    """A folder to put first on PATH: its `lora-nlg` starts in milliseconds (see forking.py)."""
    with forked_commands() as folder:
        yield folder


@pytest.fixture
def workplace(tmp_path):
    """Raw E2E files, a random base with its vocabulary, and the environment that points the scripts at them."""
    # torch is imported only where it is needed: the metrics' tests run without it.
    import torch

    from lora_nlg.corpora.record import read_records
    from lora_nlg.gpt2 import empty_gpt2, named_config
    from lora_nlg.tokenizers import load_tokenizer
    from lora_nlg.weights.base import save_base

    if shutil.which("lora-nlg", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") is None:
        pytest.skip("lora-nlg is not installed beside this Python; run `make setup`")
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, split, n in (("trainset", "train", 24), ("devset", "valid", 6), ("testset_w_refs", "test", 5)):
        released_csv(raw / f"{name}.csv", read_records(ROOT / "data" / "sample" / f"{split}.jsonl"), n)
    tokenizer = load_tokenizer(ROOT / "data" / "sample" / "base")
    torch.manual_seed(0)
    model = empty_gpt2(named_config("gpt2.nano", n_layer=2, n_embd=32, n_head=2, vocab_size=tokenizer.vocab_size))
    model.reset_parameters()
    save_base(model, tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "RAW": str(raw),
        "DATA": str(tmp_path / "data"),
        "BASE": str(tmp_path / "base"),
        "MODEL": "gpt2.nano",
        "RUN": str(tmp_path / "run"),
        "NPROC": "2",
        "OMP_NUM_THREADS": "1",
    }
    return tmp_path, environment
