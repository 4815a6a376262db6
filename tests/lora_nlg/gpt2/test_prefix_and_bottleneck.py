"""Prefixes and bottlenecks against recordings of PEFT's and of hooks on transformers' GPT-2, and against themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import (
    GPT2,
    Bottleneck,
    FilledAttention,
    FlatAttention,
    GPT2Config,
    HiddenPrefix,
    KeyValuePrefix,
    MLPPrefix,
    PromptPrefix,
    empty_gpt2,
)
from lora_nlg.gpt2 import attention as attention_module
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.gpt2.prefix import folded
from lora_nlg.training import TargetLoss, prepare_precision
from lora_nlg.weights.base import load_base

PREFIXES = ("prefix_kv", "prefix_mlp", "prelayer_hidden", "prompt")
NAMES = (*PREFIXES, "adapter_h", "adapter_h_gelu_ln", "adapter_l")


@dataclass
class Recording:
    """What was recorded of a method, and the model that should do the same."""

    base: Path
    model: GPT2
    facts: dict[str, Any]
    tensors: dict[str, Tensor]
    parameters: dict[str, torch.nn.Parameter]  # by the recording's names

    @property
    def sequences(self) -> list[Tensor]:
        return [torch.tensor(sequence) for sequence in self.facts["sequences"]]

    @property
    def logits(self) -> Tensor:
        return torch.cat([self.tensors[f"logits.{number}"] for number in range(3)])

    def loss(self) -> Tensor:
        """The mean loss of the recorded batch, as one stream."""
        rows = [[*context, *completion] for context, completion in self.facts["batch"]]
        tokens = torch.tensor([token for row in rows for token in row])
        positions = torch.cat([torch.arange(len(row)) for row in rows])
        starts = torch.tensor([0, *map(len, rows)]).cumsum(0).tolist()
        targets = torch.cat(
            [
                torch.arange(start + len(context), start + len(row))
                for start, row, (context, _) in zip(starts, rows, self.facts["batch"], strict=False)
            ]
        )
        hidden = self.model(tokens, positions, FlatAttention([len(row) for row in rows]), targets - 1)
        return TargetLoss()(hidden, tokens[targets], self.model.head_weight) / len(targets)


def put_in(model: GPT2, name: str, settings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    if name == "prefix_kv":
        model.prefix = KeyValuePrefix(torch.stack([tensors["param.key"], tensors["param.value"]], 1))
    elif name == "prefix_mlp":
        model.prefix = MLPPrefix(model.config, settings["prefix_length"], settings["mlp_hidden"])
    elif name == "prelayer_hidden":
        model.prefix = HiddenPrefix(tensors["param.hidden"])
    elif name == "prompt":
        model.prefix = PromptPrefix(tensors["param.embedding"])
    else:
        D, m, activation = model.config.n_embd, settings["bottleneck"], settings["nonlinearity"].partition(",")[0]
        for block in model.transformer.h:
            if name == "adapter_l":
                block.after_block = Bottleneck(D, m, activation, settings["ln_eps"])
            else:
                block.after_attn, block.after_mlp = (Bottleneck(D, m, activation) for _ in range(2))


def own_name(recorded: str) -> str:
    layer, _, rest = recorded.partition(".")
    if not layer.isdigit():
        return f"prefix.{recorded}"
    return f"transformer.h.{layer}.{rest if rest.startswith('ln_') else f'after_{rest}'}"


@pytest.fixture(params=NAMES)
def recording(request: pytest.FixtureRequest, shared_methods: Path) -> Recording:
    return load_recording(request.param, shared_methods)


def load_recording(name: str, folder: Path) -> Recording:
    facts = json.loads((folder / f"{name}.json").read_text())
    tensors = load_file(folder / f"{name}.safetensors")
    base = folder.parent / "golden" / "base.safetensors"
    model = load_base(base).requires_grad_(False)
    put_in(model, name, facts["settings"], tensors)
    recorded = [key.removeprefix("param.") for key in tensors if key.startswith("param.")]
    parameters = {key: model.get_parameter(own_name(key)).requires_grad_(True) for key in recorded}
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(tensors[f"param.{key}"])
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == facts["trainable"]
    return Recording(base, model, facts, tensors, parameters)


def logits_of(model: GPT2 | InferenceGPT2, sequences: list[Tensor], attention: FlatAttention | None = None) -> Tensor:
    lengths = [len(sequence) for sequence in sequences]
    positions = torch.cat([torch.arange(length) for length in lengths])
    with torch.no_grad():
        return model.logits(model.forward(torch.cat(sequences), positions, attention or FlatAttention(lengths)))


@pytest.mark.parametrize("path", ["short", "long", "filled", "inference"])
def test_logits_are_the_recorded_ones(recording: Recording, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, attention = recording.sequences, None
    model: GPT2 | InferenceGPT2 = recording.model
    if path == "inference":
        model = InferenceGPT2(recording.model)
    if path == "long":
        monkeypatch.setattr(attention_module, "SHORT", 0)
    if path == "filled":  # another sequence before the first and one after the last
        filler = torch.arange(9)
        sequences = [filler, *sequences, filler]
        ends = torch.tensor([0, *map(len, sequences)]).cumsum(0).int()
        attention = FilledAttention(ends, 20, int(ends[-1]))
    logits = logits_of(model, sequences, attention)[:, :200]
    if path == "filled":
        logits = logits[9:-9]
    torch.testing.assert_close(logits, recording.logits, rtol=0, atol=1e-5)
    change = (logits - logits_of(load_base(recording.base), recording.sequences)).abs().max()
    assert float(change) == pytest.approx(recording.facts["max_abs_logit_change_from_base"], abs=1e-4)


@pytest.mark.parametrize("path", ["short", "long", "checkpointed"])
def test_loss_gradients_and_step_are_the_recorded_ones(
    recording: Recording, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "long":
        monkeypatch.setattr(attention_module, "SHORT", 0)
    recording.model.transformer.gradient_checkpointing = path == "checkpointed"
    options = recording.facts["optimizer"]
    named = recording.parameters
    optimizer = torch.optim.AdamW(
        named.values(), options["lr"], options["betas"], options["eps"], options["weight_decay"]
    )
    loss = recording.loss()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(recording.facts["loss"], abs=1e-5)
    for name, parameter in named.items():
        expected = recording.tensors[f"grad.{name}"]
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    optimizer.step()
    for name, parameter in named.items():
        decided = recording.tensors[f"grad.{name}"].abs() > 1e-5  # elsewhere Adam's first step is one of rounding
        assert decided.any()
        distance = (parameter.detach() - recording.tensors[f"step.{name}"])[decided]
        assert float(distance.abs().max()) < 2e-6


@pytest.mark.parametrize("name", PREFIXES)
def test_every_prefix_folds_into_keys_and_values(name: str, shared_methods: Path) -> None:
    recording = load_recording(name, shared_methods)
    model = recording.model
    assert model.prefix is not None
    model.prefix = folded(model.prefix, model.transformer)
    names = [key for key in model.state_dict() if key.startswith("prefix.")]
    assert names == ["prefix.key", "prefix.value"]
    torch.testing.assert_close(logits_of(model, recording.sequences), recording.logits, rtol=0, atol=1e-5)


CONFIG = GPT2Config(n_layer=3, n_embd=32, n_head=2, vocab_size=50, n_positions=24)
TOKENS = [3, 7, 1, 7, 20]


@pytest.fixture
def model() -> GPT2:
    torch.manual_seed(0)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize("kind", [KeyValuePrefix, HiddenPrefix, PromptPrefix])
def test_a_start_from_words_is_those_words(model: GPT2, kind: type[KeyValuePrefix]) -> None:
    """Text after a prefix made of words has the logits it has after the words themselves."""
    text = torch.tensor([5, 9, 2])
    expected = logits_of(model, [torch.tensor([*TOKENS, *text])])[len(TOKENS) :]
    model.prefix = kind.of_tokens(model.transformer, TOKENS)
    torch.testing.assert_close(logits_of(model, [text]), expected, rtol=1e-5, atol=1e-5)
    assert model.window == CONFIG.n_positions - len(TOKENS) == InferenceGPT2(model).window


def test_attention_is_told_when_there_is_no_prefix_any_more(model: GPT2) -> None:
    text, attention = torch.tensor([5, 9, 2]), FlatAttention([3])
    expected = logits_of(model, [text], attention)
    model.prefix = KeyValuePrefix.random(CONFIG, 4)
    assert not torch.allclose(logits_of(model, [text], attention), expected)
    model.prefix = None
    assert torch.equal(logits_of(model, [text], attention), expected)


def test_bottlenecks_start_near_the_identity_or_at_it(model: GPT2) -> None:
    text = [torch.tensor([5, 9, 2])]
    expected = logits_of(model, text)
    for block in model.transformer.h:
        block.after_attn, block.after_block = Bottleneck(32, 4), Bottleneck(32, 4, layer_norm=1e-5)
    change = float((logits_of(model, text) - expected).abs().max())
    assert 0 < change < 0.1 * float(expected.abs().max())
    for block in model.transformer.h:
        for bottleneck in (block.after_attn, block.after_block):
            assert bottleneck is not None
            bottleneck.reset_parameters(up_std=0.0)
    assert torch.equal(logits_of(model, text), expected)
    with pytest.raises(InputError, match="size must be at least 1, got 0"):
        Bottleneck(32, 0)
    with pytest.raises(InputError, match="one of relu, gelu, got 'tanh'"):
        Bottleneck(32, 4, "tanh")  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["key_value", "mlp", "hidden", "prompt", "bottleneck"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("autocast", [True, False])
def test_gradients_in_16_bits_are_near_those_of_fp32(model: GPT2, what: str, dtype: str, autocast: bool) -> None:
    """What trains stays fp32 beside a frozen base of 16 bits, with and without autocast."""
    model.requires_grad_(False)
    if what == "bottleneck":
        for block in model.transformer.h:
            block.after_attn, block.after_mlp = Bottleneck(32, 4), Bottleneck(32, 4, "gelu")
            block.after_block = Bottleneck(32, 4, layer_norm=1e-5)
    else:
        model.prefix = {
            "key_value": lambda: KeyValuePrefix.random(CONFIG, 4),
            "mlp": lambda: MLPPrefix(CONFIG, 4, 8),
            "hidden": lambda: HiddenPrefix.of_tokens(model.transformer, TOKENS),
            "prompt": lambda: PromptPrefix.of_tokens(model.transformer, TOKENS),
        }[what]()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    type_of = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]

    def gradients() -> Tensor:
        with torch.autocast("cpu", type_of, enabled=autocast and model.head_weight.dtype != torch.float32):
            hidden = model(torch.arange(9), torch.arange(9), FlatAttention([9]))
        found = torch.autograd.grad(hidden.float().square().mean() * 64, trained)
        assert all(gradient.dtype == torch.float32 for gradient in found)
        return torch.cat([gradient.flatten() for gradient in found])

    exact = gradients()
    prepare_precision(model, dtype)
    assert model.head_weight.dtype == type_of and all(parameter.dtype == torch.float32 for parameter in trained)
    rounded = gradients()
    assert 0 < float((rounded - exact).norm() / exact.norm()) < {"bf16": 0.1, "fp16": 0.02}[dtype]
