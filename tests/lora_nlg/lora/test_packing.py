"""Packing a model changes nothing but the time."""

from __future__ import annotations

import torch
from torch import nn

from lora_nlg.frozen import PackedLinear
from lora_nlg.lora import FusedLinear, LoRASpec, inject, pack_frozen


class Tied(nn.Module):
    """A frozen layer, one that trains, one tied to an embedding, and a fused one for LoRA."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.frozen, self.trained = nn.Linear(8, 8), nn.Linear(8, 8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.trained(torch.tanh(self.frozen(self.embedding(tokens))))
        return self.head(self.qkv(x)[..., :8] + self.qkv(x)[..., 16:])


def test_packing_keeps_outputs_gradients_and_names() -> None:
    torch.manual_seed(0)
    model = inject(Tied(), {"qkv": [LoRASpec(2), None, LoRASpec(2)]})
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
        parameter.requires_grad_("lora_" in name or "trained" in name or name == "frozen.bias")
    tokens = torch.arange(9).view(3, 3)
    results = []
    for packed in (False, True):
        if packed:
            names = list(model.state_dict())
            pack_frozen(model)
            assert list(model.state_dict()) == names
        model.zero_grad()
        y = model(tokens)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert isinstance(model.frozen, PackedLinear) and type(model.trained) is nn.Linear
    assert isinstance(model.qkv, FusedLinear) and model.qkv.matmul is not None
    assert type(model.head) is nn.Linear and model.head.weight is model.embedding.weight
    assert len(results[0]) == len(results[1]) == 6
    for plain, packed_value in zip(*results, strict=True):
        torch.testing.assert_close(plain, packed_value, rtol=1e-4, atol=1e-4)


def test_a_layer_that_uses_no_product_gets_none() -> None:
    model = inject(nn.Sequential(nn.Linear(8, 8)), {"0": LoRASpec(2, 4)}, "dora")
    model[0].weight.requires_grad_(False)
    assert pack_frozen(model)[0].matmul is None
