"""Two random adapters of different rank on the sample's base, and records to ask about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lora_nlg.corpora.record import Record, read_records, write_records
from lora_nlg.gpt2 import lora_targets
from lora_nlg.lora import LoRASpec, inject
from lora_nlg.methods import LoRA
from lora_nlg.playground import Corpus, Playground, load_systems
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights import (
    AdapterInfo,
    describe_base,
    describe_tokenizer,
    load_base,
    load_run,
    save_adapter,
)

BASE = Path(__file__).resolve().parents[3] / "data" / "sample" / "base"
HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\"><b>Café</b> & \u2028 \U0001f600"
"""What the page must show as it is."""
CONTEXTS = ("name : Red Lantern | fare : 3 crowns", "name : Gull", f"name : {HOSTILE} | fare : free")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs `one` (r = 4) and `two` (r = 2), `test.jsonl`. Not to be written to."""
    folder = tmp_path_factory.mktemp("playground")
    tokenizer, base = load_tokenizer(BASE), load_base(BASE)
    torch.manual_seed(0)
    for name, r in (("one", 4), ("two", 2)):
        specs = {"q": LoRASpec(r, 32.0), "v": LoRASpec(r, 32.0)}
        adapted = load_base(BASE)
        inject(adapted, lora_targets(base.config, specs))
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(0, 0.02)
        info = AdapterInfo(LoRA(specs), describe_base(base, BASE), describe_tokenizer(tokenizer, BASE))
        save_adapter(folder / name, adapted, info)
    records = [Record(f"r{i}", context, [f"Text {i}.", HOSTILE]) for i, context in enumerate(CONTEXTS)]
    write_records(folder / "test.jsonl", records)
    return folder


@pytest.fixture(scope="session")
def playground(runs: Path) -> Playground:
    """Both runs over one base, with the records' contexts."""
    one = load_run(runs / "one")
    two = load_run(runs / "two", before=one)
    systems = load_systems({"one": one, "two": two})
    return Playground(systems, Corpus.of(read_records(runs / "test.jsonl")), command=lambda own: f"ask {own.context}")
