"""Properties of the LoRA layers: gradients, initialisation, dropout, unequal ranks, merging."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lora_nlg.errors import InputError
from lora_nlg.lora import Conv2d, Embedding, FusedLinear, Linear, LoRASpec
from lora_nlg.lora.functional import dropout_scale, lora_linear
from lora_nlg.lora.spec import Slice, slices_of


def randomised(layer: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for name, parameter in layer.named_parameters():
        if name.startswith("lora_"):
            nn.init.normal_(parameter)
    return layer


def test_the_hand_written_backward_is_the_derivative() -> None:
    """All six differentiable inputs, in double precision, two parts of different scaling with a gap between."""
    torch.manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    x, weight, bias, A, B = draw(5, 4), draw(9, 4), draw(9), draw(4, 4), draw(6, 2)
    slices = slices_of((LoRASpec(2, 4.0), None, LoRASpec(2, 1.0)), width=3, R=2)
    # float32 gradients of A and B are what training stores, hence the tolerance.
    assert torch.autograd.gradcheck(
        lambda *inputs: lora_linear(*inputs, slices), (x, weight, bias, A, B), eps=1e-6, atol=1e-4, rtol=1e-4
    )


def test_slices_of_a_fused_layer() -> None:
    """Worked by hand: three parts of width 3, the middle one not adapted, ranks 2 and 1 in blocks of 2."""
    assert slices_of((LoRASpec(2, 4.0), None, LoRASpec(1, 3.0)), width=3, R=2) == (
        Slice(slice(0, 3), slice(0, 3), slice(0, 2), 2, 2.0),
        Slice(slice(6, 9), slice(3, 6), slice(2, 4), 1, 3.0),
    )


def test_dropout_acts_on_the_branch_alone() -> None:
    """The output is Wx + s·BA(mask∘x/(1-p)); without an adapter dropout changes nothing."""
    layer = Linear(64, 8, LoRASpec(4, 8, dropout=0.5))
    x = torch.randn(3, 64)
    torch.manual_seed(5)
    fresh = layer(x)
    assert torch.equal(fresh, nn.functional.linear(x, layer.weight, layer.bias))
    randomised(layer)
    torch.manual_seed(5)
    y = layer(x)
    torch.manual_seed(5)
    dropped = x * dropout_scale(x, 0.5)
    assert (dropped == 0).any() and not torch.equal(dropped, x)
    expected = fresh + dropped @ layer.delta_weight().t()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    layer.eval()
    torch.testing.assert_close(layer(x), fresh + x @ layer.delta_weight().t(), rtol=1e-4, atol=1e-4)


def test_dropout_gradients_match_autograd() -> None:
    layer = randomised(Linear(16, 8, LoRASpec(2, 4, dropout=0.3)))
    x = torch.randn(6, 16, requires_grad=True)
    torch.manual_seed(1)
    y = layer(x)
    grad = torch.randn_like(y)
    got = torch.autograd.grad(y, [x, layer.lora_A, layer.lora_B], grad)
    torch.manual_seed(1)
    reference = nn.functional.linear(x, layer.weight, layer.bias)
    reference = reference + (x * dropout_scale(x, 0.3)) @ layer.lora_A.t() @ layer.lora_B.t() * 2
    for ours, theirs in zip(got, torch.autograd.grad(reference, [x, layer.lora_A, layer.lora_B], grad), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_low_and_keeps_fp32_gradients(dtype: torch.dtype) -> None:
    layer = randomised(Linear(32, 16, LoRASpec(4, 8)))
    x = torch.randn(10, 32)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert layer.lora_A.grad is not None and layer.lora_A.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.3)  # bf16 keeps 8 bits


def test_initialisation_is_kaiming_uniform_and_independent() -> None:
    """A within ±1/√in (Kaiming, a = √5), filling the range; B zero; each part and each layer drawn for itself."""
    torch.manual_seed(0)
    spec = LoRASpec(8, 16)
    first, second = FusedLinear(256, 768, (spec, None, spec)), FusedLinear(256, 768, (spec, None, spec))
    bound = 1 / math.sqrt(256)
    assert first.lora_A.abs().max() <= bound and first.lora_A.abs().max() > 0.95 * bound
    assert abs(first.lora_A.std() - bound / math.sqrt(3)) < 0.05 * bound
    assert not first.lora_B.any() and not first.delta_weight().any()
    q, v = first.lora_A.chunk(2)
    assert not torch.equal(q, v) and not torch.equal(first.lora_A, second.lora_A)
    embedding = Embedding(10, 6, spec)
    assert not embedding.lora_A.any() and embedding.lora_B.std() > 0.5


def test_unequal_ranks_are_separate_layers() -> None:
    """A part of rank 2 beside one of rank 4 equals the two adapted alone, and its padding stays zero in training."""
    low, high = LoRASpec(2, 6), LoRASpec(4, 4)
    layer = FusedLinear(12, 18, (low, None, high))
    assert not layer.lora_A[2:4].any()
    torch.manual_seed(0)
    with torch.no_grad():
        layer.lora_B[:6, :2].normal_()
        layer.lora_B[6:].normal_()
    q, v = Linear(12, 6, low), Linear(12, 6, high)
    with torch.no_grad():
        for part, start, rows, row in ((q, 0, slice(0, 2), 0), (v, 12, slice(4, 8), 6)):
            part.weight.copy_(layer.weight[start : start + 6])
            part.bias.copy_(layer.bias[start : start + 6])
            part.lora_A.copy_(layer.lora_A[rows])
            part.lora_B.copy_(layer.lora_B[row : row + 6, : part.lora_B.shape[1]])
    x = torch.randn(20, 12)
    y = layer(x)
    torch.testing.assert_close(y[:, :6], q(x))
    torch.testing.assert_close(y[:, 12:], v(x))
    optimizer = torch.optim.AdamW([layer.lora_A, layer.lora_B], lr=0.1)
    before = layer.lora_A.clone()
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    assert not layer.lora_A[2:4].any() and not layer.lora_B[:6, 2:].any()
    assert (layer.lora_A - before)[:2].abs().max() > 0.01


@pytest.mark.parametrize("kind", ["linear", "merged", "embedding", "conv"])
def test_merge_is_explicit_idempotent_and_undone_exactly(kind: str) -> None:
    spec = LoRASpec(2, 8)
    layer, x = {
        "linear": (Linear(6, 5, spec), torch.randn(3, 6)),
        "merged": (FusedLinear(6, 9, (None, spec, spec)), torch.randn(3, 6)),
        "embedding": (Embedding(7, 5, spec), torch.tensor([0, 3, 6])),
        "conv": (Conv2d(spec, 3, 4, 3, padding=1, stride=2), torch.randn(2, 3, 8, 8)),
    }[kind]
    randomised(layer)
    weight, y = layer.weight.clone(), layer(x)
    layer.eval()
    assert not layer.merged and torch.equal(layer(x), y)
    layer.merge()
    merged = layer.weight.clone()
    layer.merge()
    assert layer.merged and torch.equal(layer.weight, merged) and not torch.equal(merged, weight)
    torch.testing.assert_close(merged, weight + layer.delta_weight())
    torch.testing.assert_close(layer(x), y, rtol=1e-5, atol=1e-5)
    layer.unmerge()
    assert torch.equal(layer.weight, weight) and torch.equal(layer(x), y)


def test_merging_a_diverged_adapter_is_refused() -> None:
    layer = Linear(4, 4, LoRASpec(1, 1))
    with torch.no_grad():
        layer.lora_B.fill_(math.inf)
    weight = layer.weight.clone()
    with pytest.raises(InputError, match="not finite"):
        layer.merge()
    assert not layer.merged and torch.equal(layer.weight, weight)


@pytest.mark.parametrize(("rule", "scaling"), [("alpha/r", 128 / 4), ("rslora", 128 / 2), ("none", 1.0)])
def test_scaling_rules(rule: str, scaling: float) -> None:
    spec = LoRASpec(4, 128, rule=rule)
    assert spec.scaling == scaling
    layer = randomised(Linear(5, 3, spec))
    torch.testing.assert_close(layer.delta_weight(), layer.lora_B @ layer.lora_A * scaling)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"r": 0}, "rank r must be at least 1, got 0"),
        ({"alpha": float("nan")}, "alpha must be a positive number"),
        ({"dropout": 1.0}, "below 1, got 1.0"),
        ({"rule": "x"}, "choose from alpha/r, rslora, none"),
    ],
)
def test_impossible_specs(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LoRASpec(**values)
    with pytest.raises(InputError, match="equal kernel sizes"):
        Conv2d(LoRASpec(), 3, 4, (3, 5))
    with pytest.raises(InputError, match="must share their dropout"):
        FusedLinear(4, 6, (LoRASpec(dropout=0.1), LoRASpec()))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_scale_is_zero_or_the_inverse(p: float) -> None:
    """Zero with probability p (within 5 standard deviations), one value elsewhere, mean 1; repeats with the seed."""
    x = torch.empty(999, 1001)
    torch.manual_seed(1)
    scale = dropout_scale(x, p)
    torch.manual_seed(1)
    assert torch.equal(scale, dropout_scale(x, p)) and not torch.equal(scale, dropout_scale(x, p))
    assert (scale == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-5)
    assert scale.mean().item() == pytest.approx(1, abs=0.01)
    assert len(scale.unique()) == 2
    assert (scale[0] != scale[1]).any() and (scale[:, 0] != scale[:, 1]).any()
