"""The fused loss against torch's cross-entropy, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lora_nlg.errors import InputError
from lora_nlg.training import FlatParameters, TargetLoss, make_optimizer

N, D, V = 23, 16, 101


def inputs(seed: int = 0, head_trains: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    hidden = torch.randn(N, D, requires_grad=True)
    head = torch.randn(V, D, requires_grad=head_trains)
    return hidden, torch.randint(0, V, (N,)), head


@pytest.mark.parametrize("smooth", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("rows", [1, 5, N, 1000])
@pytest.mark.parametrize("head_trains", [False, True])
def test_equals_cross_entropy(smooth: float, rows: int, head_trains: bool) -> None:
    hidden, targets, head = inputs(head_trains=head_trains)
    loss = TargetLoss(smooth, chunk_bytes=4 * V * rows)
    total = loss(hidden, targets, head)
    (total * 0.37).backward()
    mine = hidden.grad, head.grad
    hidden.grad = head.grad = None
    expected = F.cross_entropy(hidden @ head.t(), targets, reduction="sum", label_smoothing=smooth)
    (expected * 0.37).backward()
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(mine[0], hidden.grad, rtol=1e-5, atol=1e-6)
    if head_trains:
        torch.testing.assert_close(mine[1], head.grad, rtol=1e-5, atol=1e-5)
    else:
        assert mine[1] is None


def test_gradient_by_finite_differences() -> None:
    hidden, targets, head = inputs()
    direction = torch.randn(N, D)
    loss = TargetLoss(0.1)
    (gradient,) = torch.autograd.grad(loss(hidden, targets, head), hidden)
    with torch.no_grad():
        step = 1e-2
        slope = (loss(hidden + step * direction, targets, head) - loss(hidden - step * direction, targets, head)) / (
            2 * step
        )
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-3)


def test_large_logits_stay_finite() -> None:
    hidden, targets, head = inputs()
    scaled = (hidden * 1e3).detach().requires_grad_()
    total = TargetLoss(0.1)(scaled, targets, head)
    total.backward()
    assert scaled.grad is not None and torch.isfinite(scaled.grad).all()
    expected = F.cross_entropy(scaled @ head.t(), targets, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype) -> None:
    hidden, targets, head = inputs()
    exact = TargetLoss(0.1)(hidden, targets, head)
    (gradient,) = torch.autograd.grad(exact, hidden)
    half = hidden.detach().to(dtype).requires_grad_()
    total = TargetLoss(0.1)(half, targets, head.to(dtype))
    total.backward()
    assert half.grad is not None and half.grad.dtype == dtype
    assert total.dtype == torch.float32 and total.item() == pytest.approx(exact.item(), rel=1e-2)
    assert (half.grad.float() - gradient).norm() < 0.03 * gradient.norm()


def test_a_changed_head_is_noticed() -> None:
    """The mean row of the head is kept between calls; it must follow the head when that trains."""
    hidden, targets, head = inputs(head_trains=True)
    loss = TargetLoss(0.1)
    loss(hidden, targets, head)
    with torch.no_grad():
        head.add_(1.0)
    expected = F.cross_entropy(hidden @ head.t(), targets, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(loss(hidden, targets, head), expected, rtol=1e-6, atol=1e-5)


def test_a_head_trained_through_the_flat_buffer_is_noticed() -> None:
    """The optimiser writes to the buffer that the head is a view of: the head's own version never changes."""
    hidden, targets, _ = inputs()
    module = torch.nn.Linear(D, V, bias=False)
    flat = FlatParameters(dict(module.named_parameters()))
    optimizer = make_optimizer("adamw", [flat.value])
    loss = TargetLoss(0.3)
    for _ in range(4):
        flat.clear()
        total = loss(hidden, targets, module.weight)
        (gradient,) = torch.autograd.grad(total, hidden, retain_graph=True)
        total.backward()
        head = module.weight.detach().clone().requires_grad_()
        expected = F.cross_entropy(hidden @ head.t(), targets, reduction="sum", label_smoothing=0.3)
        wanted = torch.autograd.grad(expected, (hidden, head))
        torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(gradient, wanted[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(flat.gradient.view(V, D), wanted[1], rtol=1e-5, atol=1e-5)
        optimizer.param_groups[0]["lr"] = 0.1
        optimizer.step()


def test_no_gradient_asked_for() -> None:
    hidden, targets, head = inputs()
    with torch.no_grad():
        assert not TargetLoss()(hidden, targets, head).requires_grad


@pytest.mark.parametrize("smooth", [-0.1, 1.0])
def test_smoothing_out_of_range(smooth: float) -> None:
    with pytest.raises(InputError, match="label_smooth"):
        TargetLoss(smooth)
