"""The process group: who we are among the ranks, and sums over all of them.

One process alone is a world of one rank, for which every function here is the identity; `torchrun` makes larger
worlds (gloo on CPU, nccl on CUDA).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from lora_nlg.errors import InputError, first_line

log = logging.getLogger(__name__)
CPU = torch.device("cpu")
CONNECT_SECONDS = 90
"""How long ranks wait for each other at the start; the environment's LORA_NLG_CONNECT_SECONDS comes first."""
WORK_TIMEOUT = timedelta(hours=2)
"""How long a rank waits for another later on, for instance while rank 0 writes."""


@dataclass(frozen=True)
class World:
    """This process's place among the ranks.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all ranks, in place; returns it."""
        if self.size > 1:
            with self._together():
                dist.all_reduce(tensor)
        return tensor

    def broadcast_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by rank 0's, in place; returns it."""
        if self.size > 1:
            with self._together():
                dist.broadcast(tensor, 0)
        return tensor

    def from_main(self, value: Any) -> Any:
        """Rank 0's value of a picklable object, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        with self._together():
            dist.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value of a picklable object, in order of rank, on every rank."""
        values = [value] * self.size
        if self.size > 1:
            with self._together():
                dist.all_gather_object(values, value)
        return values

    def require_equal(self, value: Any, what: str) -> None:
        """Check that all ranks were given the same.

        Raises:
            InputError: some rank's value differs from rank 0's.
        """
        if self.from_main(value) != value:
            raise InputError(
                f"rank {self.rank} has another {what} than rank 0; give all ranks the same files and flags"
            )

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            with self._together():
                dist.barrier()

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what torch raises when a peer is gone
            raise InputError(
                f"rank {self.rank} lost contact with another rank ({first_line(error)}); "
                "run the same command again: it continues from the last snapshot"
            ) from error

    def fail(self, message: str) -> NoReturn:
        """End every rank over something all of them know: rank 0 says it, the others leave quietly.

        Raises:
            InputError: on rank 0.
            SystemExit: with status 1 on the others.
        """
        if self.is_main:
            raise InputError(message)
        raise SystemExit(1)


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device a name means; a CUDA device becomes the current one, with products summed in fp32.

    Args:
        name: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        local_rank: this process's number on its machine; `auto` and `cuda` mean the GPU of that number.

    Raises:
        InputError: CUDA was asked for and isn't there, or the name is no device.
    """
    if name not in ("auto", "cpu", "cuda") and not (name.startswith("cuda:") and name[5:].isdigit()):
        raise InputError(f"`device` must be auto, cpu, cuda or cuda:N, got {name!r}")
    if name == "cpu":
        return CPU
    if not torch.cuda.is_available():
        if name != "auto":
            raise InputError(f"`device` {name}: this torch sees no CUDA device; use cpu")
        if torch.version.cuda is not None:
            log.warning(
                "warning: this torch is built for CUDA %s but sees no device, so the CPU computes; `nvidia-smi` and "
                "CUDA_VISIBLE_DEVICES say what is there, device cpu asks for the CPU",
                torch.version.cuda,
            )
        return CPU
    index = int(name[5:]) if name.startswith("cuda:") else local_rank
    if index >= torch.cuda.device_count():
        raise InputError(f"no device cuda:{index}: this machine has {torch.cuda.device_count()} GPU(s), counted from 0")
    torch.cuda.set_device(index)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    return torch.device("cuda", index)


def be_deterministic() -> None:
    """Take CUDA kernels that give the same bits every time; torch warns at one that has none. Before CUDA is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # No memory is read here before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def joined_world(device: str = "auto") -> Iterator[World]:
    """Join the process group `torchrun` announced, if any, and leave it at the end.

    Args:
        device: see `pick_device`. Default: `auto`.

    Raises:
        InputError: as `pick_device`, or one GPU by number for several ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" not in os.environ or size == 1:
        yield World(device=pick_device(device))
        return
    if device.startswith("cuda:"):
        raise InputError(f"`device` {device} would put all {size} ranks on one GPU; with cuda each takes its own")
    place = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    rank = int(os.environ["RANK"])
    wait = timedelta(seconds=int(os.environ.get("LORA_NLG_CONNECT_SECONDS", CONNECT_SECONDS)))
    store, *_ = next(iter(dist.rendezvous("env://", rank, size, timeout=wait)))
    # torchrun's store outlives a restart: without a prefix of its own, a rank started anew can read the address of a
    # dead one and wait for it for good.
    attempt = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    is_cuda = place.type == "cuda"
    # Given its device, NCCL connects here and now, not after minutes of loading that differ from rank to rank.
    dist.init_process_group(
        "nccl" if is_cuda else "gloo",
        store=attempt,
        rank=rank,
        world_size=size,
        timeout=wait,
        device_id=place if is_cuda else None,
    )
    dist.distributed_c10d._set_pg_timeout(WORK_TIMEOUT)
    try:
        yield World(rank, size, place)
    except BaseException:
        # Leaving in order would wait for ranks that may be gone, and the error would wait with it.
        dist.distributed_c10d._abort_process_group()
        raise
    dist.destroy_process_group()
