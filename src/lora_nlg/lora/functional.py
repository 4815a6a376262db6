"""The LoRA forward and backward pass as one autograd function (Hu et al. 2021, section 4.1).

y = x Wᵀ + b, and for every adapted part p of the output columns: y_p += s_p · (x̃ A_pᵀ) B_pᵀ, where x̃ is x after
dropout. Written by hand because W is frozen: nothing is computed for its gradient, the update is added in place
to the columns it belongs to, and no (out, in) matrix is ever built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.frozen import FrozenMatmul
from lora_nlg.lora.spec import Slice


class _LoRALinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        keep: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        lora_A: Tensor,
        lora_B: Tensor,
        slices: tuple[Slice, ...],
        matmul: FrozenMatmul | None,
    ) -> Tensor:
        A, B = lora_A.to(x.dtype), lora_B.to(x.dtype)
        branch_input = x if keep is None else x * keep
        y = F.linear(x, weight, bias) if matmul is None else matmul.forward(x, bias)
        low = add_update_(y, branch_input, A, B, slices)
        keep_input = ctx.needs_input_grad[4]  # a frozen A (LoRA-FA) needs no input for its gradient
        ctx.save_for_backward(branch_input if keep_input else None, weight, A, B, low, keep)
        ctx.slices, ctx.matmul = slices, matmul
        ctx.saved_x = x if weight.requires_grad else None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        branch_input, weight, A, B, low, keep = ctx.saved_tensors
        needs_x, _, needs_weight, needs_bias, needs_A, needs_B = ctx.needs_input_grad[:6]
        grad_B = torch.empty(B.shape, dtype=torch.float32, device=B.device) if needs_B else None
        grad_low = low_rank_gradient(grad, low, B, ctx.slices, grad_B)
        grad_A = (grad_low.t() @ branch_input).float() if needs_A else None
        grad_x = None
        if needs_x:
            grad_x = grad @ weight if ctx.matmul is None else ctx.matmul.backward(grad)
            if keep is None:
                grad_x.addmm_(grad_low, A)
            else:
                grad_x.addcmul_(grad_low @ A, keep)
        grad_weight = grad.t() @ ctx.saved_x if needs_weight else None
        grad_bias = grad.sum(0) if needs_bias else None
        return grad_x, None, grad_weight, grad_bias, grad_A, grad_B, None, None


def add_update_(y: Tensor, x: Tensor, A: Tensor, B: Tensor, slices: Sequence[Slice]) -> Tensor:
    """Add the update's product to a layer's output in place.

    Args:
        y: the output so far, shape (T, D_out).
        x: the branch's input, shape (T, D_in).
        A, B: as `lora_linear`'s, of the type of x.
        slices: where the update of each adapted part lies.

    Returns:
        x Aᵀ, shape (T, P*R).
    """
    low = x @ A.t()
    for part in slices:
        y[:, part.columns].addmm_(low[:, part.ranks], B[part.rows].t(), alpha=part.scaling)
    return low


def low_rank_gradient(
    grad: Tensor, low: Tensor, B: Tensor, slices: Sequence[Slice], grad_B: Tensor | None = None
) -> Tensor:
    """What `add_update_` passes back.

    Args:
        grad: the gradient of its `y`, shape (T, D_out).
        low: what it returned.
        B, slices: what it was given.
        grad_B: where the gradient of B goes, fp32. Default: None, it isn't wanted.

    Returns:
        The gradient of `low`, shape (T, P*R).
    """
    grad_low = torch.empty_like(low)
    for part in slices:
        columns = grad[:, part.columns]
        grad_low[:, part.ranks] = (columns @ B[part.rows]).mul_(part.scaling)
        if grad_B is not None:
            torch.mul(columns.t() @ low[:, part.ranks], part.scaling, out=grad_B[part.rows])
    return grad_low


def dropout_scale(x: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """What dropout multiplies by: 0 with probability p, else 1/(1-p); the shape and type of x.

    On the CPU the draws are 16 bits each, four from one 64-bit random number: an order of magnitude faster than
    torch's dropout. p is then rounded to a multiple of 2^-16, and the scale made to fit.

    Args:
        x: what is to be multiplied.
        p: above 0 and below 1.
        generator: what the draws come from, on the CPU. Default: the device's own.
    """
    if x.device.type != "cpu":
        return F.dropout(torch.ones_like(x), p)
    dropped = round(p * 65536)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    kept = words.view(torch.int16)[: x.numel()] >= dropped - 32768
    return kept.to(x.dtype).mul_(65536 / (65536 - dropped)).view(x.shape)


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_A: Tensor,
    lora_B: Tensor,
    slices: tuple[Slice, ...],
    *,
    dropout: float = 0.0,
    training: bool = False,
    matmul: FrozenMatmul | None = None,
) -> Tensor:
    """A linear layer with a low-rank update on some of its output columns.

    Args:
        x: input, shape (..., D_in).
        weight: the base weight, shape (D_out, D_in); frozen or not.
        bias: shape (D_out,), or None.
        lora_A: shape (P*R, D_in): the R rows of every adapted part, stacked.
        lora_B: shape (total width of the adapted parts, R).
        slices: where the update of each of the P adapted parts lies.
        dropout: probability of zeroing an input of the LoRA branch (not of the base). Default: 0.
        training: whether dropout acts. Default: False.
        matmul: packed products with the weight, which must be frozen. Default: None, torch's own products.

    Returns:
        Shape (..., D_out).
    """
    flat = x.reshape(-1, x.shape[-1])
    if matmul is not None:
        flat = flat.to(matmul.dtype)
        bias = None if bias is None else bias.to(matmul.dtype)
    elif torch.is_autocast_enabled(flat.device.type):
        dtype = torch.get_autocast_dtype(flat.device.type)
        flat, weight = flat.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    keep = dropout_scale(flat, dropout) if training and dropout > 0 else None
    y: Tensor = _LoRALinear.apply(flat, keep, weight, bias, lora_A, lora_B, slices, matmul)
    return y.reshape(*x.shape[:-1], -1)
