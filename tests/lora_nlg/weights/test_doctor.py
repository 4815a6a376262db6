"""`lora-nlg doctor` on this environment, on sound runs and data, and on broken ones."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_nlg.__main__ import main
from lora_nlg.commands import doctor
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods import LoRA
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights import AdapterInfo, describe_base, describe_tokenizer, save_adapter


@pytest.fixture
def run(tmp_path: Path, base_folder: Path, adapted: Callable[..., GPT2], vocabulary: Tokenizer) -> Path:
    base, folder = shutil.copytree(base_folder, tmp_path / "base"), tmp_path / "run"
    model = adapted()
    vocabulary.save(folder / "tokenizer")
    about = describe_tokenizer(vocabulary, folder / "tokenizer")
    save_adapter(folder, model, AdapterInfo(LoRA.of(model), describe_base(model, base), about, step=5))
    (folder / "metrics.jsonl").write_text('{"loss": 2.5, "ppl": 12.2}\n')
    return folder


def test_a_sound_environment_run_and_corpus(run: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "valid.jsonl").write_text('{"id": "1", "context": "a : b", "references": ["x", "y"]}\n')
    assert main(["doctor", str(run), str(data)]) == 0
    printed = capsys.readouterr().out
    assert "0 problems found" in printed and "FAIL" not in printed
    for part in (
        "ok    LoRA step: loss",
        "base, adapter and vocabulary fit together (LoRA on q (r=4, alpha=16, scaling 4), v (r=4, alpha=16, scaling 4); step 5)",
        "metrics: 1 lines; last validation loss 2.5000",
        "valid.jsonl: 1 records, 1 contexts, 2 references",
    ):
        assert part in printed


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (
            '{"id": "1", "context": "a", "references": ["x"], "seen": "yes"}',
            "FAIL",
            '"seen" must be true, false or null',
        ),
        (
            '{"id": "1", "context": "a", "references": ["x"], "category": 3}',
            "FAIL",
            '"category" must be a string or null',
        ),
        ('{"id": ["1"], "context": "a", "references": ["x"]}', "FAIL", '"id" must be a string or a whole number'),
        ('{"id": "1", "context": "Zi \\ud83c", "references": ["x"]}', "FAIL", "holds half a character"),
        ('{"id": "1", "context": "a", "references": []}', "FAIL", "nothing to train on"),
        (
            '{"id": "7", "context": "a", "references": ["x", " . "]}',
            "note",
            "a reference without a word (first: id '7')",
        ),
    ],
)
def test_what_scorers_and_training_would_refuse_is_said_before(tmp_path, capsys, line, status, said):
    (tmp_path / "train.jsonl").write_text(line + "\n")
    assert main(["doctor", str(tmp_path)]) == int(status == "FAIL")
    (shown,) = [printed for printed in capsys.readouterr().out.splitlines() if said in printed]
    assert shown.startswith(status) and "train.jsonl" in shown


def test_what_is_broken_is_named(run: Path, tmp_path: Path, capsys) -> None:
    shutil.rmtree(run / "tokenizer")
    moved = (tmp_path / "base").rename(tmp_path / "moved")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}\n")
    assert main(["doctor", str(run), str(tmp_path / "data"), str(tmp_path / "absent")]) == 1
    printed = capsys.readouterr().out
    assert "its base is no longer at" in printed and "say where it is with --init_checkpoint" in printed
    assert "train.jsonl, line 1" in printed and "nothing at" in printed and "4 problems found" in printed
    assert main(["doctor", str(run), "--init_checkpoint", str(moved)]) == 1
    assert "needs the vocabulary sentencepiece" in capsys.readouterr().out


def test_a_missing_package_and_a_broken_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: ["torch>=2.10", "no-such-package", "peft; extra == 'x'"]
    )
    monkeypatch.setattr(doctor, "fold", lambda model: lambda *_: model(*_) + 1)
    found = {check.name: check for check in doctor.environment()}
    assert found["packages"].status == "FAIL" and "not installed: no-such-package" in found["packages"].text
    assert found["LoRA step"].status == "FAIL" and "merged differs by" in found["LoRA step"].text
