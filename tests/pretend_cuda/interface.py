"""The parts of `torch.cuda` that a build without CUDA lacks, over the pretend device."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

NAME = "Pretend CUDA"
MEMORY = 16 * 2**30


def _ops() -> Any:
    return torch.ops.pretend_cuda


def _index(device: Any = None) -> int:
    if device is None:
        return int(_ops().current_device())
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return int(_ops().current_device()) if index is None else index


class Stream:
    """A queue of work; here all work is done at once, in order of the calls."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = torch.device("cuda", _index(device))

    def synchronize(self) -> None:
        """Wait for the stream."""
        synchronize()

    def wait_stream(self, stream: Stream) -> None:
        """Later work waits for another stream's earlier work."""

    def wait_event(self, event: Event) -> None:
        """Later work waits for an event."""

    def record_event(self, event: Event | None = None) -> Event:
        """Mark this place in the queue."""
        event = event or Event()
        event.record(self)
        return event

    def query(self) -> bool:
        """Whether all is done: never, until the host has waited."""
        return False


class Event:
    """A place in the queue of work.

    Waiting for it is a synchronisation if nothing was launched after it: then the device runs dry meanwhile.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.arrivals, self.launched, self.time = 0, 0, 0.0

    def record(self, stream: Stream | None = None) -> None:
        """Mark this place."""
        self.arrivals, self.launched = _ops().mark()
        self.time = time.perf_counter()

    def wait(self, stream: Stream | None = None) -> None:
        """Make a stream wait."""

    def synchronize(self) -> None:
        """Make the host wait."""
        _ops().forbid_while_capturing("Event.synchronize()")
        if _ops().mark()[1] == self.launched:
            _ops().synchronised("event")
        else:
            _ops().wait_for(self.arrivals)

    def query(self) -> bool:
        """Whether the place was passed; here only once something was launched after it."""
        if _ops().mark()[1] == self.launched:
            return False
        _ops().wait_for(self.arrivals)
        return True

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds of the host between two records."""
        return (end.time - self.time) * 1000


class CUDAGraph:
    """A recorded list of operators; see the package's docstring."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._number: int | None = None
        self._generators: list[torch.Generator] = []
        self._states: list[torch.Tensor] = []

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", **_: Any) -> None:
        """Start recording."""
        self._states = [generator.get_state() for generator in self._generators]
        _ops().capture_begin()

    def capture_end(self) -> None:
        """Stop recording, which has drawn no random number."""
        self._number = _ops().capture_end()
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)

    def replay(self) -> None:
        """Run the recording."""
        if self._number is None:
            raise RuntimeError("called CUDAGraph::replay without a preceding successful capture")
        _ops().replay(self._number)

    def reset(self) -> None:
        """Forget the recording."""
        if self._number is not None:
            _ops().forget(self._number)
        self._number = None

    def pool(self) -> tuple[int, int]:
        """The memory pool's handle."""
        return (0, id(self))

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Replays draw from a generator's state of that time."""
        self._generators.append(generator)


@contextmanager
def graph(
    cuda_graph: CUDAGraph,
    pool: Any = None,
    stream: Stream | None = None,
    capture_error_mode: str = "global",
    **_: Any,
) -> Iterator[None]:
    """Record the region."""
    synchronize()
    cuda_graph.capture_begin(pool, capture_error_mode)
    try:
        yield
    finally:
        cuda_graph.capture_end()


@contextmanager
def stream_context(stream: Stream | None) -> Iterator[None]:
    """Queue the region's work on a stream."""
    yield


@contextmanager
def device_context(device: Any) -> Iterator[None]:
    """Make a device the current one."""
    before = _ops().current_device()
    if device is not None and _index(device) >= 0:
        set_device(device)
    try:
        yield
    finally:
        _ops().set_device(before)


def synchronize(device: Any = None) -> None:
    """Wait for a device."""
    _ops().forbid_while_capturing("torch.cuda.synchronize()")
    _ops().synchronised("device")


def set_device(device: Any) -> None:
    """Make a device the current one."""
    index = _index(device)
    if index >= _ops().device_count():
        raise RuntimeError(f"CUDA error: invalid device ordinal {index}")
    if index >= 0:
        _ops().set_device(index)


def _capability(device: Any = None) -> tuple[int, int]:
    major, _, minor = os.environ.get("PRETEND_CUDA_CAPABILITY", "8.0").partition(".")
    return int(major), int(minor or 0)


def _properties(device: Any = None) -> SimpleNamespace:
    major, minor = _capability()
    return SimpleNamespace(name=NAME, major=major, minor=minor, total_memory=MEMORY, multi_processor_count=1)


def _memory(device: Any = None) -> int:
    return int(_ops().memory(_index(device))[0])


def _peak(device: Any = None) -> int:
    return int(_ops().memory(_index(device))[1])


def _with_gloo(join: Any) -> Any:
    """`init_process_group` with gloo in place of NCCL."""

    @functools.wraps(join)
    def joined(backend: str | None = None, *args: Any, device_id: Any = None, **named: Any) -> Any:
        return join("gloo" if backend == "nccl" else backend, *args, **named)

    return joined


def put_in_place() -> None:
    """Replace what is missing in `torch.cuda`, once."""
    count = int(_ops().device_count())
    stream = Stream("cuda:0")
    replaced = {
        "_lazy_init": lambda: None,
        "_lazy_call": lambda function, **_: function(),
        "_is_in_bad_fork": lambda: False,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "device_count": lambda: count,
        "current_device": lambda: int(_ops().current_device()),
        "set_device": set_device,
        "device": device_context,
        "synchronize": synchronize,
        "Stream": Stream,
        "Event": Event,
        "stream": stream_context,
        "current_stream": lambda device=None: stream,
        "default_stream": lambda device=None: stream,
        "set_stream": lambda stream: None,
        "CUDAGraph": CUDAGraph,
        "graph": graph,
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: bool(_ops().is_capturing()),
        "get_device_capability": _capability,
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": _properties,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or _capability() >= (8, 0),
        "memory_allocated": _memory,
        "memory_reserved": _memory,
        "max_memory_allocated": _peak,
        "max_memory_reserved": _peak,
        "reset_peak_memory_stats": lambda device=None: _ops().reset_peak(_index(device)),
        "mem_get_info": lambda device=None: (MEMORY - _memory(device), MEMORY),
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
        "default_generators": tuple(_ops().generator(index) for index in range(count)),
    }
    for name, value in replaced.items():
        setattr(torch.cuda, name, value)
    for name in ("CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing"):
        setattr(torch.cuda.graphs, name, replaced[name])
    for name in ("_lazy_init", "_lazy_call", "current_device", "device_count"):
        setattr(torch.cuda.random, name, replaced[name])
    torch.backends.cuda.is_built = lambda: True
    torch.backends.cuda.is_flash_attention_available = lambda: True
    dist.init_process_group = _with_gloo(dist.init_process_group)
    dist.is_nccl_available = lambda: True
