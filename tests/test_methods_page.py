"""docs/methods.md: its example of a method of one's own does what the page says, as a file outside the package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "data" / "sample"

IN_TURN = """
import json, sys
from lora_nlg.__main__ import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


@pytest.fixture
def lora_nlg(tmp_path):
    """Runs commands in one process with the page's example in a folder of methods, and returns what they printed."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mlp_adapter.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "LORA_NLG_METHODS": str(tmp_path / "methods"), "PYTHONPATH": str(ROOT / "src")}

    def run(*commands: list[str | Path]) -> str:
        words = [[str(word) for word in command] for command in commands]
        done = subprocess.run(
            [sys.executable, "-c", IN_TURN, json.dumps(words)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def test_the_example_trains_and_decodes_as_any_method(lora_nlg, tmp_path):
    run, data = tmp_path / "run", tmp_path / "few.jsonl"
    data.write_text("".join((SAMPLE / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:2]))
    common = ["--train_data", data, "--valid_data", data, "--init_checkpoint", SAMPLE / "base", "--work_dir", run]
    flags = ["--method", "mlp_adapter", "--mlp_adapter_dim", "4", "--max_step", "3", "--lr", "0.01"]
    flags += ["--warmup_step", "0", "--seq_len", "256", "--report_to", "none"]
    predictions = tmp_path / "predictions.jsonl"
    decode = ["decode", "--checkpoint", run, "--data", data, "--beam", "2", "--out", predictions]
    shown = lora_nlg(["train", *common, *flags], decode)
    assert "finished at step 3 of 3" in shown
    width, blocks = 256, 4
    assert f"{blocks * (2 * width * 4 + 4 + width):,} trainable parameters" in shown

    described = json.loads((run / "adapter.json").read_text())
    assert described["method"] == "mlp_adapter"
    assert described["settings"] == {"mlp_adapter_dim": 4}
    assert len(predictions.read_text().splitlines()) == 2


def test_the_example_trains_as_many_parameters_as_the_page_says(lora_nlg):
    shown = lora_nlg(["methods", "--model_card", "gpt2.md"])
    line = next(line for line in shown.splitlines() if line.startswith("mlp_adapter"))
    assert line.split()[1] == "417,984"
    assert "417,984" in PAGE
