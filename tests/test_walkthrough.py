"""The whole way a person goes, by the scripts they type: released CSV, records, LoRA on 2 ranks, beam search, scores.

Real files and real processes; only the base is small and random and the training short: nothing is said of quality.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from lora_nlg.corpora.record import read_records
from lora_nlg.tokenizers import load_tokenizer

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"


def test_from_released_csv_to_scores_by_the_scripts(workplace):
    folder, environment = workplace
    sizes = ["--n_layer", "2", "--n_embd", "32", "--n_head", "2"]
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "run.sh", "e2e", "--max_step", "3", "--warmup_step", "1", *sizes],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr

    records = read_records(folder / "data" / "test.jsonl")
    assert records[0].context == "name : Boat 0 | area : riverside"
    run = folder / "run"
    described = json.loads((run / "adapter.json").read_text())
    assert described["step"] == 3
    predictions = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [prediction["id"] for prediction in predictions] == [record.id for record in records]
    scores = json.loads((run / "scores.json").read_text())["scores"]
    assert {"BLEU", "ROUGE_L", "CIDEr"} <= scores.keys()  # NIST is undefined for outputs of a word or two
    assert "BLEU:" in done.stdout

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 3
    # A random model of V tokens starts near log V nats a token.
    vocabulary = load_tokenizer(SAMPLE / "base").vocab_size
    assert abs(losses[0] - torch.tensor(float(vocabulary)).log().item()) < 0.5


def test_a_missing_checkpoint_ends_in_one_line(workplace):
    folder, environment = workplace
    done = subprocess.run(
        [sys.executable, "-m", "lora_nlg", "decode", "--checkpoint", folder / "none", "--data", SAMPLE / "test.jsonl"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(folder / "none") in done.stderr.strip().splitlines()[-1]
