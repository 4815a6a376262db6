"""Attention over a flat stream of tokens: the only place of the model that knows where sequences begin and end.

A batch is one stream of T tokens. Linear layers see (T, D) and no padding. `FlatAttention` lets every token
attend to itself and the earlier tokens of its own sequence: with a variable-length kernel on CUDA where the card and
the head size allow it, one sequence at a time where they are short on the CPU, else with padded scaled-dot-product
attention. Decoding brings its own `Attention` with a cache (decoding/).

A prefix (`gpt2.prefix`) is l positions before every sequence, the same ones for all: no rows of the stream, but keys
and values that every token attends to.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Attention(Protocol):
    """What the model calls in each block; it owns all knowledge of sequences and caches.

    Attributes:
        prefix: keys and values before every sequence, shape (layers, 2, l, D), or None; the model sets it.
    """

    prefix: Tensor | None

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """Attend.

        Args:
            layer: index of the block.
            qkv: queries, keys and values side by side, shape (T, 3*D).
            n_head: number of heads H.

        Returns:
            Shape (T, D).
        """
        ...


SHORT = 256
"""Longest sequence attention probabilities are kept for in the backward pass, H·L² numbers of each; in tokens."""


class _ShortSequences(torch.autograd.Function):
    """Attention one sequence at a time, on the CPU: no padding, no copies, plain batched products over the heads.

    For sequences of this length it takes a third of the time of torch's blocked kernel. Scores and probabilities are
    fp32 whatever the input's type.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, prefix: Tensor | None, lengths: Sequence[int], n_head: int, mask: Tensor
    ) -> Tensor:
        T, D = qkv.shape[0], qkv.shape[1] // 3
        x = qkv.float()
        heads = x.view(T, 3, n_head, -1).permute(1, 2, 0, 3)  # (3, H, T, D/H)
        out = torch.empty(T, D)
        out_heads = out.view(T, n_head, -1).transpose(0, 1)  # (H, T, D/H)
        scale = 1 / math.sqrt(D // n_head)
        before = None if prefix is None else _heads(prefix.float(), n_head)
        probabilities, first = [], 0
        for n in lengths:
            rows = slice(first, first + n)
            q, k, v = heads[:, :, rows]
            k, v = _behind(before, k, v)
            p = torch.baddbmm(mask[:n, : k.shape[1]], q, k.transpose(1, 2), alpha=scale)  # (H, n, l + n)
            torch.softmax(p, -1, out=p)
            out_heads[:, rows] = torch.bmm(p, v)
            probabilities.append(p)
            first += n
        ctx.save_for_backward(x, prefix, *probabilities)
        ctx.n_head, ctx.scale, ctx.dtype = n_head, scale, qkv.dtype
        return out.to(qkv.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, prefix, *probabilities = ctx.saved_tensors
        T, H = x.shape[0], ctx.n_head
        heads = x.view(T, 3, H, -1).permute(1, 2, 0, 3)
        grad_heads = grads[0].float().view(T, H, -1).transpose(0, 1)
        grad_x = torch.empty_like(x)
        grad_q, grad_k, grad_v = grad_x.view(T, 3, H, -1).permute(1, 2, 0, 3)
        before, grad_prefix, grad_before = None, None, None
        if prefix is not None:
            before, grad_prefix = _heads(prefix.float(), H), torch.zeros(prefix.shape)
            grad_before = _heads(grad_prefix, H)
        first = 0
        for p in probabilities:
            n, ahead = p.shape[1], p.shape[2] - p.shape[1]
            rows = slice(first, first + n)
            q, k, v = heads[:, :, rows]
            k, v = _behind(before, k, v)
            grad = grad_heads[:, rows]
            of_v = torch.bmm(p.transpose(1, 2), grad)  # (H, l + n, D/H)
            grad_p = torch.bmm(grad, v.transpose(1, 2))
            grad_s = torch._softmax_backward_data(grad_p, p, -1, p.dtype).mul_(ctx.scale)
            of_k = torch.bmm(grad_s.transpose(1, 2), q)
            grad_q[:, rows], grad_k[:, rows], grad_v[:, rows] = torch.bmm(grad_s, k), of_k[:, ahead:], of_v[:, ahead:]
            if grad_before is not None:
                grad_before[0] += of_k[:, :ahead]
                grad_before[1] += of_v[:, :ahead]
            first += n
        return grad_x.to(ctx.dtype), grad_prefix, None, None, None


def _heads(prefix: Tensor, n_head: int) -> Tensor:
    """A layer's prefix by heads: (2, l, D) -> (2, H, l, D/H), a view."""
    return prefix.view(*prefix.shape[:2], n_head, -1).transpose(1, 2)


def _behind(before: Tensor | None, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a sequence, (H, n, D/H), behind those of the prefix if there is one, (H, l + n, D/H)."""
    if before is None:
        return k, v
    return torch.cat([before[0], k], 1), torch.cat([before[1], v], 1)


class FlatAttention:
    """Causal self-attention within each sequence of a flat stream.

    Example: lengths (3, 2) is a stream of T = 5 rows; rows 0-2 are one sequence, rows 3-4 the other. Padded to
    (2, 3), slot (1, 2) has no row; it repeats the stream's last row, which nobody attends to: padding is on the right
    and attention is causal.

    Args:
        lengths: tokens of each of the B sequences, all positive.
        device: where the stream is.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.prefix: Tensor | None = None
        self.lengths = list(lengths)
        self.B, self.L, self.T = len(self.lengths), max(self.lengths), sum(self.lengths)
        length = torch.tensor(self.lengths)
        ends = length.cumsum(0)
        self.cu_seqlens = F.pad(ends, (1, 0)).to(torch.int32).to(device, non_blocking=True)
        self._causal_mask: Tensor | None = None
        self.is_rectangular = self.B * self.L == self.T
        if not self.is_rectangular:
            slot = torch.arange(self.L)
            inside = slot[None, :] < length[:, None]  # (B, L)
            row = (ends - length)[:, None] + slot[None, :]
            self.row_of_slot = row.clamp_(max=self.T - 1).flatten().to(device, non_blocking=True)  # (B*L,)
            self.slot_of_row = inside.flatten().nonzero().flatten().to(device, non_blocking=True)  # (T,)

    def pad(self, rows: Tensor) -> Tensor:
        """(T, *) -> (B, L, *); slots past a sequence's end hold other rows' values."""
        if not self.is_rectangular:
            rows = rows.index_select(0, self.row_of_slot)
        return rows.view(self.B, self.L, *rows.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """(B, L, *) -> (T, *)."""
        rows = padded.reshape(self.B * self.L, *padded.shape[2:])
        return rows if self.is_rectangular else rows.index_select(0, self.slot_of_row)

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(T, 3*D) -> (T, D); see `Attention`."""
        if self._is_short(qkv):
            prefix = None if self.prefix is None else self.prefix[layer]
            with torch.autocast("cpu", enabled=False):
                out: Tensor = _ShortSequences.apply(qkv, prefix, self.lengths, n_head, self._mask(qkv))
            return out
        return self._attend(layer, qkv, n_head)

    def _attend(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        if self.prefix is None and has_flash(qkv.device, qkv.dtype, qkv.shape[1] // (3 * n_head)):
            return self._variable_length(qkv, n_head)
        padded = self.pad(qkv).view(self.B, self.L, 3, n_head, -1)
        q, k, v = padded.permute(2, 0, 3, 1, 4)  # each (B, H, L, D/H)
        if self.prefix is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            before = _heads(self.prefix[layer].to(qkv.dtype), n_head)[:, None].expand(-1, self.B, -1, -1, -1)
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)  # each (B, H, l + L, D/H)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(qkv).to(qkv.dtype))
        return self.unpad(out.transpose(1, 2).reshape(self.B, self.L, -1))

    def _is_short(self, qkv: Tensor) -> bool:
        return qkv.device.type == "cpu" and self.L <= SHORT

    def _mask(self, qkv: Tensor) -> Tensor:
        """−inf above the diagonal, behind l columns of the prefix, shape (L, l + L), fp32; made once a batch."""
        ahead = 0 if self.prefix is None else self.prefix.shape[2]
        if self._causal_mask is None or self._causal_mask.shape[1] != ahead + self.L:
            self._causal_mask = torch.full((self.L, ahead + self.L), -math.inf, device=qkv.device).triu_(1 + ahead)
        return self._causal_mask

    def _variable_length(self, qkv: Tensor, n_head: int) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = qkv.view(self.T, 3, n_head, -1).unbind(1)  # each (T, H, D/H)
        out = varlen_attn(q, k, v, self.cu_seqlens, self.cu_seqlens, self.L, self.L, **_causality())
        assert isinstance(out, Tensor), "varlen_attn returns a tuple only when auxiliary outputs are asked for"
        return out.reshape(self.T, -1)


@functools.cache
def has_flash(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether the variable-length flash kernel takes these: 16 bits, Ampere or newer, and a head size it knows."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    if head_size % 8 or head_size > 256 or not torch.backends.cuda.is_flash_attention_available():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


@functools.cache
def _causality() -> dict[str, Any]:
    # torch 2.10 spelt causality `is_causal=True`; later releases spell it `window_size=(-1, 0)`.
    from torch.nn.attention.varlen import varlen_attn

    takes_window = "window_size" in inspect.signature(varlen_attn).parameters
    return {"window_size": (-1, 0)} if takes_window else {"is_causal": True}
