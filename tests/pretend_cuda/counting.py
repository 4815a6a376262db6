"""What the device was asked to do: kernel launches, waits of the host, copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Counts since `reset`.

    Attributes:
        launches: operators that start a kernel, and graphs replayed (one each).
        syncs: waits of the host until all queued work is done, copies that block among them.
        waits: waits for an event behind which more work is queued already.
        copies: copies between host and device that don't block.
        nodes: kernels run by replayed graphs.
    """

    launches: int
    syncs: int
    waits: int
    copies: int
    nodes: int


def _device() -> Any:
    import torch  # not before the device is in place

    return torch.ops.pretend_cuda


def reset(trace: bool = False) -> None:
    """Start counting anew.

    Args:
        trace: keep the order too, for `trace()`.
    """
    _device().reset_counts(trace)


def counts() -> dict[str, int]:
    """Counts by kind and name: `launch addmm`, `view transpose.int`, `sync item()`, `copy from pinned memory`, …"""
    lines = (line.split("\t") for line in _device().counts())
    return {name: int(number) for name, number in lines}


def trace() -> list[str]:
    """The names of `counts` in order."""
    return list(_device().trace())


def summary() -> Summary:
    """The counts by kind."""
    of: dict[str, int] = {}
    for name, number in counts().items():
        kind = name.split(" ")[0]
        of[kind] = of.get(kind, 0) + number
    return Summary(
        launches=of.get("launch", 0) + of.get("replay", 0),
        syncs=of.get("sync", 0),
        waits=of.get("wait", 0),
        copies=of.get("copy", 0),
        nodes=of.get("node", 0),
    )
