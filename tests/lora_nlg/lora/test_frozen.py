"""Packed products equal torch's; packing changes nothing but the time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_nlg.frozen import FrozenMatmul, PackedLinear
from lora_nlg.lora import FusedLinear, LoRASpec, inject, pack_frozen
from lora_nlg.onednn import can_pack


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_products(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(40, 24, dtype=dtype), torch.randn(40, dtype=dtype)
    x, grad = torch.randn(rows, 24, dtype=dtype), torch.randn(rows, 40, dtype=dtype)
    product = FrozenMatmul(weight)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    exact = x.double() @ weight.double().t() + bias.double()
    torch.testing.assert_close(product.forward(x, bias).double(), exact, rtol=tolerance, atol=tolerance)
    exact = grad.double() @ weight.double()
    torch.testing.assert_close(product.backward(grad).double(), exact, rtol=tolerance, atol=tolerance * 2)
    strided = torch.randn(40, rows, dtype=dtype).t()
    torch.testing.assert_close(product.backward(strided), product.backward(strided.contiguous()), rtol=0, atol=0)


def test_unpacked_types_fall_back() -> None:
    weight = torch.randn(4, 3, dtype=torch.float64)
    assert not can_pack(weight)
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(FrozenMatmul(weight).forward(x), x @ weight.t())


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
