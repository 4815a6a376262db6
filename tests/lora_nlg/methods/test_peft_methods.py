"""(IA)³ and VeRA to and from PEFT, against PEFT's own logits; what has no counterpart is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from lora_nlg.errors import InputError
from lora_nlg.methods import METHODS, Method, prepare
from lora_nlg.weights import load_base
from lora_nlg.weights.identify import identify
from lora_nlg.weights.merged import probe_logits
from lora_nlg.weights.peft_folder import describe_peft, load_peft, save_peft
from lora_nlg.weights.peft_reference import peft_logits

IA3 = {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}


@pytest.fixture
def made_by_peft(tmp_path: Path, inputs: Path) -> Callable[..., Path]:
    """`made_by_peft(peft.IA3Config, …)`: the folder of an adapter with random values, saved by PEFT."""

    def build(kind: type, **options: Any) -> Path:
        torch.manual_seed(0)
        base = transformers.GPT2LMHeadModel.from_pretrained(inputs / "base")
        model = peft.get_peft_model(base, kind(task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "ia3_" in name or "vera_lambda" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(tmp_path / "peft")
        return tmp_path / "peft"

    return build


@pytest.mark.parametrize(
    ("kind", "options", "method"),
    [
        (peft.IA3Config, {}, METHODS["ia3"]("q,k,v,ff")),
        (peft.IA3Config, {"target_modules": ["attn.c_attn"], "feedforward_modules": []}, METHODS["ia3"]("q,k,v")),
        (peft.VeraConfig, {"r": 6}, METHODS["vera"](6, "c_attn")),
        (peft.VeraConfig, {"r": 5, "target_modules": "all-linear"}, METHODS["vera"](5, "c_attn,o,fc,proj")),
        (peft.VeraConfig, {"r": 7, "target_modules": ["c_fc"], "vera_dropout": 0.2}, METHODS["vera"](7, "fc")),
    ],
    ids=str,
)
def test_what_is_read_computes_what_peft_computes(
    made_by_peft: Callable[..., Path], inputs: Path, kind: type, options: dict[str, Any], method: Method
) -> None:
    folder, base = made_by_peft(kind, **options), load_base(inputs / "base")
    theirs, plain = peft_logits(folder, base), probe_logits(base)
    assert load_peft(folder, base).method == method
    torch.testing.assert_close(probe_logits(base), theirs, rtol=0, atol=2e-5)
    assert (theirs - plain).abs().max() > 1e-2
    assert not identify(folder).problems


@pytest.mark.parametrize(
    "method",
    [
        *(METHODS["ia3"](targets) for targets in ("k,v,ff", "q", "ff", "q,k,v,ff")),
        *(METHODS["vera"](6, targets) for targets in ("q,v", "k", "q,k,v", "c_attn", "c_attn,fc,proj", "o")),
    ],
    ids=str,
)
def test_peft_runs_what_is_written(method: Method, inputs: Path, tmp_path: Path) -> None:
    model, plain = load_base(inputs / "base"), probe_logits(load_base(inputs / "base"))
    prepare(model, method, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    save_peft(tmp_path, model, method, str(inputs / "base"))
    ours = probe_logits(model)
    base = load_base(inputs / "base")
    torch.testing.assert_close(peft_logits(tmp_path, base), ours, rtol=0, atol=2e-5)
    assert (ours - plain).abs().max() > 1e-2
    assert describe_peft(tmp_path).base == str(inputs / "base")
    assert load_peft(tmp_path, base).method == method
    torch.testing.assert_close(probe_logits(base), ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "changes", "message"),
    [
        (peft.IA3Config, {"target_modules": ["c_fc"], "feedforward_modules": []}, {}, "on the output of .*mlp.c_fc"),
        (peft.IA3Config, {"target_modules": ["c_attn"], "feedforward_modules": ["c_attn"]}, {}, "on the input of"),
        (peft.IA3Config, IA3, {"modules_to_save": ["ln_f"]}, r"says modules_to_save = \['ln_f'\], which \(IA\)³"),
        (peft.IA3Config, IA3, {"feedforward_modules": "(x+)+"}, "feedforward_modules must be of names and simple"),
        (peft.IA3Config, IA3, {"target_modules": ["c_attn"]}, "which its target_modules don't name"),
        (peft.IA3Config, IA3, {"feedforward_modules": []}, "on the output of transformer.h.0.mlp.c_proj"),
        (peft.IA3Config, IA3, {"an_option_of_next_year": 1}, "says an_option_of_next_year = 1"),
        (peft.IA3Config, IA3, {"peft_type": "OFT"}, "type OFT; those that have a counterpart are LORA, .*IA3.*VERA"),
        (peft.VeraConfig, {"r": 4}, {"r": 5}, "says r=5; the projections and vectors are of another rank"),
        (peft.VeraConfig, {"r": 4}, {"bias": "all"}, "says bias = 'all', which VeRA doesn't compute"),
        (peft.VeraConfig, {"r": 4}, {"layers_to_transform": [0]}, r"says layers_to_transform = \[0\]"),
        (peft.VeraConfig, {"r": 4, "save_projection": False}, {}, "says save_projection = False"),
        (peft.VeraConfig, {"r": 4, "save_projection": False}, {"save_projection": True}, "vera_B are missing"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused(
    made_by_peft: Callable[..., Path], kind: type, options: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    folder = made_by_peft(kind, **options)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(InputError, match=message) as error:
        describe_peft(folder)
    assert "\n" not in str(error.value) and identify(folder).problems


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (METHODS["bitfit"](), "PEFT has no counterpart of BitFit"),
        (METHODS["top2"](), "PEFT has no counterpart of fine-tuning of the last blocks"),
        (METHODS["vera"](4, "q,v,fc"), "q, k and v apart don't go with others"),
    ],
    ids=str,
)
def test_what_peft_does_not_have_is_refused(method: Method, message: str, inputs: Path, tmp_path: Path) -> None:
    model = load_base(inputs / "base")
    prepare(model, method, seed=0)
    with pytest.raises(InputError, match=message):
        save_peft(tmp_path, model, method)
