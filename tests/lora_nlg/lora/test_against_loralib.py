"""Every LoRA layer gives loralib 0.1.2's outputs and gradients, given the same weights."""

from __future__ import annotations

import itertools
from typing import Any

import loralib
import pytest
import torch
from torch import Tensor, nn

from lora_nlg.lora import Conv1d, Conv2d, Conv3d, Embedding, FusedLinear, Linear, LoRALayer, LoRASpec

MASKS = [mask for mask in itertools.product([False, True], repeat=3) if any(mask)]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Random values in both, the adapters' included (a zero B would compare nothing)."""
    source = {name.removeprefix("conv."): value for name, value in theirs.named_parameters()}
    with torch.no_grad():
        for name, value in ours.named_parameters():
            value.normal_(0, 0.5)
            assert source[name].shape == value.shape, name
            source[name].copy_(value)
    assert set(source) == {name for name, _ in ours.named_parameters()}


def assert_equal_layers(ours: LoRALayer, theirs: Any, x: Tensor) -> None:
    """Equal outputs, equal gradients, and an output that the adapter changes."""
    same_weights(ours, theirs)
    y, reference = ours(x), theirs(x)
    torch.testing.assert_close(y, reference, **CLOSE)
    grad = torch.randn_like(y)
    y.backward(grad)
    reference.backward(grad)
    torch.testing.assert_close(ours.lora_A.grad, theirs.lora_A.grad, **CLOSE)
    torch.testing.assert_close(ours.lora_B.grad, theirs.lora_B.grad, **CLOSE)
    theirs.eval()  # loralib merges here
    weight = theirs.conv.weight if hasattr(theirs, "conv") else theirs.weight
    torch.testing.assert_close(ours.weight + ours.delta_weight(), weight, **CLOSE)
    with torch.no_grad():
        ours.lora_B.zero_()
        assert (ours(x) - y).abs().max() > 0.1


@pytest.mark.parametrize(("r", "alpha"), [(1, 1), (4, 128), (8, 4)])
def test_linear(r: int, alpha: int) -> None:
    torch.manual_seed(r)
    ours, theirs = Linear(12, 10, LoRASpec(r, alpha)), loralib.Linear(12, 10, r=r, lora_alpha=alpha)
    assert_equal_layers(ours, theirs, torch.randn(2, 5, 12))


@pytest.mark.parametrize("mask", MASKS)
def test_merged_linear(mask: tuple[bool, ...]) -> None:
    torch.manual_seed(1)
    spec = LoRASpec(4, 32)
    ours = FusedLinear(12, 18, [spec if on else None for on in mask])
    theirs = loralib.MergedLinear(12, 18, r=4, lora_alpha=32, enable_lora=list(mask))
    # loralib 0.1.2's unmerged forward transposes its update and fails unless out = in, so compare on its merged weight.
    same_weights(ours, theirs)
    x = torch.randn(7, 12)
    y = ours(x)
    theirs.eval()
    torch.testing.assert_close(y, theirs(x), **CLOSE)
    torch.testing.assert_close(ours.weight + ours.delta_weight(), theirs.weight, **CLOSE)
    with torch.no_grad():
        ours.lora_B.zero_()
    changed = ((ours(x) - y).abs() > 1e-3).any(0).view(3, 6).any(1)
    assert changed.tolist() == list(mask)


def test_embedding() -> None:
    torch.manual_seed(2)
    ours, theirs = Embedding(11, 6, LoRASpec(3, 12)), loralib.Embedding(11, 6, r=3, lora_alpha=12)
    assert_equal_layers(ours, theirs, torch.randint(0, 11, (2, 5)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("kind", "kernel", "shape"), [(1, 1, (9,)), (2, 1, (5, 6)), (2, 3, (5, 6)), (3, 1, (3, 4, 5))], ids=str
)
def test_convolutions_where_loralib_is_defined(kind: int, kernel: int, shape: tuple[int, ...], groups: int) -> None:
    torch.manual_seed(3)
    ours_kind: Any = (Conv1d, Conv2d, Conv3d)[kind - 1]
    theirs_kind = (loralib.Conv1d, loralib.Conv2d, loralib.Conv3d)[kind - 1]
    ours = ours_kind(LoRASpec(2, 6), 4, 8, kernel, groups=groups)
    theirs = theirs_kind(4, 8, kernel, r=2, lora_alpha=6, groups=groups)
    assert_equal_layers(ours, theirs, torch.randn(2, 4, *shape))


@pytest.mark.parametrize(("kind", "shape"), [(Conv1d, (9,)), (Conv3d, (5, 5, 5))])
def test_convolutions_where_loralib_is_not_defined(kind: Any, shape: tuple[int, ...]) -> None:
    """Conv1d and Conv3d with a kernel of 3: loralib's product doesn't have the weight's size; ours has."""
    torch.manual_seed(4)
    theirs_kind = getattr(loralib, kind.__name__)
    with pytest.raises(RuntimeError):
        theirs_kind(4, 8, 3, r=2, lora_alpha=6)(torch.randn(2, 4, *shape))
    layer = kind(LoRASpec(2, 6), 4, 8, 3)
    x = torch.randn(2, 4, *shape)
    before = layer(x)
    nn.init.normal_(layer.lora_B)
    after = layer(x)
    assert (after - before).abs().max() > 0.1
    layer.merge()
    torch.testing.assert_close(layer(x), after, **CLOSE)
    layer.unmerge()
    assert torch.equal(layer(x), after)
