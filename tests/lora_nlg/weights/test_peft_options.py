"""Every option of PEFT's LoRA: the adapter computes here what PEFT computes, or the option is named in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import targets_of
from lora_nlg.methods.peft import HARMLESS, READ, PeftOptions
from lora_nlg.weights import load_base
from lora_nlg.weights.identify import identify
from lora_nlg.weights.lowrank import insert
from lora_nlg.weights.merged import probe_logits
from lora_nlg.weights.peft import read_peft
from lora_nlg.weights.peft_folder import KINDS
from lora_nlg.weights.peft_options import OPTIONS, PLAIN_STARTS, LoRAOptions, read_options
from lora_nlg.weights.peft_reference import peft_logits


@pytest.fixture
def made_by_peft(tmp_path: Path, base_folder: Path) -> Callable[..., Path]:
    """`made_by_peft(target_modules=["c_attn"], …)`: the folder of an adapter with random values, saved by PEFT."""

    def build(**options: Any) -> Path:
        torch.manual_seed(0)
        base = transformers.GPT2LMHeadModel.from_pretrained(base_folder)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 6, "target_modules": ["c_attn"]} | options
        )
        model = peft.get_peft_model(base, config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(tmp_path / "peft")
        return tmp_path / "peft"

    return build


def edit(folder: Path, **changes: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("options", [OPTIONS, *(kind.peft for kind in KINDS.values())], ids=lambda o: o.peft_type)
def test_every_option_of_the_installed_peft_is_classified(options: PeftOptions) -> None:
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[options.peft_type]
    read, harmless = {*READ, *options.read}, {*HARMLESS, *options.harmless}
    assert not read & harmless and not (read | harmless) & options.defaults.keys()
    assert read | harmless | options.defaults.keys() == {field.name for field in dataclasses.fields(config)}
    default = {field.name: field.default for field in dataclasses.fields(config)}
    default |= {name: getattr(config(), name) for name in options.defaults if default[name] is dataclasses.MISSING}
    assert {name: default[name] for name in options.defaults} == options.defaults


def test_the_defaults_that_are_read_are_those_of_the_installed_peft() -> None:
    default = peft.LoraConfig()
    assert (default.r, default.lora_alpha, default.lora_dropout) == (8, 8, 0.0), "read_options' defaults"


@pytest.mark.parametrize(
    "options",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa", "use_rslora": True, "target_modules": ["c_attn", "mlp.c_proj", "wte"]},
        {"init_lora_weights": "pissa", "rank_pattern": {"c_fc": 2}, "target_modules": ["c_attn", "c_fc"]},
        *({"init_lora_weights": start} for start in PLAIN_STARTS if start != "eva"),
        {"alpha_pattern": {r"^transformer\.h\.\d+\.attn\.c_proj": 3}, "target_modules": ["c_proj"]},
        {"target_modules": r".*\.(c_attn|c_fc)"},
        {"target_modules": "all-linear"},
        {"target_modules": ["c_attn", "c_proj"], "exclude_modules": ["mlp.c_proj"]},
        {"lora_dropout": 0.3, "use_rslora": True},
    ],
    ids=str,
)
def test_what_is_taken_computes_what_peft_computes(
    made_by_peft: Callable[..., Path], base_folder: Path, options: dict[str, Any]
) -> None:
    folder, base = made_by_peft(**options), load_base(base_folder)
    theirs, plain = peft_logits(folder, base), probe_logits(base)
    insert(base, read_peft(folder, base)[0])
    torch.testing.assert_close(probe_logits(base), theirs, rtol=0, atol=2e-5)
    assert (theirs - plain).abs().max() > 1e-2
    assert not identify(folder).problems
    if options.get("init_lora_weights") == "pissa":  # without the base's part taken off it would be another model
        assert targets_of(base, base.config)["q"].r == 8
        naive = load_base(base_folder)
        insert(naive, read_peft(folder)[0])
        assert (probe_logits(naive) - theirs).abs().max() > 1e-2


def test_an_adapter_drawn_by_eva_is_plain_lora(made_by_peft: Callable[..., Path], base_folder: Path) -> None:
    """EVA draws A from data; a saved one names its settings and is loaded as any other."""
    folder, base = edit(made_by_peft(), init_lora_weights="eva", eva_config={"rho": 2.0}), load_base(base_folder)
    theirs = peft_logits(folder, base)
    insert(base, read_peft(folder, base)[0])
    torch.testing.assert_close(probe_logits(base), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name, value in [
            ("init_lora_weights", "olora"), ("init_lora_weights", "pissa_niter_4"), ("init_lora_weights", "corda"),
            ("init_lora_weights", "loftq"), ("init_lora_weights", "lora_ga"), ("init_lora_weights", "mica"),
            ("init_lora_weights", "PiSSA"), ("init_lora_weights", 3), ("init_lora_weights", ["pissa"]),
            ("bias", "all"), ("bias", "lora_only"), ("modules_to_save", ["ln_f"]), ("layers_to_transform", [1]),
            ("layers_to_transform", 0), ("layers_pattern", "h"), ("megatron_config", {"a": 1}),
            ("trainable_token_indices", [3]), ("loftq_config", {"loftq_bits": 4}), ("corda_config", {}),
            ("lora_ga_config", {}), ("use_dora", True), ("use_dora", 1), ("velora_config", {}),
            ("alora_invocation_tokens", [5]), ("alora_invocation_tokens", []), ("use_qalora", True),
            ("monteclora_config", {}), ("layer_replication", [[0, 2], [1, 2]]), ("lora_bias", True),
            ("target_parameters", ["h.0.attn.c_attn.weight"]), ("use_bdlora", {}), ("arrow_config", {}),
            ("kasa_config", {}), ("ensure_weight_tying", True), ("task_type", "SEQ_CLS"),
            ("an_option_of_next_year", {"on": True}), ("enable_lora", [True, False, True]),
        ]),
    ],
)  # fmt: skip
def test_an_option_that_computes_something_else_is_named(
    made_by_peft: Callable[..., Path], name: str, value: object
) -> None:
    with pytest.raises(InputError, match=rf"adapter_config\.json says {name} = .*plain LoRA doesn't compute; \w+"):
        read_peft(edit(made_by_peft(), **{name: value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 8}, r"has r=4, adapter_config\.json says 8"),
        ({"r": "4"}, "r must be a whole number of at least 1, got '4'"),
        ({"r": True}, "r must be a whole number"),
        ({"r": 0}, "r must be a whole number"),
        ({"lora_alpha": 0}, "lora_alpha must be a positive number, got 0"),
        ({"lora_alpha": "16"}, "lora_alpha must be a positive number"),
        ({"lora_alpha": float("inf")}, "lora_alpha must be a positive number, got inf"),
        ({"lora_alpha": None}, "lora_alpha must be a positive number"),
        ({"lora_dropout": "0.1"}, "lora_dropout must be a number"),
        ({"use_rslora": "no"}, "use_rslora must be true or false, got 'no'"),
        ({"rank_pattern": {"c_attn": 2}}, r"has r=4, adapter_config\.json says 2"),
        ({"rank_pattern": {"h.1.attn.c_attn": 2}}, r"h\.1\.attn\.c_attn has r=4, adapter_config\.json says 2"),
        ({"rank_pattern": [1]}, "rank_pattern must be an object of patterns"),
        ({"alpha_pattern": {"c_attn": "x"}}, "alpha_pattern must be a positive number, got 'x'"),
        ({"alpha_pattern": {"(((a+)+)+)+b": 3}}, "alpha_pattern must be of names and simple patterns"),
        ({"alpha_pattern": {"h.1.attn.c_attn": 3}}, "a rank or alpha for each block are not supported"),
        ({"target_modules": "(.*.*.*)*x"}, "target_modules must be of names and simple patterns"),
        ({"target_modules": ["c_fc"]}, r"holds an update of transformer\.h\.0\.attn\.c_attn, which its target_modules"),
        ({"target_modules": ["c_attn", "c_fc"]}, r"lacks transformer\.h\.0\.mlp\.c_fc, which its target_modules name"),
        ({"target_modules": 3}, "target_modules must be a list of module names or a pattern"),
        ({"target_modules": [3]}, "target_modules must be a list of module names"),
        ({"exclude_modules": ["c_attn"]}, "holds an update of"),
        ({"peft_type": ["LORA"]}, "of type .*not LORA"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_a_configuration_that_does_not_fit_is_one_line(
    made_by_peft: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    folder = edit(made_by_peft(), **changes)
    with pytest.raises(InputError, match=message) as error:
        read_peft(folder)[0].specs()
    assert "\n" not in str(error.value)
    assert identify(folder).problems


@pytest.mark.parametrize("value", [None, [], 3, "LORA", [{"peft_type": "LORA"}]])
def test_a_configuration_that_is_no_object(value: object) -> None:
    with pytest.raises(InputError, match="is no JSON object"):
        read_options(value, "adapter_config.json")


def test_a_rank_for_one_block_is_one_line(made_by_peft: Callable[..., Path], base_folder: Path) -> None:
    folder = made_by_peft(rank_pattern={"h.1.attn.c_attn": 2})
    with pytest.raises(InputError, match="adapters with a rank for each block are not supported"):
        read_peft(folder, load_base(base_folder))
    assert "a rank for each block" in identify(folder).problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda A: A[0], r"A is \(48,\); it must be a matrix"),
        (lambda A: A[None], r"A is \(1, 4, 48\); it must be a matrix"),
        (lambda A: A[:0], r"A is \(0, 48\); it must be a matrix"),
        (lambda A: A[:3], r"A \(3, 48\) and B \(144, 4\) of .* don't belong together"),
        (lambda A: A.to(torch.int8), "A is int8; weights are fp32"),
        (lambda A: A.bool(), "A is bool; weights are fp32"),
        (lambda A: A.to(torch.float8_e4m3fn), "A is float8_e4m3fn; weights are fp32"),
        (lambda A: A.to(torch.complex64), "A is complex64; weights are fp32"),
        (lambda A: A / 0, "A holds values that are not finite"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_matrices_of_weights(made_by_peft: Callable[..., Path], change, message: str) -> None:
    folder = made_by_peft()
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.transformer.h.1.attn.c_attn.lora_A.weight"
    save_file({**tensors, name: change(tensors[name]).contiguous()}, file)
    with pytest.raises(InputError, match=message):
        read_peft(folder)
    assert identify(folder).problems


def test_part_of_the_blocks_is_named(made_by_peft: Callable[..., Path], tmp_path: Path) -> None:
    folder = shutil.copytree(made_by_peft(), tmp_path / "part")
    file = folder / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if ".h.1." in name}, file)
    assert "q is adapted in block 1 and not in 0" in identify(folder).problems[0]


def convert(folder: Path, base: Path, out: Path) -> int:
    return main(["convert", str(folder), "--to", "merged", "--init_checkpoint", str(base), "--out", str(out)])


def test_a_converted_pissa_adapter_is_what_peft_computes(
    made_by_peft: Callable[..., Path], base_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made_by_peft(init_lora_weights="pissa")
    caplog.set_level("INFO")
    assert convert(folder, base_folder, tmp_path / "merged") == 0
    theirs = peft_logits(folder, load_base(base_folder))
    torch.testing.assert_close(probe_logits(load_base(tmp_path / "merged")), theirs, rtol=0, atol=2e-5)
    assert "gives PEFT's own logits to" in caplog.text


def test_convert_stops_where_peft_computes_something_else(
    made_by_peft: Callable[..., Path], base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As if an option that matters had been taken for a harmless one."""
    folder = edit(made_by_peft(), use_rslora=True)
    monkeypatch.setattr("lora_nlg.weights.peft.read_options", lambda *_: LoRAOptions(r=4, alpha=6, targets=["c_attn"]))
    assert convert(folder, base_folder, tmp_path / "merged") == 1
    assert "from PEFT's own; merge it in PEFT instead" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()


def test_convert_without_peft_says_what_it_did_not_compare(
    made_by_peft: Callable[..., Path], base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr("lora_nlg.commands.convert.peft_installed", lambda: False)
    caplog.set_level("INFO")
    assert convert(made_by_peft(), base_folder, tmp_path / "merged") == 0
    assert "is not compared with PEFT's own arithmetic" in caplog.text


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$", "(a|a)*b", "((a|b)c)+", "a" * 201, ".*.*.*.*.*", "(a|b)" * 5, "(?=a)", r"(.)\1", "[a-z",
        "a{1,9}{1,9}", "(?i)x", "*",
    ],
)  # fmt: skip
def test_patterns_that_are_not_run(pattern: str) -> None:
    for config in ({"target_modules": pattern}, {"exclude_modules": pattern}, {"rank_pattern": {pattern: 2}}):
        with pytest.raises(InputError, match="must be of names and simple patterns"):
            read_options({"peft_type": "LORA", **config}, "adapter_config.json")
