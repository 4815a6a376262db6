"""The short-sequence path of packed attention, and chosen rows, against torch's own attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lora_nlg.gpt2 import FlatAttention, GPT2Config, empty_gpt2
from lora_nlg.gpt2 import attention as attention_module


@pytest.mark.parametrize("lengths", [[5], [1, 7, 3], [4, 4], [1, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_sequences_equal_torchs(lengths: list[int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    H, d = 3, 8
    qkv = torch.randn(sum(lengths), 3 * H * d, dtype=dtype, requires_grad=True)
    upstream = torch.randn(sum(lengths), H * d, dtype=dtype)
    out = FlatAttention(lengths)(0, qkv, H)
    (gradient,) = torch.autograd.grad(out, qkv, upstream)
    exact = qkv.detach().float().requires_grad_()
    parts = []
    for piece in exact.split(lengths):
        q, k, v = piece.view(len(piece), 3, H, d).permute(1, 2, 0, 3)
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1))
    expected = torch.cat(parts)
    (expected_gradient,) = torch.autograd.grad(expected, exact, upstream.float())
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.float(), expected_gradient, rtol=tolerance, atol=tolerance)
    assert out.dtype == gradient.dtype == dtype


def test_long_sequences_take_the_other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    qkv = torch.randn(11, 24)
    short = FlatAttention([5, 6])(0, qkv, 2)
    monkeypatch.setattr(attention_module, "SHORT", 0)
    torch.testing.assert_close(FlatAttention([5, 6])(0, qkv, 2), short, rtol=1e-5, atol=1e-6)


def test_chosen_rows_equal_those_of_the_whole() -> None:
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=30, n_positions=20))
    model.reset_parameters()
    tokens, positions = torch.randint(0, 30, (12,)), torch.tensor([*range(5), *range(7)])
    rows = torch.tensor([3, 4, 11])
    attention = FlatAttention([5, 7])
    gradients = []
    for hidden in (model(tokens, positions, attention)[rows], model(tokens, positions, attention, rows)):
        model.zero_grad()
        (hidden * torch.arange(3.0)[:, None]).sum().backward()
        gradients.append([hidden.detach(), *(p.grad.clone() for p in model.transformer.parameters())])
    for whole, chosen in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, chosen, rtol=1e-4, atol=1e-5)
