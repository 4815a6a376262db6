"""The order of training: which examples make up each optimiser step.

A pure function of the seed, the epoch and the global batch size, so it is the same for any number of ranks and
accumulated micro-batches, and any step can be asked for without replaying those before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_nlg.errors import InputError

Indices = NDArray[np.int64]


class Sampler:
    """Every example once an epoch, in global batches.

    The last batch of an epoch is smaller where the examples don't divide evenly: nothing is dropped or repeated.

    Args:
        lengths: tokens of each example.
        global_batch: examples of one optimiser step over all ranks and micro-batches.
        seed: decides every epoch's order.
        shuffle: False keeps the examples' own order in every epoch. Default: True.
        bucket: batches that are sorted by length together, then taken in random order: examples of similar length
            share a batch. 0 mixes lengths freely. Default: 0.

    Raises:
        InputError: no example, or a batch size below 1.
    """

    def __init__(
        self, lengths: Sequence[int], global_batch: int, seed: int, shuffle: bool = True, bucket: int = 0
    ) -> None:
        if not len(lengths):
            raise InputError("there is no example to train on")
        if global_batch < 1:
            raise InputError(f"the global batch must hold at least 1 example, got {global_batch}")
        self.lengths = np.asarray(lengths)
        self.global_batch, self.seed, self.shuffle, self.bucket = global_batch, seed, shuffle, bucket
        self.steps_per_epoch = -(-len(lengths) // global_batch)
        self._epoch: tuple[int, list[Indices]] | None = None

    def batch(self, step: int) -> Indices:
        """Indices of the examples of a step.

        Args:
            step: optimiser steps before it, from 0 and across epochs.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][position]

    def _batches(self, epoch: int) -> list[Indices]:
        size, order = self.global_batch, np.arange(len(self.lengths))
        if not self.shuffle:
            return [order[first : first + size] for first in range(0, len(order), size)]
        generator = np.random.default_rng([self.seed, epoch])
        generator.shuffle(order)
        if self.bucket > 1:
            window = size * self.bucket
            for first in range(0, len(order), window):
                part = order[first : first + window]
                order[first : first + window] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        if self.bucket > 1:
            # The partial batch stays last, as it is without buckets.
            full = len(batches) - (len(order) % size > 0)
            batches = [batches[i] for i in generator.permutation(full)] + batches[full:]
        return batches


def share(batch: Indices, rank: int, size: int, grad_acc: int) -> list[Indices]:
    """One rank's micro-batches of a global batch.

    Example: 8 examples over 2 ranks with 2 micro-batches each: rank 1 gets [4, 5] and [6, 7]. A partial batch is
    spread as evenly as it goes; a micro-batch may then be empty.

    Args:
        batch: the global batch.
        rank: whose part.
        size: number of ranks.
        grad_acc: micro-batches a rank accumulates.
    """
    return list(np.array_split(batch, size * grad_acc)[rank * grad_acc : (rank + 1) * grad_acc])
