"""Round trips through loralib's, PEFT's and Hugging Face's files, checked by those libraries themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import loralib
import numpy as np
import peft
import pytest
import torch
import transformers
from ctranslate2.converters import TransformersConverter
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, targets_of
from lora_nlg.lora import LoRASpec, fold
from lora_nlg.tokenizers.gpt2_bpe import GPT2Tokenizer
from lora_nlg.weights import load_base
from lora_nlg.weights.identify import identify
from lora_nlg.weights.loralib import from_loralib, loralib_tensors, read_loralib, write_loralib
from lora_nlg.weights.lowrank import extract, insert
from lora_nlg.weights.merged import probe_logits, write_merged
from lora_nlg.weights.peft import read_peft, write_peft

Adapted = Callable[..., GPT2]
TARGETS = ["q,v", "k", "q:r=1:alpha=2,k:r=3,v:r=8", "q,k,v,o,fc,proj", "o:r=2,proj:alpha=3", "wte:r=2,q"]


@torch.no_grad()
def their_logits(model: nn.Module, config_vocab: int = 420) -> Tensor:
    """The logits of `probe_logits`' sequences, one sequence at a time through a transformers model."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config_vocab, (57,), generator=generator)
    return torch.cat([model(row[None]).logits[0] for row in tokens.split([31, 1, 17, 8])])


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("rule", ["alpha/r", "rslora"])
def test_peft_runs_our_export_and_we_read_it_back(
    tmp_path: Path, base_folder: Path, adapted: Adapted, targets: str, rule: str
) -> None:
    model = adapted(targets, rule=rule)
    write_peft(tmp_path, extract(model), str(base_folder))
    base = transformers.GPT2LMHeadModel.from_pretrained(base_folder).eval()
    plain = their_logits(base)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    ours = probe_logits(model)
    close(their_logits(theirs), ours)
    assert (ours - plain).abs().max() > 1e-2

    adapter, named_base = read_peft(tmp_path)
    again = load_base(base_folder)
    insert(again, adapter)
    close(probe_logits(again), ours, 1e-6)
    assert named_base == str(base_folder)
    ours_specs, theirs_specs = targets_of(model, model.config), adapter.specs()
    assert {name: spec.r for name, spec in ours_specs.items()} == {name: spec.r for name, spec in theirs_specs.items()}
    if targets == "q,v" and rule == "alpha/r":
        assert theirs_specs == ours_specs


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_adapters_made_by_peft(tmp_path: Path, base_folder: Path, rslora: bool) -> None:
    """A dense B over the fused layer, other ranks by pattern, an embedding, weights in `.bin`."""
    torch.manual_seed(0)
    base = transformers.GPT2LMHeadModel.from_pretrained(base_folder)
    config = peft.LoraConfig(
        r=3,
        lora_alpha=12,
        target_modules=["c_attn", "mlp.c_proj", "c_fc", "wte"],
        rank_pattern={"mlp.c_proj": 5},
        alpha_pattern={"c_fc": 7},
        use_rslora=rslora,
        fan_in_fan_out=True,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(base, config).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path, safe_serialization=not rslora)
    ours = load_base(base_folder)
    plain = probe_logits(ours)
    insert(ours, read_peft(tmp_path)[0])
    close(probe_logits(ours), their_logits(theirs))
    assert (probe_logits(ours) - plain).abs().max() > 1e-2
    assert list(targets_of(ours, ours.config)) == ["q", "k", "v", "fc", "proj", "wte"]


