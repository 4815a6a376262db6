"""What the trainer consumes: the batches of each optimiser step, laid out ahead of time in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from lora_nlg.batching.batch import Batch, make_batch
from lora_nlg.batching.examples import Example
from lora_nlg.batching.filled import FilledBatch, fill_up
from lora_nlg.batching.sampler import Sampler, share


@dataclass(frozen=True)
class StepData:
    """What one rank needs for one optimiser step.

    Attributes:
        step: number of the step, from 1.
        epoch: number of the epoch it belongs to, from 1.
        micro_batches: this rank's batches, on the host; those without a target are left out.
        n_targets: target tokens of the global batch: the denominator of its mean loss, the same on all ranks.
        n_tokens: input tokens of the global batch.
        ids: ids of the global batch's examples.
    """

    step: int
    epoch: int
    micro_batches: Sequence[Batch | FilledBatch]
    n_targets: int
    n_tokens: int
    ids: tuple[str, ...]


class Loader:
    """Batches of consecutive steps, prepared ahead.

    Args:
        examples: all training examples; every rank holds all of them, so the global target count of a step is known
            without communication.
        sampler: the order.
        rank: whose share. Default: 0.
        size: number of ranks. Default: 1.
        grad_acc: micro-batches of a rank in one step. Default: 1.
        fill: lay batches out for a CUDA device: filled up to few shapes, in page-locked memory, from which copies
            do not block. Default: False.
        ahead: steps prepared before they are asked for. Default: 2.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sampler: Sampler,
        rank: int = 0,
        size: int = 1,
        grad_acc: int = 1,
        fill: bool = False,
        ahead: int = 2,
    ) -> None:
        self.examples, self.sampler = examples, sampler
        self.rank, self.size, self.grad_acc = rank, size, grad_acc
        self.fill, self.ahead = fill, ahead

    def prepare(self, step: int) -> StepData:
        """The data of one step.

        Args:
            step: number of the step, from 1 and across epochs.
        """
        indices = self.sampler.batch(step - 1)
        chosen = [self.examples[i] for i in indices]
        n_targets = sum(example.n_targets for example in chosen)
        batches = []
        for part in share(indices, self.rank, self.size, self.grad_acc):
            members = [self.examples[i] for i in part]
            if any(example.n_targets for example in members):
                batches.append(make_batch(members))
        sequences = max(len(batch.lengths) for batch in batches) if batches else 0
        filled = [fill_up([batch], [n_targets], sequences).pin_memory() for batch in batches] if self.fill else []
        return StepData(
            step=step,
            epoch=(step - 1) // self.sampler.steps_per_epoch + 1,
            micro_batches=filled or batches,
            n_targets=n_targets,
            n_tokens=sum(example.n_inputs for example in chosen),
            ids=tuple(example.id for example in chosen),
        )

    def steps(self, first: int, last: int) -> Iterator[StepData]:
        """Steps `first` to `last`, both included and counted from 1."""
        waiting: deque[Future[StepData]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            for step in range(first, last + 1):
                waiting.append(thread.submit(self.prepare, step))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def validation_batches(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Examples in batches of similar length: validation sums over all of them, so their order is free."""
    order = torch.tensor([example.n_inputs for example in examples]).argsort(stable=True).tolist()
    return [[examples[i] for i in order[first : first + batch_size]] for first in range(0, len(order), batch_size)]
