"""The trainer's flags for LoRA's relatives: a short real run with each, from the command line to the adapter file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.gpt2 import GPT2Config, empty_gpt2
from lora_nlg.tokenizers.sentencepiece import train_sentencepiece
from lora_nlg.weights import load_base, load_run, read_adapter, save_base
from lora_nlg.weights.merged import probe_logits


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=330, n_positions=64))
    model.reset_parameters()
    save_base(model, folder / "base")
    names = ["Anna", "Bea", "Carl", "Dora", "Emil", "Fay"]
    pairs = [(a, b) for a in names for b in names]
    records = [
        {"id": str(i), "context": f"name : {a} | friend : {b}", "references": [f"{a} knows {b} ."]}
        for i, (a, b) in enumerate(pairs)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    texts = [text for record in records for text in (record["context"], " " + record["references"][0])]
    train_sentencepiece(texts, 310).save(folder / "base")
    return folder


def train(inputs: Path, out: Path, *flags: str) -> None:
    status = main(
        ["train", "--train_data", str(inputs / "train.jsonl"), "--init_checkpoint", str(inputs / "base"),
         "--tokenizer", str(inputs / "base"), "--work_dir", str(out), "--seq_len", "60", "--max_step", "6",
         "--warmup_step", "0", "--scheduler", "constant", "--lr", "1e-2", "--lora_alpha", "8", "--device", "cpu",
         "--report_to", "none", *flags]
    )  # fmt: skip
    assert status == 0


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_each_variant_trains_saves_and_loads(inputs: Path, tmp_path: Path, variant: str) -> None:
    train(inputs, tmp_path / "run", "--lora_variant", variant, "--lora_targets", "q:r=2,v,fc")
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in losses if line.get("split", "train") == "train" and "loss" in line]
    assert losses[-1] < losses[0]
    info, tensors = read_adapter(tmp_path / "run")
    assert info.method.variant == variant and info.step == 6 and info.method.targets["q"].r == 2
    assert any("magnitude" in name for name in tensors) == (variant == "dora")
    assert any("init" in name for name in tensors) == (variant == "pissa")
    run = load_run(tmp_path / "run")
    assert (probe_logits(run.model) - probe_logits(load_base(inputs / "base"))).abs().max() > 1e-2


def test_resuming_a_variant_continues_it(inputs: Path, tmp_path: Path) -> None:
    """Continued from its third step, a run ends where it ended in one go; PiSSA's start is recomputed from the base."""
    flags = ["--lora_variant", "pissa", "--lora_plus_ratio", "4", "--save_interval", "3"]
    train(inputs, tmp_path / "run", *flags)
    whole = read_adapter(tmp_path / "run")[1]
    shutil.rmtree(tmp_path / "run" / "snapshots" / "step-00000006")
    (tmp_path / "run" / "adapter.safetensors").unlink()
    train(inputs, tmp_path / "run", *flags)
    for name, value in read_adapter(tmp_path / "run")[1].items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)


def test_lora_plus_and_lora_fa_change_what_moves(inputs: Path, tmp_path: Path) -> None:
    runs = {"plain": [], "plus": ["--lora_plus_ratio", "8"], "fa": ["--lora_freeze_a", "true"]}
    tensors = {}
    for name, flags in runs.items():
        train(inputs, tmp_path / name, *flags, "--max_step", "1")
        tensors[name] = read_adapter(tmp_path / name)[1]
    key = "transformer.h.0.attn.c_attn.lora_"
    plain, plus, fa = (tensors[name][f"{key}B"] for name in runs)
    torch.testing.assert_close(plus, 8 * plain, rtol=1e-4, atol=1e-7)  # B starts at zero
    torch.testing.assert_close(fa, plain)
    assert not torch.equal(tensors["fa"][f"{key}A"], torch.zeros(1)) and plain.abs().max() > 1e-3
    train(inputs, tmp_path / "fa3", "--lora_freeze_a", "true", "--max_step", "3")
    train(inputs, tmp_path / "plain3", "--max_step", "3")
    start, after = tensors["fa"][f"{key}A"], read_adapter(tmp_path / "fa3")[1][f"{key}A"]
    assert torch.equal(start, after)
    assert not torch.equal(read_adapter(tmp_path / "plain3")[1][f"{key}A"], start)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lora_variant", "vera"], "--lora_variant must be one of lora, dora, pissa, got vera"),
        (["--lora_plus_ratio", "0"], "--lora_plus_ratio must be above 0"),
        (["--lora_variant", "dora", "--lora_targets", "wte"], "dora adapts linear layers only"),
        (["--lora_variant", "pissa", "--lora_freeze_a", "true"], "choose one of the two"),
        (["--lora_targets", "q,x"], "unknown LoRA target 'x'"),
    ],
)
def test_flags_that_make_no_sense(inputs: Path, tmp_path: Path, capsys, flags: list[str], message: str) -> None:
    with pytest.raises(AssertionError):
        train(inputs, tmp_path / "run", *flags)
    assert message in capsys.readouterr().err.splitlines()[-1]
