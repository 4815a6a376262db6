"""The LoRA forward and backward pass as one autograd function (Hu et al. 2021, section 4.1).

y = x Wᵀ + b, and for every adapted part p of the output columns: y_p += s_p · (x̃ A_pᵀ) B_pᵀ, where x̃ is x after
dropout. Written by hand because W is frozen: nothing is computed for its gradient, the update is added in place
to the columns it belongs to, and no (out, in) matrix is ever built.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Parts = tuple[tuple[int, int, float], ...]
"""For every adapted part: first output column, one past its last, and its scaling."""


class _LoRALinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        x_dropped: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        lora_A: Tensor,
        lora_B: Tensor,
        parts: Parts,
    ) -> Tensor:
        A, B = lora_A.to(x.dtype), lora_B.to(x.dtype)
        branch_input = x if x_dropped is None else x_dropped
        y = F.linear(x, weight, bias)
        low = branch_input @ A.t()  # (T, P*R)
        R = A.shape[0] // len(parts)
        row = 0
        for p, (first, last, scaling) in enumerate(parts):
            B_p = B[row : row + last - first]
            y[:, first:last].addmm_(low[:, p * R : (p + 1) * R], B_p.t(), alpha=scaling)
            row += last - first
        keep_input = ctx.needs_input_grad[4]  # a frozen A (LoRA-FA) needs no input for its gradient
        ctx.save_for_backward(branch_input if keep_input else None, weight, A, B, low)
        ctx.parts, ctx.dropped = parts, x_dropped is not None
        ctx.trainable_base = weight.requires_grad
        ctx.saved_x = x if ctx.trainable_base else None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        branch_input, weight, A, B, low = ctx.saved_tensors
        needs_x, needs_dropped, needs_weight, needs_bias, needs_A, needs_B, _ = ctx.needs_input_grad
        R = A.shape[0] // len(ctx.parts)
        grad_low = torch.empty_like(low)
        grad_B = torch.empty(B.shape, dtype=torch.float32, device=B.device) if needs_B else None
        row = 0
        for p, (first, last, scaling) in enumerate(ctx.parts):
            columns, ranks = grad[:, first:last], slice(p * R, (p + 1) * R)
            rows = slice(row, row + last - first)
            grad_low[:, ranks] = (columns @ B[rows]).mul_(scaling)
            if grad_B is not None:
                grad_B[rows] = (columns.t() @ low[:, ranks]).mul_(scaling)
            row += last - first
        grad_A = (grad_low.t() @ branch_input).float() if needs_A else None
        grad_x = grad @ weight if needs_x else None
        grad_dropped = None
        if ctx.dropped:
            grad_dropped = grad_low @ A if needs_dropped else None
        elif grad_x is not None:
            grad_x.addmm_(grad_low, A)
        grad_weight = grad.t() @ ctx.saved_x if needs_weight else None
        grad_bias = grad.sum(0) if needs_bias else None
        return grad_x, grad_dropped, grad_weight, grad_bias, grad_A, grad_B, None


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_A: Tensor,
    lora_B: Tensor,
    parts: Parts,
    dropout: float = 0.0,
    training: bool = False,
) -> Tensor:
    """A linear layer with a low-rank update on some of its output columns.

    Args:
        x: input, shape (..., D_in).
        weight: the base weight, shape (D_out, D_in); frozen or not.
        bias: shape (D_out,), or None.
        lora_A: shape (P*R, D_in): the R rows of every adapted part, stacked.
        lora_B: shape (total width of the adapted parts, R).
        parts: (first column, end column, scaling) of each of the P adapted parts.
        dropout: probability of zeroing an input of the LoRA branch (not of the base). Default: 0.
        training: whether dropout acts. Default: False.

    Returns:
        Shape (..., D_out).
    """
    flat = x.reshape(-1, x.shape[-1])
    dropped = F.dropout(flat, dropout, training=True) if training and dropout > 0 else None
    if torch.is_autocast_enabled(flat.device.type):
        dtype = torch.get_autocast_dtype(flat.device.type)
        flat, weight = flat.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        dropped = None if dropped is None else dropped.to(dtype)
    y: Tensor = _LoRALinear.apply(flat, dropped, weight, bias, lora_A, lora_B, parts)
    return y.reshape(*x.shape[:-1], -1)
