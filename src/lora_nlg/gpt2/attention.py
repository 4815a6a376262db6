"""Attention over a flat stream of tokens: the only place of the model that knows where sequences begin and end.

A batch is one stream of T tokens. Linear layers see (T, D) and no padding. `PackedAttention` lets every token
attend to itself and the earlier tokens of its own sequence: with a variable-length kernel on CUDA, with padded
scaled-dot-product attention on the CPU. Decoding brings its own `Attention` with a cache (decoding/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Attention(Protocol):
    """What the model calls in each block; it owns all knowledge of sequences and caches."""

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


class PackedAttention:
    """Causal self-attention within each sequence of a flat stream.

    Example: lengths (3, 2) is a stream of T = 5 rows; rows 0-2 are one sequence, rows 3-4 the other. Padded to
    (2, 3), slot (1, 2) has no row; it repeats the stream's last row, which nobody attends to: padding is on the right
    and attention is causal.

    Args:
        lengths: tokens of each of the B sequences, all positive.
        device: where the stream is.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.lengths = list(lengths)
        self.B, self.L, self.T = len(self.lengths), max(self.lengths), sum(self.lengths)
        length = torch.tensor(self.lengths)
        ends = length.cumsum(0)
        self.cu_seqlens = F.pad(ends, (1, 0)).to(torch.int32).to(device, non_blocking=True)
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
        if qkv.is_cuda and qkv.dtype in (torch.float16, torch.bfloat16):
            return self._variable_length(qkv, n_head)
        padded = self.pad(qkv).view(self.B, self.L, 3, n_head, -1)
        q, k, v = padded.permute(2, 0, 3, 1, 4)  # each (B, H, L, D/H)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.unpad(out.transpose(1, 2).reshape(self.B, self.L, -1))

    def _variable_length(self, qkv: Tensor, n_head: int) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = qkv.view(self.T, 3, n_head, -1).unbind(1)  # each (T, H, D/H)
        causal = {"window_size": (-1, 0)} if _takes_window(varlen_attn) else {"is_causal": True}
        out = varlen_attn(q, k, v, self.cu_seqlens, self.cu_seqlens, self.L, self.L, **causal)
        assert isinstance(out, Tensor), "varlen_attn returns a tuple only when auxiliary outputs are asked for"
        return out.reshape(self.T, -1)


def _takes_window(function: object) -> bool:
    # torch 2.10 spelt causality `is_causal=True`; later releases spell it `window_size=(-1, 0)`.
    import inspect

    return "window_size" in inspect.signature(function).parameters  # type: ignore[arg-type]
