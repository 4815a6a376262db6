"""Packed products equal torch's."""

from __future__ import annotations

import pytest
import torch

from lora_nlg.frozen import FrozenMatmul
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
