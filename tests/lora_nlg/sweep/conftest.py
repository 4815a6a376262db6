"""A small base with its vocabulary, and records to train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.tokenizers.sentencepiece import train_sentencepiece
from lora_nlg.weights import save_base


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base/`, `train.jsonl` (48 pairs of unequal length) and `valid.jsonl`. Not to be written to."""
    folder = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=320, n_positions=64))
    model.reset_parameters()
    save_base(model, folder / "base")
    names = ["Anna", "Bea", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana"]
    records = []
    for i, (a, b) in enumerate((a, b) for a in names for b in names[:7]):
        context = f"name : {a} | friend : {b}" + (" | town : Ulm" if i % 3 else "")
        records.append({"id": str(i), "context": context, "references": [f"{a} knows {b}" + " well" * (i % 4) + " ."]})
    for name, part in (("train", records[:48]), ("valid", records[48:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in part))
    texts = [text for record in records for text in (record["context"], " " + record["references"][0])]
    train_sentencepiece(texts, 320).save(folder / "base")
    return folder
