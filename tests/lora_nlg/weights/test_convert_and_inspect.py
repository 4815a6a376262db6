"""`lora-nlg convert` and `inspect` as a person runs them: every way there and back, and every refusal's one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods import LoRA
from lora_nlg.methods.full import Full
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights import (
    AdapterInfo,
    describe_base,
    describe_tokenizer,
    load_base,
    load_run,
    save_adapter,
    save_base,
    save_full_model,
)
from lora_nlg.weights.loralib import write_loralib
from lora_nlg.weights.lowrank import extract
from lora_nlg.weights.merged import probe_logits

Adapted = Callable[..., GPT2]


@pytest.fixture
def base(tmp_path: Path, base_folder: Path, vocabulary: Tokenizer) -> Path:
    vocabulary.save(shutil.copytree(base_folder, tmp_path / "base"))
    return tmp_path / "base"


@pytest.fixture
def run(tmp_path: Path, base: Path, adapted: Adapted, vocabulary: Tokenizer) -> Path:
    model = adapted("q:r=2,v")
    about = describe_tokenizer(vocabulary, base)
    info = AdapterInfo(LoRA.of(model), describe_base(model, base), about, step=12)
    save_adapter(tmp_path / "run", model, info)
    return tmp_path / "run"


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_there_and_back_through_every_format(run: Path, base: Path, tmp_path: Path, capsys) -> None:
    ours = probe_logits(load_run(run).model)
    plain = probe_logits(load_base(base))
    there = {"peft": tmp_path / "peft", "loralib": tmp_path / "m" / "model.pt", "adapter": tmp_path / "copy"}
    for to, out in there.items():
        assert call("convert", run, "--to", to, "--out", out) == 0
        printed = capsys.readouterr().out
        assert "read back, the largest logit difference to the source is" in printed and str(out) in printed
    assert "--lora_dim 4 --lora_alpha 32" in call_output(
        capsys, "convert", run, "--to", "loralib", "--out", there["loralib"]
    )
    assert "r=2 alpha=16 (alpha/r), scaling 8" in call_output(capsys, "inspect", there["adapter"])
    for source, flags in (
        (there["peft"], ["--init_checkpoint", base]),
        (there["loralib"], ["--init_checkpoint", base, "--lora_alpha", 32]),
        (there["adapter"], []),
    ):
        back = tmp_path / f"back-{source.name}"
        assert call("convert", source, "--to", "adapter", "--out", back, *flags) == 0
        again = load_run(back)
        torch.testing.assert_close(probe_logits(again.model), ours, rtol=0, atol=1e-5)
        assert (ours - plain).abs().max() > 1e-2
        assert again.info.base is not None and Path(again.info.base.path) == base.resolve()


def call_output(capsys, *arguments: object, status: int = 0) -> str:
    assert call(*arguments) == status
    return capsys.readouterr().out


def test_merged_has_the_vocabulary_and_can_be_decoded(run: Path, base: Path, tmp_path: Path, capsys) -> None:
    printed = call_output(capsys, "convert", run, "--to", "merged", "--out", tmp_path / "merged", "--dtype", "bf16")
    assert "merged, bf16; largest logit difference to the unmerged model" in printed
    shutil.rmtree(base)
    whole = load_run(tmp_path / "merged")
    assert whole.tokenizer.vocab_size == 330 and whole.info.method == Full()


def test_a_full_loralib_file_brings_its_base(base: Path, adapted: Adapted, tmp_path: Path, capsys) -> None:
    model, file = adapted("q,v"), tmp_path / "model.20.pt"
    write_loralib(file, extract(model), load_base(base))
    described = call_output(capsys, "inspect", file)
    assert "with the base and LoRA weights" in described
    assert (
        "alpha/4; alpha is not in the file: convert with --lora_alpha 32 (the published command; scaling 8) or "
        in described
    )
    assert "128 (the code's default; scaling 32)" in described
    flags = ["--to", "adapter", "--out", tmp_path / "out", "--lora_alpha", 16]
    assert call("convert", file, *flags) == 1
    assert "GPT-2 of 2 blocks, width 48 of unknown number of heads; give --model_card" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        from lora_nlg.gpt2 import config

        patch.setitem(config.SIZES, "gpt2.tiny", {"n_layer": 2, "n_embd": 48, "n_head": 3})
        assert call("convert", file, *flags) == 0
        assert torch.equal(probe_logits(load_run(tmp_path / "out", tokenizer=base).model), probe_logits(model))
    assert call("convert", file, *flags, "--init_checkpoint", base) == 0


def test_a_full_loralib_file_saved_merged_or_with_another_base(
    base: Path, adapted: Adapted, tmp_path: Path, capsys, caplog
) -> None:
    model, file = adapted("q,v"), tmp_path / "model.20.pt"
    write_loralib(file, extract(model), load_base(base))
    state = torch.load(file, weights_only=True)["model_state_dict"]
    with torch.no_grad():
        for i in range(2):
            layer = model.get_submodule(f"transformer.h.{i}.attn.c_attn")
            state[f"transformer.h.{i}.attn.c_attn.weight"] += layer.delta_weight().t()  # as eval() left it
    torch.save(state, file)
    flags = ["--to", "adapter", "--lora_alpha", 16, "--init_checkpoint", base]
    with caplog.at_level("INFO"):
        assert call("convert", file, *flags, "--out", tmp_path / "merged") == 0
    assert "saved with its update merged into 2 weights" in caplog.text
    assert torch.equal(probe_logits(load_run(tmp_path / "merged").model), probe_logits(model))
    state["transformer.h.1.mlp.c_fc.weight"] += 0.1
    torch.save(state, file)
    assert call("convert", file, *flags, "--out", tmp_path / "other") == 1
    assert "holds another base than the one given: transformer.h.1.mlp.c_fc.weight differs" in capsys.readouterr().err


def test_refusals_are_one_line(run: Path, base: Path, adapted: Adapted, tmp_path: Path, capsys) -> None:
    pt, peft = tmp_path / "m.pt", tmp_path / "peft"
    write_loralib(pt, extract(adapted("q,v")))
    assert call("convert", run, "--to", "peft", "--out", peft) == 0
    moved = base.rename(tmp_path / "moved")
    (tmp_path / "junk.bin").write_bytes(b"junk")
    cases = [
        ([pt, "--to", "adapter"], "doesn't store alpha; give what it was trained with, e.g. --lora_alpha 32"),
        (
            [pt, "--to", "adapter", "--lora_alpha", 16],
            "LoRA weights only; give the base they were trained on with --init",
        ),
        ([peft, "--to", "adapter"], f"is a PEFT adapter for {base}; give it with --init_checkpoint"),
        ([run, "--to", "merged"], "not there any more; say where it is with --init_checkpoint"),
        (
            [moved, "--to", "peft"],
            "PEFT has no counterpart of full fine-tuning; keep it as it is, or convert it to a whole",
        ),
        ([tmp_path / "junk.bin", "--to", "peft"], "not a weights file that lora-nlg knows"),
        ([tmp_path / "absent", "--to", "peft"], "nothing at"),
        ([run, "--to", "onnx"], "(see: lora-nlg convert --help)"),
        ([run, "--to", "loralib", "--init_checkpoint", moved], "is a folder; for loralib, name a file such as"),
    ]
    capsys.readouterr()
    for arguments, message in cases:
        out = tmp_path if "loralib" in arguments else tmp_path / "out"
        assert call("convert", *arguments, "--out", out) == 1, message
        error = capsys.readouterr().err.strip().splitlines()
        assert message in error[-1] and error[-1].startswith("lora-nlg convert: error: "), error


@pytest.mark.parametrize("form", ["run", "file", "json", "peft", "peft file", "base", "base file", "merged"])
def test_inspect_names_each_form(run: Path, base: Path, tmp_path: Path, form: str, capsys) -> None:
    (run / "config.yaml").write_text("lr: 0.1\n")
    call("convert", run, "--to", "peft", "--out", tmp_path / "peft")
    call("convert", run, "--to", "merged", "--out", tmp_path / "merged")
    capsys.readouterr()
    path, kind, words = {
        "run": (run, "adapter", "run directory of lora-nlg with an adapter"),
        "file": (run / "adapter.safetensors", "adapter", "r=2 alpha=16 (alpha/r), scaling 8, dropout 0.1"),
        "json": (run / "adapter.json", "adapter", "GPT-2 of 2 blocks, width 48, 3 heads"),
        "peft": (tmp_path / "peft", "peft", "scaling 8"),
        "peft file": (tmp_path / "peft" / "adapter_model.safetensors", "peft", "GPT-2 of 2 blocks, width 48"),
        "base": (base, "model", "tied to the token embedding"),
        "base file": (base / "model.safetensors", "model", "420 tokens, 64 positions"),
        "merged": (tmp_path / "merged", "model", "hash"),
    }[form]
    assert words in call_output(capsys, "inspect", path)
    (value,) = json.loads(call_output(capsys, "inspect", "--json", "true", path))
    assert value["kind"] == kind and value["problems"] == []


def test_inspect_names_what_is_wrong(run: Path, base: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert "the folder holds nothing" in call_output(capsys, "inspect", tmp_path / "empty", status=1)
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    assert "1 tensors (a, …), none of a GPT-2" in call_output(capsys, "inspect", tmp_path / "a.pt", status=1)
    file = run / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    assert "is damaged: its values don't have the hash" in call_output(capsys, "inspect", run, status=1)
    tensors = load_base(base).state_dict()
    del tensors["transformer.h.1.ln_2.bias"], tensors["lm_head.weight"]
    torch.save(tensors, tmp_path / "torn.bin")
    printed = call_output(capsys, "inspect", tmp_path / "torn.bin", status=1)
    assert "GPT-2 of 2 blocks, width 48" in printed and "no config.json beside" in printed
    assert call("inspect", tmp_path / "absent") == 1
    assert "nothing at" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["lora_A", "lora_B"])
def test_inspect_names_a_matrix_without_its_partner(lost: str, adapted: Adapted, tmp_path: Path, capsys) -> None:
    file = tmp_path / "model.pt"
    write_loralib(file, extract(adapted("q,v")))
    state = torch.load(file, weights_only=True)["model_state_dict"]
    del state[f"transformer.h.1.attn.c_attn.{lost}"]
    torch.save(state, file)
    printed = call_output(capsys, "inspect", file, status=1)
    assert "loralib checkpoint" in printed
    assert f"transformer.h.1.attn.c_attn.{lost} is missing, though its partner is there" in printed


def test_inspect_names_a_damaged_description(base: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "full" / "model"
    save_full_model(folder, load_base(base), AdapterInfo(Full(), step=7))
    assert "step" in call_output(capsys, "inspect", folder)
    for damaged, message in (
        ("{", "lora_nlg.json is not JSON"),
        ("[]", "lora_nlg.json is damaged"),
        ("{}", "not 'lora-nlg"),
    ):
        (folder / "lora_nlg.json").write_text(damaged)
        assert message in call_output(capsys, "inspect", folder, status=1)


def test_weights_of_another_kind_are_told_by_name(
    run: Path, base: Path, adapted: Adapted, tmp_path: Path, capsys
) -> None:
    pt, peft, full = tmp_path / "x" / "model.pt", tmp_path / "peft", tmp_path / "full"
    write_loralib(pt, extract(adapted("q,v")))
    assert call("convert", run, "--to", "peft", "--out", peft) == 0
    save_full_model(full / "model", load_base(base), AdapterInfo(Full()))
    merge = "to train on from it: `lora-nlg convert {} --to merged --out DIR{}`, then --init_checkpoint DIR"
    needs_base = " --init_checkpoint BASE"
    train = ["train", "--train_data", tmp_path / "x.jsonl", "--work_dir", tmp_path / "w", "--init_checkpoint"]
    decode = ["decode", "--data", tmp_path / "x.jsonl", "--checkpoint"]
    (tmp_path / "x.jsonl").write_text('{"id": "1", "context": "a", "references": ["b"]}\n')
    cases = [
        (train, run, merge.format(run, "")),
        (train, run / "adapter.safetensors", merge.format(run / "adapter.safetensors", "")),
        (train, pt, merge.format(pt, " --lora_alpha A" + needs_base)),
        (train, peft, merge.format(peft, needs_base)),
        (train, full, f"give the model in it: --init_checkpoint {full / 'model'}"),
        (
            decode,
            pt,
            f"`lora-nlg convert {pt} --to adapter --out DIR --lora_alpha A{needs_base}`, then --checkpoint DIR",
        ),
        (decode, peft, f"`lora-nlg convert {peft} --to adapter --out DIR{needs_base}`, then --checkpoint DIR"),
    ]
    capsys.readouterr()
    for command, path, message in cases:
        assert call(*command, path) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert f"{command[-1]} {path} is not a " in line and message in line, line
    # What the advice says works: a merged adapter is a base, a converted checkpoint is a run.
    assert call("convert", run, "--to", "merged", "--out", tmp_path / "merged") == 0
    flags = ["--train_data", tmp_path / "x.jsonl", "--work_dir", tmp_path / "w", "--seq_len", 64, "--max_step", 1]
    assert call("train", *flags, "--warmup_step", 0, "--init_checkpoint", tmp_path / "merged") == 0
    flags = ["--to", "adapter", "--out", tmp_path / "own", "--lora_alpha", 32, "--init_checkpoint", base]
    assert call("convert", pt, *flags) == 0
    assert call(*decode, tmp_path / "own", "--eval_len", 4) == 0


def test_inspect_untrained(base: Path, adapted: Adapted, tmp_path: Path, capsys) -> None:
    model = adapted("q,v")
    with torch.no_grad():
        for i in range(2):
            model.get_submodule(f"transformer.h.{i}.attn.c_attn").lora_B.zero_()
    save_adapter(tmp_path / "new", model, AdapterInfo(LoRA.of(model), describe_base(model, base)))
    assert "untrained, the model is its base" in call_output(capsys, "inspect", tmp_path / "new")
    save_base(load_base(base), tmp_path / "half", torch.float16)
    assert "tied" in call_output(capsys, "inspect", tmp_path / "half")


@pytest.mark.parametrize("to", ["peft", "loralib", "adapter"])
def test_a_failed_conversion_leaves_no_result(run: Path, tmp_path: Path, to: str, capsys, monkeypatch) -> None:
    """Neither a new one nor a changed old one; the check of the logits is made to fail."""
    out = tmp_path / "results" / ("model.pt" if to == "loralib" else "out")
    monkeypatch.setattr("lora_nlg.commands.convert.EXACT", -1.0)
    assert call("convert", run, "--to", to, "--out", out) == 1
    assert f"error: {out} read back gives logits" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []
    monkeypatch.undo()
    assert call("convert", run, "--to", to, "--out", out) == 0
    before = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()}
    monkeypatch.setattr("lora_nlg.commands.convert.EXACT", -1.0)
    monkeypatch.setattr("lora_nlg.commands.convert.probe_logits", lambda model: torch.tensor(float("nan")))
    assert call("convert", run, "--to", to, "--out", out) == 1
    assert {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()} == before


def test_where_a_result_cannot_go_is_said_first(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("mine")
    for to, out, message in (
        (
            "loralib",
            tmp_path,
            f"--out {tmp_path} is a folder; for loralib, name a file such as {tmp_path / 'model.pt'}",
        ),
        ("peft", tmp_path / "file", f"--out {tmp_path / 'file'} is a file; for peft, name a folder"),
        ("merged", tmp_path / "file", "is a file; for merged, name a folder"),
    ):
        assert call("convert", tmp_path / "nowhere", "--to", to, "--out", out) == 1
        assert message in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
