"""Attention over a stream whose lengths are on the device: for batches filled up to a shape that returns.

`FlatAttention` knows the lengths on the host and lays out each batch anew; here everything that differs between
batches of one shape is a tensor, so that a CUDA graph can replay it and a compiled model need not be compiled anew.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lora_nlg.gpt2.attention import FlatAttention


class FilledAttention(FlatAttention):
    """Causal self-attention within each sequence of a flat stream.

    Args:
        ends: where sequences begin and end, from 0 to T, shape (B + 1,), int32, on the stream's device.
        longest: no sequence is longer.
        T: length of the stream.
    """

    def __init__(self, ends: Tensor, longest: int, T: int) -> None:
        self.prefix = None
        self._causal_mask = None
        self.cu_seqlens = ends
        self.B, self.L, self.T = len(ends) - 1, longest, T
        self.is_rectangular = False
        starts = ends[:-1].long()
        slot, row = (torch.arange(n, device=ends.device) for n in (longest, T))
        self.row_of_slot = (starts[:, None] + slot).clamp_(max=T - 1).flatten()  # (B*L,)
        sequence = torch.searchsorted(ends[1:], row.int(), right=True)
        self.slot_of_row = sequence * longest + row - starts[sequence]  # (T,)

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(T, 3*D) -> (T, D); see `Attention`."""
        return self._attend(layer, qkv, n_head)
