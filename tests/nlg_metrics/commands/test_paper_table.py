"""The paper's table: a mean and deviation worked by hand, and refusal to average unlike scores."""

import json
import subprocess
import sys
from pathlib import Path

EVAL = Path(__file__).resolve().parents[3] / "eval"


def scores(path, bleu, nist, signature="BLEU|tok:a", subsets=None):
    def entry(value):
        return {"name": "x", "value": value, "parts": {}, "signature": signature, "interval": None}

    record = {"scores": {"BLEU": entry(bleu), "NIST": entry(nist), "bleu": entry(bleu)}, "subsets": subsets or {}}
    path.write_text(json.dumps(record))
    return str(path)


def run(*arguments):
    return subprocess.run([sys.executable, EVAL / "paper_table.py", *arguments], capture_output=True, text=True)


def test_mean_and_sample_deviation(tmp_path):
    # BLEU 69, 70, 71 points: mean 70, sample deviation 1. NIST 8.5, 8.7, 8.9: mean 8.7, deviation 0.2.
    files = [
        scores(tmp_path / f"{seed}.json", bleu, nist, signature=f"BLEU|tok:a|predictions:{seed}abc")
        for seed, bleu, nist in ((1, 0.69, 8.5), (2, 0.70, 8.7), (3, 0.71, 8.9))
    ]
    done = run("e2e", *files, "--base", "nano (ours)")
    assert done.returncode == 0, done.stderr
    ours = next(line for line in done.stdout.splitlines() if "ours" in line)
    assert "| 70.0±1.00 | 8.70±0.200 | – |" in ours
    assert "| GPT-2 M | LoRA r=4 | 70.4±.1 | 8.85±.02 | 46.8±.2 | 71.8±.1 | 2.53±.02 | Hu et al. |" in done.stdout


def test_subsets_fill_the_columns_of_webnlg(tmp_path):
    entry = {"name": "BLEU", "value": 46.7, "parts": {}, "signature": "s", "interval": None}
    file = scores(tmp_path / "1.json", 55.3, 0.0, "s", {"unseen": {"scores": {"bleu": entry}}})
    ours = next(line for line in run("webnlg", file).stdout.splitlines() if "ours" in line)
    assert ours.split("|")[3:6] == [" 46.7 ", " – ", " 55.3 "]


def test_scores_made_differently_are_not_averaged(tmp_path):
    files = [scores(tmp_path / f"{tok}.json", 0.7, 8.0, signature=f"BLEU|tok:{tok}") for tok in "ab"]
    done = run("e2e", *files)
    assert done.returncode == 1
    assert "computed in different ways" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_one_line(tmp_path):
    done = run("e2e", str(tmp_path / "none.json"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
