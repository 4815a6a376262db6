"""Injection keeps the base's names and storage; freezing, state, strict loading and folding do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_nlg.errors import InputError
from lora_nlg.lora import (
    LoRASpec,
    fold,
    inject,
    load_lora_state_dict,
    lora_layers,
    lora_state_dict,
    mark_only_lora_as_trainable,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(13, 12)
        self.body = nn.Sequential(nn.Linear(12, 36), nn.GELU(), nn.Linear(36, 12))
        self.conv = nn.Conv1d(12, 12, 3, padding=1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.conv(self.body(self.wte(tokens)).transpose(1, 2))


SPEC = LoRASpec(2, 8)
TARGETS = {"wte": SPEC, "body.0": [SPEC, None, SPEC], "body.2": SPEC, "conv": SPEC}
TOKENS = torch.tensor([[1, 2, 3], [4, 5, 12]])


def adapted(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = Net()
    inject(net, TARGETS)
    for name, parameter in net.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    return net


def test_injection_keeps_names_storage_and_function() -> None:
    net = Net()
    before = {name: value.data_ptr() for name, value in net.named_parameters()}
    y = net(TOKENS)
    assert inject(net, TARGETS) is net
    after = {name: value.data_ptr() for name, value in net.named_parameters()}
    assert {name: after[name] for name in before} == before
    assert {name.rpartition(".")[2] for name in after.keys() - before.keys()} == {"lora_A", "lora_B"}
    assert list(lora_layers(net)) == ["wte", "body.0", "body.2", "conv"]
    torch.testing.assert_close(net(TOKENS), y)
    assert (adapted()(TOKENS) - y).abs().max() > 0.1


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        ("none", set()),
        ("lora_only", {"body.0.bias", "body.2.bias"}),
        ("all", {"body.0.bias", "body.2.bias", "conv.bias"}),
    ],
)
def test_what_trains_is_what_is_saved(bias: str, expected: set[str]) -> None:
    net = Net()
    inject(net, {"body.0": SPEC, "body.2": SPEC})
    mark_only_lora_as_trainable(net, bias)
    trainable = {name for name, value in net.named_parameters() if value.requires_grad}
    assert trainable == set(lora_state_dict(net, bias))
    assert {name for name in trainable if "lora_" not in name} == expected


def test_state_goes_out_and_in() -> None:
    source, target = adapted(0), adapted(1)
    target.load_state_dict({**target.state_dict(), **{n: v for n, v in source.state_dict().items() if "lora" not in n}})
    assert not torch.equal(source(TOKENS), target(TOKENS))
    load_lora_state_dict(target, lora_state_dict(source))
    assert torch.equal(source(TOKENS), target(TOKENS))


def test_loading_names_every_problem_and_changes_nothing() -> None:
    net = adapted()
    state = {name: value + 1 for name, value in lora_state_dict(net).items()}
    before = {name: value.clone() for name, value in lora_state_dict(net).items()}
    del state["wte.lora_A"]
    state["body.1.lora_A"] = torch.zeros(1)
    state["conv.lora_B"] = torch.zeros(3, 3)
    with pytest.raises(InputError) as error:
        load_lora_state_dict(net, state)
    for part in ("missing wte.lora_A", "unexpected body.1.lora_A", "conv.lora_B is (3, 3), the model needs (12, 6)"):
        assert part in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in lora_state_dict(net).items())


def test_folding_is_a_plain_copy_that_shares_the_rest() -> None:
    net = adapted()
    y = net(TOKENS)
    folded = fold(net)
    torch.testing.assert_close(folded(TOKENS), y, rtol=1e-4, atol=1e-4)
    assert not lora_layers(folded) and len(lora_layers(net)) == 4
    assert type(folded.conv) is nn.Conv1d and type(folded.wte) is nn.Embedding
    assert folded.body[2].bias is net.body[2].bias
    assert torch.equal(net(TOKENS), y)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"body.9": SPEC}, "no layer 'body.9' to adapt"),
        ({"body.1": SPEC}, "is a GELU; LoRA adapts linear, embedding and convolution layers"),
        ({"wte": [SPEC]}, "is a Embedding"),
        ({"body.2": [None]}, "at least one part"),
        ({"body.2": [SPEC] * 5}, "12 outputs can't be split into 5"),
    ],
)
def test_impossible_targets(targets: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inject(Net(), targets)


def test_adapting_twice_and_unknown_bias() -> None:
    with pytest.raises(InputError, match="adapted already"):
        inject(adapted(), {"wte": SPEC})
    for function in (mark_only_lora_as_trainable, lora_state_dict):
        with pytest.raises(InputError, match="one of none, all, lora_only, got 'some'"):
            function(adapted(), "some")


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_an_update_survives_folding_into_a_base_held_in_bf16(variant: str) -> None:
    """Merged in fp32: in bf16 an update of a thousandth of the weight is mostly rounded away."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 96, bias=False)).to(torch.bfloat16)
    base = net[0].weight.detach().double()
    inject(net, {"0": LoRASpec(4, 4.0)}, variant)
    layer = net[0]
    with torch.no_grad():
        layer.lora_B.add_(torch.randn_like(layer.lora_B) * 1e-4)
    exact = layer.delta_weight().double()
    assert 1e-5 < exact.norm() / base.norm() < 1e-2
    folded = fold(net)[0].weight
    assert folded.dtype == torch.float32
    assert ((folded.double() - base) - exact).norm() < 1e-3 * exact.norm()
    assert layer.lost_in(torch.bfloat16) > 0.1, "and that is what bf16 would cost"
    layer.merge()
    assert layer.weight.dtype == torch.bfloat16
