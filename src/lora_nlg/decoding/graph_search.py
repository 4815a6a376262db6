"""Beam search on CUDA: the device runs ahead, the host reads a step late.

The search is that of beam_search.py and gives its answers. A step has fixed shapes (fixed_step.py); each shape is run
as it is the first time, recorded as a CUDA graph the second time and replayed from then on. While the device works on
a step, the host reads the one before (one packed array, through pinned memory), collects what has finished, and
decides what the next step is about; a search that is done therefore runs a step too far, which nobody looks at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_nlg.decoding.fixed_step import FixedStep, round_up
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.decoding.record import SearchRecord
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.gpt2.inference import InferenceGPT2

log = logging.getLogger(__name__)

MOST_PLACES = 256  # contexts at work: past some thousand rows a step takes time in proportion
SHRINKS = 4  # at the end a step computes so many times fewer places: a new shape has to save more than recording costs
ADMITTED = 8  # prompts are taken in when one place in so many is free: a pass over prompts costs as much as a step


def places_that_fit(model: InferenceGPT2, settings: BeamSettings, longest: int) -> int:
    """Contexts at work at a time that take at most half of the device's free memory, up to `MOST_PLACES`."""
    config, n = model.config, settings.beam
    slots = round_up(model.prefix_length + longest + settings.eval_len + 2 * n)
    cache = config.n_layer * slots * 2 * config.n_embd * torch.finfo(model.dtype).bits // 8
    rows = n * 4 * (3 * config.vocab_size + 16 * config.n_embd)  # logits and what is made of them
    free = torch.cuda.mem_get_info(model.device)[0]
    cached = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return max(1, min(MOST_PLACES, (free + cached) // 2 // (cache + rows)))


class StepGraphs:
    """Runs a step, from its second time with the same shape on as a CUDA graph.

    Args:
        step: what to run; all it reads and writes lies at fixed addresses.
        enabled: False runs it as it is every time.
    """

    def __init__(self, step: Callable[[int, int], None], enabled: bool) -> None:
        self.step, self.enabled = step, enabled
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}

    def forget(self) -> None:
        """Record anew: addresses have changed."""
        self.graphs.clear()

    def run(self, places: int, slots: int) -> None:
        """One step."""
        shape = places, slots
        if not self.enabled or shape not in self.graphs:  # the first time also loads kernels and makes workspaces
            self.graphs.setdefault(shape, None)
            self.step(*shape)
            return
        graph = self.graphs[shape] or self._record(shape)
        if graph is None:
            self.step(*shape)
        else:
            graph.replay()

    def _record(self, shape: tuple[int, int]) -> torch.cuda.CUDAGraph | None:
        # Graphs share memory for what lives inside a step: they run one after the other and leave nothing there.
        pool = next((graph.pool() for graph in self.graphs.values() if graph is not None), None)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self.step(*shape)
        except RuntimeError as error:
            log.warning("decoding without CUDA graphs, which is slower: %s", str(error).partition("\n")[0])
            self.enabled = False
            return None
        self.graphs[shape] = graph
        return graph


@dataclass(frozen=True)
class _Flight:
    """A step that the host has not read: its number, whose it was, and where its findings come."""

    number: int
    index: NDArray[np.int64]  # the prompt at each place, −1 for none
    packed: Tensor
    arrived: torch.cuda.Event | None


class GraphSearch:
    """A batch of searches at work.

    Args:
        model, prompts, settings: as for `beam_search`, checked.
        penalties: rankings wanted.
        places: contexts at work at a time.
        graphs: False runs every step as it is. Default: True; only CUDA has graphs.
    """

    def __init__(
        self,
        model: InferenceGPT2,
        prompts: Sequence[Sequence[int]],
        settings: BeamSettings,
        penalties: Sequence[LengthPenalty],
        places: int,
        graphs: bool = True,
    ) -> None:
        self.prompts, self.settings = prompts, settings
        # Longest first: the cache has its final size from the start. Taken from the end.
        self.waiting = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), -i))
        longest = len(prompts[self.waiting[-1]])
        self.in_prefix = model.prefix_length
        slots = self.in_prefix + longest + settings.eval_len + 2 * settings.beam
        self.step = FixedStep(model, settings, places, slots, longest)
        self.on_cuda = model.device.type == "cuda"
        self.graphs = StepGraphs(self.step, graphs and self.on_cuda)
        self.record = SearchRecord(settings, penalties, places)
        self.first_sums = np.full(settings.beam, -np.inf, dtype=np.float32)
        self.first_sums[0] = 0.0
        self.active = places  # places that a step computes, A
        # Slots in use at each place after all steps launched, at most.
        self.used = np.full(places, self.in_prefix + settings.beam)
        self.launched = 0
        self.buffers = [torch.zeros(self.step.packed.shape, dtype=torch.int32) for _ in range(2)]
        if self.on_cuda:
            self.buffers = [buffer.pin_memory() for buffer in self.buffers]

    @property
    def at_work(self) -> int:
        """Searches that are not known to be done."""
        return int((self.record.index[: self.active] >= 0).sum())

    def run(self) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
        """Search all prompts; yields (index, a list of hypotheses for each penalty) as searches end."""
        flight: _Flight | None = None
        while True:
            if self._is_sparse() and flight:  # places may move only when no step is on its way
                yield from self._read(flight)
                flight = None
            if self._is_sparse():
                self._shrink()
            self._admit()
            if not self.at_work:
                return
            launched = self._launch()
            if flight:
                yield from self._read(flight)
            flight = launched

    def _is_sparse(self) -> bool:
        return not self.waiting and 0 < self.at_work <= self.active // SHRINKS

    def _shrink(self) -> None:
        """Go on with fewer places."""
        size = self.active
        while self.at_work <= size // SHRINKS:
            size //= SHRINKS
        at_work = self.record.index[: self.active] >= 0
        sources = (np.flatnonzero(at_work[size:]) + size).tolist()
        targets = np.flatnonzero(~at_work[:size]).tolist()[: len(sources)]
        if sources:
            self.step.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self.record.move(source, target)
            self.used[target] = self.used[source]
        self.record.index[size:] = -1
        self.active = size

    def _admit(self) -> None:
        """Give free places to waiting contexts, several at a time."""
        free = np.flatnonzero(self.record.index[: self.active] < 0).tolist()
        if not self.waiting or len(free) < max(1, self.active // ADMITTED):
            return
        places = free[: len(self.waiting)]
        new = [self.waiting.pop() for _ in places]
        prompts = [self.prompts[index] for index in new]
        for place, index, prompt in zip(places, new, prompts, strict=True):
            self.record.admit(place, index, self.first_sums)
            self.used[place] = self.in_prefix + len(prompt) - 1 + self.settings.beam
        if (needed := int(self.used.max())) > self.step.n_slots:
            self._grow(needed)
        self.step.admit(places, prompts)

    def _grow(self, slots: int) -> None:
        self.graphs.forget()
        self.step.grow(slots)

    def _launch(self) -> _Flight:
        """Start a step and the way back of its findings."""
        A, n = self.active, self.settings.beam
        needed = int(self.used[:A].max()) + n
        if needed > self.step.n_slots:
            self._grow(needed)
        with torch.cuda.device(self.step.device) if self.on_cuda else nullcontext():  # whose streams are meant
            self.graphs.run(A, round_up(needed))
            packed = self.buffers[self.launched % 2][:A]
            packed.copy_(self.step.packed[:A], non_blocking=True)
            arrived = torch.cuda.Event() if self.on_cuda else None
            if arrived:
                arrived.record()
        # Who was nobody's in this step now holds one slot a beam, the first ones that are no prefix's.
        self.used[:A] = np.where(self.record.index[:A] < 0, self.in_prefix + n, self.used[:A] + n)
        self.launched += 1
        return _Flight(self.launched, self.record.index[:A].copy(), packed, arrived)

    def _read(self, flight: _Flight) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
        """Take in a step's findings; yields the searches that are done."""
        if flight.arrived:
            flight.arrived.synchronize()
        K = self.settings.candidates
        # Not of searches known to be done by now, nor of those that came in their place since.
        places = np.flatnonzero((flight.index >= 0) & (flight.index == self.record.index[: self.active]))
        packed = flight.packed.numpy()[places]
        self.used[places] = packed[:, 3 * K] + (self.launched - flight.number) * self.settings.beam
        sums = np.ascontiguousarray(packed[:, :K]).view(np.float32)
        done = self.record.step(places, sums, tokens=packed[:, K : 2 * K], parents=packed[:, 2 * K : 3 * K])
        found = [(int(self.record.index[place]), self.record.best[place]) for place in done]
        if done:
            self.record.index[done] = -1
            self.step.retire(done)
        yield from found
