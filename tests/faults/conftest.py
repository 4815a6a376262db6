"""A tiny base, vocabulary and data on disk, and the command line that trains on them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Ended, result, run, start_server

from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.weights.base import save_base

STEPS = 30


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/ (a random GPT-2 with a byte vocabulary), train.jsonl and valid.jsonl."""
    start_server()
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=257, n_positions=128))
    model.reset_parameters()
    save_base(model, folder / "base")
    # GPT-2's byte alphabet with no merges: printable bytes stand for themselves, the others for 256, 257, …
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    characters = [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(others))]
    vocabulary = {character: i for i, character in enumerate(characters)} | {"<|endoftext|>": 256}
    (folder / "base/encoder.json").write_text(json.dumps(vocabulary))
    (folder / "base/vocab.bpe").write_text("#version: 0.2\n")
    generator = random.Random(0)
    for name, count in (("train", 50), ("valid", 8)):
        lines = []
        for i in range(count):
            food, area = generator.choice(["thai", "french", "pub"]), generator.choice(["north", "south"])
            text = f"A {food} place in the {area}."
            record = {"id": str(i), "context": f"food : {food} | area : {area}", "references": [text]}
            lines.append(json.dumps(record) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def arguments(inputs: Path) -> Callable[..., list[str]]:
    """The flags of the reference run for a run directory; keyword arguments replace or add flags."""

    def make(work_dir: Path, **changes: object) -> list[str]:
        flags: dict[str, object] = {
            "train_data": inputs / "train.jsonl",
            "valid_data": inputs / "valid.jsonl",
            "init_checkpoint": inputs / "base",
            "seq_len": 100,
            "train_batch_size": 4,
            "lora_dropout": 0.2,
            "label_smooth": 0.1,
            "lr": 3e-3,
            "warmup_step": 3,
            "max_step": STEPS,
            "log_interval": 4,
            "eval_interval": 10,
            "save_interval": 7,
            "work_dir": work_dir,
            "device": "cpu",
            **changes,
        }
        return [f"--{name}={value}" for name, value in flags.items()]

    return make


@pytest.fixture(scope="session")
def reference(arguments: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The result of the run that nothing happened to."""
    folder = tmp_path_factory.mktemp("reference")
    ended: Ended = run(arguments(folder / "run"), folder / "log")
    assert ended.code == 0, ended.output
    return result(folder / "run")
