"""Prefixes and prompts through PEFT's files, checked by PEFT itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2
from lora_nlg.methods import Method, prepare, without_method
from lora_nlg.methods.adapter_l import AdapterL
from lora_nlg.methods.prefix import PrefixTuning
from lora_nlg.methods.prompt import PromptTuning
from lora_nlg.weights.base import save_base
from lora_nlg.weights.merged import probe_logits
from lora_nlg.weights.peft_folder import describe_peft, load_peft, save_peft
from lora_nlg.weights.peft_reference import peft_logits

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")


@pytest.fixture
def base() -> GPT2:
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=420, n_positions=64))
    model.reset_parameters()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


METHODS: dict[str, Method] = {
    "mlp": PrefixTuning(4, "mlp", 9),
    "kv": PrefixTuning(4, "kv", prefix_init="random"),
    "hidden": PrefixTuning(4, "hidden"),
    "prompt": PromptTuning(6),
}


@pytest.mark.parametrize("name", METHODS)
def test_peft_runs_our_export_and_we_read_it_back(name: str, base: GPT2, tmp_path: Path) -> None:
    method = METHODS[name]
    plain = probe_logits(base)
    prepare(base, method, seed=1)
    ours = probe_logits(base)
    assert float((ours - plain).abs().max()) > 1e-2
    save_peft(tmp_path, base, method, "somewhere")
    again = without_method(base)
    torch.testing.assert_close(peft_logits(tmp_path, again), ours, rtol=0, atol=1e-5)
    info = load_peft(tmp_path, again)
    torch.testing.assert_close(probe_logits(again), ours, rtol=0, atol=1e-6)
    assert info.method == (method if name == "prompt" else PrefixTuning(4, "kv"))
    assert describe_peft(tmp_path).base == "somewhere"


@pytest.mark.parametrize("kind", ["prefix", "projected", "prompt"])
def test_what_peft_saves_is_read(kind: str, base: GPT2, tmp_path: Path) -> None:
    save_base(base, tmp_path / "base")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    if kind == "prompt":
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    else:
        more = {"prefix_projection": True, "encoder_hidden_size": 7} if kind == "projected" else {}
        config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, **more)
    torch.manual_seed(2)
    peft.get_peft_model(theirs, config).save_pretrained(tmp_path / "peft")
    theirs_logits = peft_logits(tmp_path / "peft", base)
    load_peft(tmp_path / "peft", base)
    torch.testing.assert_close(probe_logits(base), theirs_logits, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused_by_name(base: GPT2, tmp_path: Path) -> None:
    prepare(base, METHODS["kv"], seed=1)
    save_peft(tmp_path, base, METHODS["kv"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for change, message in [
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save = \['lm_head'\]"),
        ({"num_layers": 3}, r"prompt_embeddings \(4, 288\)"),
        ({"num_virtual_tokens": "4"}, "num_virtual_tokens must be a whole number"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules must be 1"),
        ({"peft_type": "P_TUNING"}, "of type P_TUNING; those that have a counterpart are"),
    ]:
        (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=message):
            load_peft(tmp_path, without_method(base))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    smaller = empty_gpt2(GPT2Config(n_layer=1, n_embd=48, n_head=3, vocab_size=420, n_positions=64))
    smaller.reset_parameters()
    with pytest.raises(InputError, match="doesn't fit the model"):
        load_peft(tmp_path, smaller)
    prepare(other := without_method(base), AdapterL(3), seed=1)
    with pytest.raises(InputError, match="PEFT has no counterpart of Adapter-L"):
        save_peft(tmp_path / "other", other, AdapterL(3))