def test_peft_refusals(tmp_path: Path, base_folder: Path) -> None:
    def save(folder: str, kind: type = peft.LoraConfig, **options: object) -> Path:
        base = transformers.GPT2LMHeadModel.from_pretrained(base_folder)
        peft.get_peft_model(base, kind(task_type="CAUSAL_LM", **options)).save_pretrained(tmp_path / folder)
        return tmp_path / folder

    for options, message in [
        ({"target_modules": ["c_attn"], "use_dora": True, "fan_in_fan_out": True}, "says use_dora = True, which plain"),
        ({"target_modules": ["c_attn"], "bias": "all", "fan_in_fan_out": True}, "says bias = 'all', which plain LoRA"),
        ({"target_modules": ["c_attn"], "modules_to_save": ["ln_f"], "fan_in_fan_out": True}, "modules_to_save = "),
        (
            {"target_modules": ["lm_head"]},
            "holds base_model.model.lm_head.*, which is no LoRA weight of a GPT-2's layer",
        ),
        ({"target_modules": ["wpe"]}, "transformer.wpe is no layer of a GPT-2 that LoRA adapts here"),
    ]:
        with pytest.raises(InputError, match=message):
            read_peft(save("refused", **options))
    with pytest.raises(InputError, match="PEFT adapter of type IA3, not LORA"):
        read_peft(save("ia3", peft.IA3Config, target_modules=["c_attn"], feedforward_modules=[]))
    some_blocks = save("some", target_modules=["c_attn"], layers_to_transform=[1], fan_in_fan_out=True)
    with pytest.raises(InputError, match=r"says layers_to_transform = \[1\], which plain LoRA doesn't compute"):
        read_peft(some_blocks)


class TheirBlock(nn.Module):
    """One layer of the predecessor's model, by its names and kinds (see reference in the file under test)."""

    def __init__(self, D: int) -> None:
        super().__init__()
        self.c_attn = loralib.MergedLinear(
            D, 3 * D, r=4, lora_alpha=16, enable_lora=[True, False, True], fan_in_fan_out=True, merge_weights=False
        )


@pytest.mark.parametrize("wrapped", ["model_state_dict", ""])
@pytest.mark.parametrize("ddp", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_loralib_files_of_every_form(
    tmp_path: Path, base_folder: Path, adapted: Adapted, wrapped: str, ddp: bool, full: bool, prefix: str
) -> None:
    model = adapted("q,v")
    base = load_base(base_folder)
    file = tmp_path / "model.10.pt"
    assert write_loralib(file, extract(model), base if full else None) == (4, 16.0)
    state = torch.load(file, weights_only=True)["model_state_dict"]
    assert ("lm_head.decoder.weight" in state) == full
    state = {name.replace("transformer.", prefix): value for name, value in state.items()}
    state = {f"module.{name}" if ddp else name: value for name, value in state.items()}
    torch.save({wrapped: state, "optimizer": {"lr": 1.0}} if wrapped else state, file)

    checkpoint = read_loralib(file)
    assert (checkpoint.full, checkpoint.ddp, checkpoint.wrapped) == (full, ddp, wrapped)
    again = load_base(base_folder)
    plain = probe_logits(again)
    info = insert(again, from_loralib(checkpoint, alpha=16))
    assert {name: (spec.r, spec.alpha) for name, spec in info.method.targets.items()} == {
        "q": (4, 16.0),
        "v": (4, 16.0),
    }
    assert torch.equal(probe_logits(again), probe_logits(model))
    assert (probe_logits(again) - plain).abs().max() > 1e-2
    other = load_base(base_folder)
    insert(other, from_loralib(checkpoint, alpha=32))
    assert (probe_logits(other) - probe_logits(again)).abs().max() > 1e-2


def test_loralib_layer_computes_what_the_file_says(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    """The written tensors, loaded strictly into loralib's own layer, give the update of ours."""
    model = adapted("q,v")
    write_loralib(tmp_path / "model.pt", extract(model), load_base(base_folder))
    state = torch.load(tmp_path / "model.pt", weights_only=True)["model_state_dict"]
    for i in range(2):
        block, prefix = TheirBlock(48), f"transformer.h.{i}.attn."
        block.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix + "c_attn")})
        delta = block.c_attn.merge_AB() * block.c_attn.scaling  # (in, out), as it stores the weight
        close(delta.t(), model.get_submodule(f"transformer.h.{i}.attn.c_attn").delta_weight(), 1e-6)


@pytest.mark.parametrize("targets", TARGETS)
def test_loralib_round_trip_with_any_targets(tmp_path: Path, base_folder: Path, adapted: Adapted, targets: str) -> None:
    """One rank and one alpha for all: smaller ranks are padded, other scalings go into B; the logits stay."""
    model = adapted(targets)
    adapter = extract(model)
    r, alpha = write_loralib(tmp_path / "model.pt", adapter)
    assert r == max(spec.r for spec in adapter.specs().values())
    fused = [name for name in "qkv" if name in adapter.specs()]
    again = load_base(base_folder)
    plain = probe_logits(again)
    insert(again, from_loralib(read_loralib(tmp_path / "model.pt"), alpha, fused))
    close(probe_logits(again), probe_logits(model))
    assert (probe_logits(model) - plain).abs().max() > 1e-2


