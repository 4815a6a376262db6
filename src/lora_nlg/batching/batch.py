"""A batch: one flat stream of tokens, without padding.

Example: two examples with inputs (a b c) and (d e), predicting (c C) at the first's last two rows and (E) at the
second's last:

    tokens       a  b  c  d  e        (T,)  T = 5
    positions    0  1  2  0  1        (T,)
    target_rows  1  2  4              (N,)  rows of the stream the head is applied to
    targets      c  C  E              (N,)  the token each of them should predict
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lora_nlg.batching.examples import Example


@dataclass(frozen=True)
class Batch:
    """A flat, unpadded batch of B examples, T input tokens and N targets.

    Attributes:
        tokens: input ids, shape (T,).
        positions: each token's position in its own example, shape (T,).
        lengths: input tokens of each example, on the host.
        target_rows: rows of the stream that predict a target, shape (N,).
        targets: the ids they should predict, shape (N,).
        ids: the examples' ids, for messages.
    """

    tokens: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    target_rows: Tensor
    targets: Tensor
    ids: tuple[str, ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`; copies from pinned memory do not block."""
        names = ("tokens", "positions", "target_rows", "targets")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        names = ("tokens", "positions", "target_rows", "targets")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})


def make_batch(examples: Sequence[Example]) -> Batch:
    """Lay examples end to end.

    Args:
        examples: at least one.
    """
    inputs, positions, rows, targets = [], [], [], []
    start = 0
    for example in examples:
        tokens = np.asarray(example.tokens, dtype=np.int64)
        inputs.append(tokens[:-1])
        positions.append(np.arange(len(tokens) - 1))
        rows.append(np.arange(example.first_target - 1, len(tokens) - 1) + start)
        targets.append(tokens[example.first_target :])
        start += example.n_inputs
    lengths = tuple(example.n_inputs for example in examples)
    return Batch(
        tokens=torch.from_numpy(np.concatenate(inputs)),
        positions=torch.from_numpy(np.concatenate(positions)),
        lengths=lengths,
        target_rows=torch.from_numpy(np.concatenate(rows)),
        targets=torch.from_numpy(np.concatenate(targets)),
        ids=tuple(example.id for example in examples),
    )
