"""Compared methods: the best rate, means over seeds, tests against LoRA, published rows; from folders written small."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from nlg_metrics.commands.methods import main
from nlg_metrics.errors import InputError
from nlg_metrics.report.methods import best_rate, read_methods, score_methods, tried_rates
from nlg_metrics.report.published import PUBLISHED

from .conftest import AREAS, e2e_records, write_lines

METHODS = [
    {"name": "full", "title": "full fine-tuning", "published": ["full"], "trained": 4000, "kept": 4000},
    {"name": "lora", "title": "LoRA r=4", "published": ["LoRA r=4"], "trained": 40, "kept": 40},
    {"name": "prefix", "title": "prefix of 5", "published": ["prefix"], "trained": 900, "kept": 60},
    {"name": "ia3", "title": "(IA)³", "published": [], "trained": 10, "kept": 10},
]
WRONG = {"full": 0.1, "lora": 0.1, "prefix": 0.7}
"""Method → share of its outputs that name the other area."""


def write_rate(root: Path, method: str, rate: str, loss: float | None, done: bool = True) -> None:
    folder = root / "rates" / method / rate
    write_lines(folder / "metrics.jsonl", [{"kind": "train", "step": 1, "loss": 3.0}])
    if loss is not None:
        write_lines(folder / "metrics.jsonl", [{"kind": "valid", "step": 8, "loss": loss}])
    if done:
        (folder / "done").touch()


def write_seed(root: Path, method: str, seed: int, records: list[dict[str, Any]]) -> None:
    folder = root / method / f"seed-{seed}"
    outputs = []
    for n, record in enumerate(records):
        wrong = (7 * n + seed) % 10 < 10 * WRONG[method]
        text = f"Pub {n} is a pub in the {AREAS[(n + wrong) % 2]} ."
        outputs.append({"id": record["id"], "hypothesis": text})
    write_lines(folder / "predictions.jsonl", outputs)
    speed = [{"kind": "speed", "step": step, "seconds": taken, "peak_memory_mib": 100.0 + seed} for step, taken in
             ((10, 9.0), (20, 2.0), (30, 3.0))]  # fmt: skip
    write_lines(folder / "metrics.jsonl", speed)
    (folder / "config.yaml").write_text("lr: 0.003\n")
    (folder / "best").mkdir()
    (folder / "best" / "adapter.safetensors").write_bytes(b"\0" * 300)
    (folder / "done").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    records = e2e_records()
    write_lines(tmp_path / "data" / "test.jsonl", records)
    (tmp_path / "methods.json").write_text(json.dumps({"base": "gpt2.nano", "methods": METHODS}))
    for method in WRONG:
        for rate, loss in (("0.001", 1.5), ("0.003", 1.2), ("0.01", 1.3)):
            write_rate(tmp_path, method, rate, loss)
        for seed in (1, 2) if method == "lora" else (1,):
            write_seed(tmp_path, method, seed, records)
    return tmp_path


def test_the_best_rate_is_that_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    for rate, loss in (("1e-05", 2.0), ("0.0003", 1.5), ("0.001", None), ("0.01", math.nan)):
        write_rate(tmp_path, "lora", rate, loss)
    write_rate(tmp_path, "lora", "0.003", 0.1, done=False)
    assert tried_rates(tmp_path, "lora") == {"1e-05": 2.0, "0.0003": 1.5, "0.001": math.inf, "0.01": math.inf}
    assert best_rate(tmp_path, "lora") == "0.0003"


def test_a_method_without_a_sound_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no learning rate was tried"):
        best_rate(tmp_path, "lora")
    write_rate(tmp_path, "lora", "0.1", None)
    with pytest.raises(InputError, match=r"diverged at every learning rate tried \(0.1\)"):
        best_rate(tmp_path, "lora")


def test_scores_are_the_runs_and_differences_from_lora_are_tested(root: Path) -> None:
    methods = {one.name: one for one in read_methods(root)}
    columns = score_methods(list(methods.values()), "e2e", root / "data" / "test.jsonl", resamples=2000)
    assert list(methods) == ["full", "lora", "prefix"]  # ia3 has no run
    assert columns[:5] == ["BLEU", "NIST", "METEOR", "ROUGE-L", "CIDEr"]

    lora = methods["lora"].scores["ROUGE-L"]
    assert len(lora.values) == 2 and lora.p is None
    assert lora.mean == pytest.approx(statistics.fmean(lora.values))
    assert lora.deviation == pytest.approx(abs(lora.values[0] - lora.values[1]) / math.sqrt(2))
    assert lora.low < lora.mean < lora.high
    # Seven outputs in ten wrong against one in ten: no chance. The same share of wrong ones: nothing but chance.
    prefix, full = methods["prefix"].scores["ROUGE-L"], methods["full"].scores["ROUGE-L"]
    assert full.deviation is None
    assert prefix.p is not None and prefix.p < 0.02 and prefix.high < lora.low
    assert full.p is not None and full.p > 0.5


def test_what_runs_cost(root: Path) -> None:
    lora = next(one for one in read_methods(root) if one.name == "lora")
    assert lora.seconds_a_step == pytest.approx(0.3)  # 0.9, 0.2, 0.3: the first interval holds the start
    assert lora.peak_memory_mib == 102
    assert lora.bytes_on_disk == 300
    assert lora.rate == 0.003 and not lora.rate_is_at_the_edge


def test_the_table_shows_ours_and_the_published_rows_of_the_same_method(root: Path, capsys) -> None:
    write_rate(root, "prefix", "0.01", 1.4)
    write_rate(root, "prefix", "0.001", 1.4, done=False)
    (root / "rates" / "prefix" / "0.001" / "done").unlink()
    assert main([str(root), "--corpus", "e2e", "--resamples", "2000"]) == 0
    shown = capsys.readouterr().out
    assert (root / "table.md").read_text() == shown
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line.startswith("| ")]
    headings, *body = rows
    prefix = next(row for row in body if row[0] == "**prefix of 5**")
    assert prefix[headings.index("trained")] == "900 (60 kept)"
    assert prefix[headings.index("lr")] == "0.003 †"  # nothing lower is left
    assert prefix[headings.index("ROUGE-L")].endswith(" *")
    assert next(row for row in body if row[0] == "**LoRA r=4**")[-1] == "ours, 2 seeds"
    published = [row.method for row in PUBLISHED["e2e"]]
    assert [row[0] for row in body if row[-1] == "Hu et al." and row[0].startswith("prefix")] == [
        name for name in published if name.startswith("prefix")
    ]
    assert "| LoRA r=4 | 0.001: 1.5000 · **0.003: 1.2000** · 0.01: 1.3000 |" in shown

    with (root / "table.csv").open() as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert float(lines["prefix"]["ROUGE-L p"]) < 0.02
    assert lines["lora"]["ROUGE-L p"] == "" and lines["lora"]["seeds"] == "2"
    assert (root / "table.svg").read_text().count("trained parameters") == 5
