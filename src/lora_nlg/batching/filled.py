"""Batches filled up to a few sizes, in one buffer: what a CUDA device is given.

A CUDA graph replays the same kernels on the same memory, so it needs shapes that return. A batch is filled up to the
next size of a short series: one more sequence takes up the missing tokens, and targets of weight zero the missing
targets. The whole batch is one buffer of integers, copied to the device at once; lengths and denominators are in it,
so that nothing of a step's arithmetic hangs on numbers of the host. Shapes: M parts (runs trained together, usually
one), T tokens, N targets and B sequences of a part after filling up.

Example: one part with inputs (a b c) and (d e), T = 8, N = 4, B = 3 with the sequence that fills up, target rows 1, 2
and 4:

    tokens       a  b  c  d  e  0  0  0
    positions    0  1  2  0  1  0  0  0
    target_rows  1  2  4  7        row 7 is the filling's: its gradient is zero
    targets      c  C  E  0        weights 1 1 1 0
    ends         0  3  5  8
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lora_nlg.batching.batch import Batch

LEAST = 64
"""Sizes up to 512 are multiples of it; it suits matrix products."""


def filled_size(n: int) -> int:
    """The size n is filled up to: a multiple of 64, from 1024 on of an eighth of the power of two below.

    So a run meets few different sizes, and at most an eighth is added to more than 512.
    """
    unit = max(LEAST, (1 << n.bit_length()) // 16)
    return -(-n // unit) * unit


class Shape(NamedTuple):
    """The sizes of a filled batch, which decide the kernels of a step.

    Attributes:
        parts: M.
        tokens: T of each part.
        targets: N of each part.
        sequences: B of each part, with the one that fills up; may be empty sequences.
        longest: bound of a sequence's length, a power of two.
    """

    parts: int
    tokens: int
    targets: int
    sequences: int
    longest: int


@dataclass(frozen=True)
class FilledBatch:
    """M batches of one shape, end to end, in one buffer.

    Attributes:
        shape: the sizes.
        buffer: everything, int64: 2·M counts, then 2·M·T, 2·M·N and M·B + 1 numbers.
        ids: the examples' ids, for messages.
    """

    shape: Shape
    buffer: Tensor
    ids: tuple[str, ...]

    def to(self, device: torch.device | str) -> FilledBatch:
        """The same batch on `device`, in one copy, which doesn't block if it is pinned."""
        return replace(self, buffer=self.buffer.to(device, non_blocking=True))

    def pin_memory(self) -> FilledBatch:
        """The same batch in page-locked memory, where there is a CUDA device to copy it to."""
        return replace(self, buffer=self.buffer.pin_memory()) if torch.cuda.is_available() else self

    def parts(self) -> FilledParts:
        """Views of what is in the buffer, and what is computed from it, on its device."""
        M, T, N, B, _ = self.shape
        denominators, counts, tokens, positions, rows, targets, ends = self.buffer.split(
            (M, M, M * T, M * T, M * N, M * N, M * B + 1)
        )
        weights = torch.arange(N, device=self.buffer.device) < counts[:, None]
        return FilledParts(tokens, positions, rows, targets, ends.to(torch.int32), weights.float(), denominators)


class FilledParts(NamedTuple):
    """A filled batch taken apart; all on its device.

    Attributes:
        tokens, positions: of the stream, shape (M·T,).
        target_rows, targets: rows of the stream and the tokens they should predict, shape (M·N,).
        ends: where sequences begin and end, from 0 to M·T, shape (M·B + 1,), int32.
        weights: 1 for a target, 0 for one that fills up, shape (M, N), fp32.
        denominators: what each part's loss is divided by, shape (M,), int64.
    """

    tokens: Tensor
    positions: Tensor
    target_rows: Tensor
    targets: Tensor
    ends: Tensor
    weights: Tensor
    denominators: Tensor


def fill_up(batches: Sequence[Batch], denominators: Sequence[int], sequences: int = 0) -> FilledBatch:
    """Lay batches end to end, each filled up to the same sizes.

    Args:
        batches: M of them, on the host.
        denominators: what each one's loss is to be divided by, usually the targets of the whole step.
        sequences: reckon with so many in each batch, so that smaller ones get the same shape. Default: as many as
            the largest has.
    """
    M = len(batches)
    # At least one token is added, to whose row the targets that fill up belong.
    T = filled_size(max(len(batch.tokens) for batch in batches) + 1)
    N = filled_size(max(len(batch.targets) for batch in batches))
    B = max(sequences, *(len(batch.lengths) for batch in batches)) + 1
    filling = max(T - len(batch.tokens) for batch in batches)
    longest = max(filling, *(length for batch in batches for length in batch.lengths))
    shape = Shape(M, T, N, B, max(LEAST, 1 << (longest - 1).bit_length()))
    buffer = torch.zeros(2 * M + 2 * M * T + 2 * M * N + M * B + 1, dtype=torch.int64)
    head, tokens, positions, rows, targets, ends = (
        buffer.numpy(),
        *(part.numpy() for part in buffer[2 * M :].split((M * T, M * T, M * N, M * N, M * B + 1))),
    )
    head[:M] = denominators
    head[M : 2 * M] = [len(batch.targets) for batch in batches]
    for m, batch in enumerate(batches):
        n_tokens, n_targets = len(batch.tokens), len(batch.targets)
        tokens[m * T : m * T + n_tokens] = batch.tokens
        positions[m * T : m * T + n_tokens] = batch.positions
        rows[m * N : m * N + n_targets] = batch.target_rows + m * T
        rows[m * N + n_targets : (m + 1) * N] = (m + 1) * T - 1
        targets[m * N : m * N + n_targets] = batch.targets
        lengths = np.zeros(B, dtype=np.int64)
        lengths[: len(batch.lengths)] = batch.lengths
        lengths[-1] = T - n_tokens
        ends[m * B + 1 : (m + 1) * B + 1] = m * T + lengths.cumsum()
    return FilledBatch(shape, buffer, tuple(id for batch in batches for id in batch.ids))
