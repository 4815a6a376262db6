"""A pretend CUDA device, for machines without one: the real commands run on it with `--device cuda`.

    PYTHONPATH=src:tests python -m pretend_cuda -m lora_nlg train --device cuda …
    PYTHONPATH=src:tests python -m pretend_cuda bench/check_gpu.py …

Tensors carry CUDA's keys and lie in host memory; every operator runs its CPU kernel on aliases of them (`device.cpp`),
and kernels that only CUDA has are written out plainly (`kernels.cpp`). On this device

- tensors of two devices in one operator raise, and so does a type its CUDA kernel would refuse;
- fresh memory is poisoned (NaN, or integers far out of range);
- each device has random numbers of its own (drawn as the CPU draws them);
- pinned memory exists, and what is copied into it without blocking is NaN until an event or the device was waited for;
- kernel launches, waits of the host and copies are counted: `reset()`, then `summary()`;
- a graph (`torch.cuda.graph`, `torch.cuda.CUDAGraph`) records the region's operators with their memory. As on a real
  device the region itself changes nothing: what it wrote is put back, what it made is poisoned. `replay()` runs the
  list again on the same memory, drawing random numbers from the device's generator as it then is. Inside the region
  a wait of the host, a copy from pageable memory, `item()`, a value-dependent shape or a second capture raises.

It can't show what a kernel can't do beyond the checks in `kernels.cpp`, CUDA's own random numbers, races between
streams, memory reused between graphs of one pool, NCCL (gloo answers for it), nondeterminism, or time.

The environment sets the machine: PRETEND_CUDA_DEVICES (default 2) and PRETEND_CUDA_CAPABILITY (default 8.0).
The library is built once, with g++, into build/pretend_cuda; where no compiler is, `build()` raises `NoCompiler`.
"""

from __future__ import annotations

import ctypes
import sys

from pretend_cuda.build import NoCompiler, build, torch_folder
from pretend_cuda.counting import Summary, counts, reset, summary, trace

__all__ = ["NoCompiler", "Summary", "build", "counts", "install", "is_installed", "reset", "summary", "trace"]


def is_installed() -> bool:
    """Whether this process has the device."""
    return "pretend_cuda.interface" in sys.modules


def install() -> None:
    """Give this process the device, for good.

    Raises:
        NoCompiler: the library isn't built and can't be.
        RuntimeError: torch is imported already (it looks for a device once), or has real CUDA.
    """
    if is_installed():
        return
    if "torch" in sys.modules:
        raise RuntimeError("torch is imported already; start with `python -m pretend_cuda`")
    library, folder = build(), torch_folder()
    for name in ("libc10.so", "libtorch_cpu.so", "libtorch.so"):
        ctypes.CDLL(str(folder / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    from pretend_cuda.interface import put_in_place

    put_in_place()
