"""Runs as `lora-nlg train`, `decode` and the scorers leave them, written small."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\"><b>Café</b> & \u2028 \U0001f600 \ud800"
"""What a page must show as it is: markup, an end of script, signs beyond the BMP, half a surrogate pair."""


def write_lines(path: Path, values: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def write_log(folder: Path, steps: int = 300, layers: int = 2) -> None:
    """A metrics.jsonl with a loss that is not a number and half a line at its end."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = math.nan if step == 7 else 1 + 2 * math.exp(-step / 60)
        lines.append({"kind": "train", "step": step, "loss": loss, "lr": 1e-4, "grad_norm": 1.0, "epoch": 1})
        if step % 100 == 0:
            lines.append({"kind": "valid", "step": step, "loss": loss + 0.1, "ppl": math.exp(loss)})
            speed = {"tokens_per_s": 1000.0, "seconds": 62.0, "peak_memory_mib": 10}
            lines.append({"kind": "speed", "step": step, **speed})
            norms = {f"transformer.h.{layer}.attn.c_attn": step / 100 + layer for layer in range(layers)}
            lines.append({"kind": "update", "step": step, **norms})
            lines.append({"kind": "valid", "step": step, "name": "sample", "text": HOSTILE})
    write_lines(folder / "metrics.jsonl", lines)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')


AREAS = ("riverside", "city centre")
FOODS = ("French", "Indian", "Italian")


def e2e_records(count: int = 60) -> list[dict[str, Any]]:
    """Records in E2E's form; the hostile text is a name, a reference and an id."""
    records = []
    for n in range(count):
        area, food = AREAS[n % 2], FOODS[n % 3]
        context = f"name : Pub {n} | Type : pub | area : {area}" + (f" | food : {food}" if n % 3 else "")
        texts = [f"Pub {n} is a pub in the {area} .", f"There is a pub , Pub {n} , in the {area} ."]
        records.append({"id": f"id {n}", "context": context, "references": texts, "category": ("even", "odd")[n % 2]})
    records[5] |= {"id": f"5 {HOSTILE}", "references": [HOSTILE], "context": f"name : {HOSTILE} | area : riverside"}
    return records


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data.jsonl` and the runs `good` and `poor`, which differ in lr and outputs."""
    folder = tmp_path_factory.mktemp("runs")
    records = e2e_records()
    write_lines(folder / "data.jsonl", records)
    for name, rate in (("good", 0.0002), ("poor", 0.01)):
        write_log(folder / name)
        lines = f"lora_dim: 4\nlr: {rate}\nlabel_smooth: 0.1\nlora_dropout: 0.1\nnote: '<i>'\n"
        (folder / name / "config.yaml").write_text(lines)
        outputs = []
        for n, record in enumerate(records):
            area = AREAS[(n + (name == "poor" and n % 4 == 0)) % 2]
            text = f"Pub {n} is a pub in the {area} ." if name == "good" or n % 5 else "Pub is pub is pub is"
            best = [{"hypothesis": text, "score": -0.5, "tokens": [1]}, {"hypothesis": f"Second of {n}", "score": -1.5}]
            outputs.append({"id": record["id"], "hypothesis": text, "n_best": best})
        outputs[5]["hypothesis"] = HOSTILE
        write_lines(folder / name / "predictions.jsonl", outputs)
    return folder
