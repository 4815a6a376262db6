"""CUDA graphs: a step's kernels recorded once and started together.

A training step of GPT-2 medium launches well over a thousand kernels, most of which take less time than their launch.
A CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) starts them all by one call. It
replays fixed kernels on fixed memory, so a batch comes filled up to a shape that returns (`FilledBatch`), what the
work computes goes to tensors that stay, and random numbers follow the generators' seeds at the time of the replay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from lora_nlg.batching import FilledBatch, Shape
from lora_nlg.errors import InputError, first_line

log = logging.getLogger(__name__)
GraphMode = Literal["auto", "true", "false"]
"""auto: graphs on CUDA, operations one by one where a capture fails; true: an error there; false: no graphs."""


def check_graph_mode(mode: GraphMode, device: torch.device) -> None:
    """Refuse graphs asked for where there can be none.

    Raises:
        InputError: they are, and the device isn't CUDA.
    """
    if mode == "true" and device.type != "cuda":
        raise InputError(f"`cuda_graph` true needs a CUDA device, this is {device.type}; set it to auto")


@dataclass
class _Recorded:
    """What belongs to a shape: the batch the graph reads, and the graph once there is one."""

    batch: FilledBatch
    graph: torch.cuda.CUDAGraph | None = None


class GraphedCalls:
    """A function of filled batches that is replayed as a CUDA graph when a shape comes back.

    The first batch of a shape runs operation by operation, in which libraries set up what they can't while being
    recorded; the second is recorded, and from then on all are replayed.

    Args:
        work: takes a batch on `device`; it may neither wait for the device nor return anything: what it computes
            goes to tensors made before.
        device: where it computes. On the CPU it runs operation by operation.
        mode: see `GraphMode`.
        generators: random generators of `device` that it draws from, besides the device's own.
        obstacle: why there can be no graph, if so.

    Attributes:
        graphs: how many shapes have been recorded.

    Raises:
        InputError: graphs are asked for and can't be.
    """

    def __init__(
        self,
        work: Callable[[FilledBatch], None],
        device: torch.device,
        mode: GraphMode = "auto",
        generators: Sequence[torch.Generator] = (),
        obstacle: str = "",
    ) -> None:
        self.work, self.device, self.generators = work, device, generators
        self.required = mode == "true"
        self.enabled = mode != "false" and device.type == "cuda"
        self.graphs = 0
        self._recorded: dict[Shape, _Recorded] = {}
        check_graph_mode(mode, device)
        if self.enabled and obstacle:
            self._do_without(obstacle)
        if self.enabled:
            self._stream = torch.cuda.Stream(device)
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: FilledBatch) -> None:
        """Do the work for a batch, which is on the host, and pinned where the device is CUDA.

        Random numbers follow the generators' seeds at this time: recording draws none.
        """
        recorded = self._recorded.get(batch.shape)
        if self.enabled and recorded is None:
            self._recorded[batch.shape] = _Recorded(batch.to(self.device))
            with self._side_stream():
                self.work(self._recorded[batch.shape].batch)
            return
        if self.enabled and recorded is not None:
            recorded.batch.buffer.copy_(batch.buffer, non_blocking=True)
            if graph := recorded.graph or self._record(recorded):
                graph.replay()
                return
        self.work(batch.to(self.device))

    def _record(self, recorded: _Recorded) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        try:
            # Other threads go on allocating and copying meanwhile: the loader's, and autograd's own.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                self.work(recorded.batch)
        except RuntimeError as error:
            self._do_without(first_line(error))
            return None
        recorded.graph = graph
        self.graphs += 1
        return graph

    def _do_without(self, reason: str) -> None:
        if self.required:
            raise InputError(f"no CUDA graph: {reason}; set `cuda_graph` to auto or false")
        self.enabled = False
        self._recorded.clear()
        log.warning("warning: no CUDA graph (%s): operations are launched one by one", reason)

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """Work on the stream that is recorded from, in order with the current one."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)
