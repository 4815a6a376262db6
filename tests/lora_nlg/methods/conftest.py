"""A small random base with a byte vocabulary and records, and the train command on them, in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.weights.base import save_base

CONFIG = GPT2Config(n_layer=3, n_embd=32, n_head=2, vocab_size=257, n_positions=96)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/ with its vocabulary, train.jsonl, valid.jsonl. Not to be written to."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.02 if "ln_" in name else 0.1))
    save_base(model, folder / "base")
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in kept] + [chr(256 + i) for i in range(256 - len(kept))]
    vocabulary = {character: i for i, character in enumerate(characters)} | {"<|endoftext|>": 256}
    (folder / "base/encoder.json").write_text(json.dumps(vocabulary))
    (folder / "base/vocab.bpe").write_text("#version: 0.2\n")
    generator = random.Random(0)
    for name, count in (("train", 32), ("valid", 4)):
        foods = [generator.choice(["thai", "french", "pub"]) for _ in range(count)]
        records = [
            {"id": str(i), "context": f"food : {food}", "references": [f"It is {food}."]}
            for i, food in enumerate(foods)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def train(inputs: Path) -> Callable[..., Path]:
    """`train(work_dir, method="bitfit", …)`: the run's folder, after 4 steps unless told otherwise."""

    def call(work_dir: Path, **changes: Any) -> Path:
        flags: dict[str, Any] = {
            "train_data": inputs / "train.jsonl", "init_checkpoint": inputs / "base", "seq_len": 64, "max_step": 4,
            "warmup_step": 1, "lr": 1e-2, "log_interval": 2, "save_interval": 2, "work_dir": work_dir,
            "report_to": "none", "device": "cpu", **changes,
        }  # fmt: skip
        assert main(["train", *(f"--{name}={value}" for name, value in flags.items())]) == 0
        return work_dir

    return call
