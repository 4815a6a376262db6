"""The factorial's cells and main effects, worked by hand."""

import json
import subprocess
import sys
from pathlib import Path

EVAL = Path(__file__).resolve().parents[3] / "eval"


def run(*arguments):
    return subprocess.run([sys.executable, EVAL / "ablation_table.py", *arguments], capture_output=True, text=True)


def test_cells_and_paired_main_effects(tmp_path):
    # Seed 1: best 60, 62 and last 59, 60; seed 2: best 64, 65 and last 61, 64 (penalties 0.8, 0.9).
    values = {
        ("1", "best_loss", "0.8"): 0.60,
        ("1", "best_loss", "0.9"): 0.62,
        ("1", "last", "0.8"): 0.59,
        ("1", "last", "0.9"): 0.60,
        ("2", "best_loss", "0.8"): 0.64,
        ("2", "best_loss", "0.9"): 0.65,
        ("2", "last", "0.8"): 0.61,
        ("2", "last", "0.9"): 0.64,
    }
    for (seed, checkpoint, penalty), value in values.items():
        folder = tmp_path / f"seed-{seed}" / checkpoint / f"penalty-{penalty}"
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps({"scores": {"BLEU": {"value": value}}}))
    for seed, best in (("1", 20), ("2", 30)):
        for folder, step in ((".", 50), ("best", best)):
            described = tmp_path / f"train-{seed}" / folder / "adapter.json"
            described.parent.mkdir(parents=True, exist_ok=True)
            described.write_text(json.dumps({"step": step}))
    shown = run(tmp_path).stdout
    rows = shown.splitlines()
    assert "| best_loss (step 20, 30) | 62.00 ± 2.83 | 63.50 ± 2.12 |" in shown  # (60, 64) and (62, 65)
    # Penalty: seed 1 (2 + 1)/2 = 1.5, seed 2 (1 + 3)/2 = 2; mean 1.75, deviation 0.35.
    assert "| penalty: 0.9 instead of 0.8 | +1.75 ± 0.35 |" in shown
    # Checkpoint: seed 1 (1 + 2)/2 = 1.5, seed 2 (3 + 1)/2 = 2.
    assert "| checkpoint: best_loss instead of last | +1.75 ± 0.35 |" in shown
    # Both at once: 62 - 59 = 3 and 65 - 61 = 4.
    assert rows[-1].endswith("| +3.50 ± 0.71 |") and "the paper's way (best_loss, 0.9)" in rows[-1]
    assert [row.split()[1] for row in rows if "step" in row] == ["last", "best_loss"]


def test_an_empty_folder_is_one_line(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