def test_loralib_reads_the_recorded_adapters_of_the_predecessor(shared_golden: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recorded = load_file(shared_golden / "train_constant_alpha128.safetensors")
    final = {name.removeprefix("final."): value for name, value in recorded.items() if name.startswith("final.")}
    torch.save({"model_state_dict": {f"module.{name}": value for name, value in final.items()}}, tmp_path / "m.pt")
    base = load_base(shared_golden / "base.safetensors")
    plain = probe_logits(base)
    info = insert(base, from_loralib(read_loralib(tmp_path / "m.pt"), 128))
    assert list(info.method.targets) == ["q", "v"]
    assert (probe_logits(base) - plain).abs().max() > 1e-3
    assert all(torch.equal(value, final[name]) for name, value in loralib_tensors(extract(base))[0].items())


def test_loralib_biases(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    model = adapted("q,v")
    for bias, count in (("lora_only", 2), ("all", 2 * 4 + 2 * 2 + 1)):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias") and (bias == "all" or "c_attn" in name):
                    parameter.add_(0.1)
        write_loralib(tmp_path / "m.pt", extract(model, bias))
        adapter = from_loralib(read_loralib(tmp_path / "m.pt"), 16)
        assert adapter.bias == bias and len(adapter.biases) == count
        again = load_base(base_folder)
        assert insert(again, adapter).method.bias == bias
        assert torch.equal(probe_logits(again), probe_logits(model))
    with pytest.raises(InputError, match="trained biases"):
        write_peft(tmp_path, extract(model, "all"))


def test_loralib_refusals(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    file = tmp_path / "m.pt"
    write_loralib(file, extract(adapted("k")))
    with pytest.raises(InputError, match=r"has 1 adapted part\(s\) of q, k, v; the file doesn't say which; name them"):
        from_loralib(read_loralib(file), 16)
    with pytest.raises(InputError, match="`lora_targets` names q, v; name them with `lora_targets`"):
        from_loralib(read_loralib(file), 16, ["q", "v"])
    state = torch.load(file, weights_only=True)["model_state_dict"]
    torch.save({name: value for name, value in state.items() if name != "transformer.h.1.attn.c_attn.lora_B"}, file)
    with pytest.raises(InputError, match=r"h\.1\.attn\.c_attn\.lora_B is missing"):
        from_loralib(read_loralib(file), 16, ["k"])
    torch.save({name: value[:, :3] if name.endswith("lora_B") else value for name, value in state.items()}, file)
    with pytest.raises(InputError, match=r"lora_A \(4, 48\) and lora_B \(48, 3\) don't belong together"):
        from_loralib(read_loralib(file), 16, ["k"])
    name = "transformer.h.1.attn.c_attn.lora_B"
    for wrong, message in (
        (state[name][:, 0], r"B is \(48,\); it must be a matrix"),
        (state[name][:, :0], r"B is \(48, 0\); it must be a matrix"),
        (state[name].to(torch.int8), "B is int8; weights are"),
        (state[name] / 0, "B holds values that are not finite"),
        (torch.zeros(48, 8), r"lora_A \(4, 48\) and lora_B \(48, 8\) don't belong together"),
    ):
        torch.save({**state, name: wrong}, file)
        with pytest.raises(InputError, match=message):
            from_loralib(read_loralib(file), 16, ["k"])
        assert identify(file).problems
    smaller = {f"transformer.h.1.attn.c_attn.lora_{m}": torch.ones(*s) for m, s in (("A", (2, 48)), ("B", (48, 2)))}
    torch.save({**state, **smaller}, file)
    with pytest.raises(InputError, match="a rank or alpha for each block are not supported"):
        from_loralib(read_loralib(file), 16, ["k"]).specs()
    with pytest.raises(InputError, match="holds no lora_A or lora_B"):
        torch.save({"a.weight": torch.zeros(2)}, file)
        read_loralib(file)
    with pytest.raises(InputError, match="is not a loralib checkpoint: no mapping"):
        torch.save([1, 2], file)
        read_loralib(file)
    with pytest.raises(InputError, match="a pickle of Python objects, not of tensors alone"):
        torch.save(LoRASpec, file)  # a pickle that would run code
        read_loralib(file)


@pytest.mark.parametrize(("dtype", "allowed"), [("fp32", 1e-5), ("bf16", 0.3), ("fp16", 0.03)])
@pytest.mark.parametrize("targets", ["q,v", "q,k,v,o,fc,proj,wte"])
def test_merged_folder_in_transformers(
    tmp_path: Path, base_folder: Path, adapted: Adapted, vocabulary, dtype: str, allowed: float, targets: str
) -> None:
    """bf16 keeps 8 significant bits and fp16 11, on logits of size 3: hence the looser bounds."""
    model = adapted(targets)
    _, difference = write_merged(tmp_path, model, vocabulary, dtype)
    assert 0 < difference < allowed
    assert (tmp_path / "sentencepiece.model").is_file()
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert str(theirs.dtype) == {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}[dtype]
    theirs = theirs.float().eval()
    close(their_logits(theirs), probe_logits(model), allowed)
    assert (their_logits(theirs) - probe_logits(load_base(base_folder))).abs().max() > 5e-2
    again = load_base(tmp_path)
    close(probe_logits(again), their_logits(theirs))
    assert (again.lm_head.weight is again.transformer.wte.weight) == ("wte" not in targets)


def small_bpe() -> GPT2Tokenizer:
    """A GPT-2 vocabulary of 420 ids: bytes, pairs of letters, the end symbol."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in "abcdefghijklm" for b in "nopqrstuvwxyz"][:163]
    tokens = [*letters, *(a + b for a, b in pairs), "<|endoftext|>"]
    return GPT2Tokenizer({token: i for i, token in enumerate(tokens)}, pairs)


@pytest.mark.parametrize("targets", ["q,v,fc", "q,wte"])
def test_merged_folder_in_ctranslate2(tmp_path: Path, adapted: Adapted, targets: str) -> None:
    """CTranslate2's converter takes the folder, vocabulary included, and its logits are the unmerged model's."""
    model, tokenizer = adapted(targets), small_bpe()
    write_merged(tmp_path / "merged", model, tokenizer)
    TransformersConverter(str(tmp_path / "merged")).convert(str(tmp_path / "converted"))
    generator = ctranslate2.Generator(str(tmp_path / "converted"), device="cpu", intra_threads=1)
    ids = torch.randint(0, 420, (57,), generator=torch.Generator().manual_seed(0)).split([31, 1, 17, 8])
    text = tokenizer.encode(" name : Blue Spice")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "merged").encode(" name : Blue Spice") == text
    views = [generator.forward_batch([row.tolist()]) for row in ids]
    logits = torch.cat([torch.from_numpy(np.array(view)[0]) for view in views])
    close(logits, probe_logits(model), 1e-4)


def test_head_that_is_not_tied(tmp_path: Path, base_folder: Path) -> None:
    import json
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base_folder, tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + 1}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r'head other than its token embedding.*"tie_word_embeddings": false'):
        load_base(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    model = load_base(folder)
    assert torch.equal(model.lm_head.weight, model.transformer.wte.weight + 1)
    assert fold(model).lm_head.weight is model.lm_head.weight


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "relu"),
        ("activation_function", "gelu"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
    ],
)
def test_a_gpt2_that_computes_otherwise_is_refused(key: str, value: object, tmp_path: Path, base_folder: Path) -> None:
    """transformers' GPT2Config carries all of these keys; a file without one means its default."""
    folder = shutil.copytree(base_folder, tmp_path / "base")
    stated = json.loads((folder / "config.json").read_text())
    default = transformers.GPT2Config().to_dict()[key]
    for config in ({**stated, key: default}, {name: stated[name] for name in stated if name != key}):
        (folder / "config.json").write_text(json.dumps(config))
        load_base(folder)
    (folder / "config.json").write_text(json.dumps({**stated, key: value}))
    with pytest.raises(InputError, match=rf"config\.json says {key} is '?{value}'?; this model computes .* only"):
        load_base(folder)


def test_an_empty_weights_file_is_one_line(tmp_path: Path, base_folder: Path) -> None:
    shutil.copy(base_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=r"pytorch_model\.bin is not a readable weights file: it is empty"):
        load_base(tmp_path)
