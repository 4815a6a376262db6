"""Compiles the pretend device, once for each version of its source and of torch."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEVICE, KERNELS = HERE / "device.cpp", HERE / "kernels.cpp"
FOLDER = Path(os.environ.get("PRETEND_CUDA_BUILD", HERE.parents[1] / "build" / "pretend_cuda"))


class NoCompiler(RuntimeError):
    """No C++ compiler here."""


def build() -> Path:
    """The library's file; if it isn't there yet it is compiled (half a minute of one core).

    Raises:
        NoCompiler: it isn't there, and no g++ or clang++ is either.
        RuntimeError: the compiler failed; its words follow.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    library = FOLDER / f"libpretend_cuda-{_key()}.so"
    if library.exists():
        return library
    torch = torch_folder()
    flags = ["-std=c++20", "-O1", "-fPIC", "-D_GLIBCXX_USE_CXX11_ABI=1", f"-I{torch}/include"]
    libraries = [f"-L{torch}/lib", "-lc10", "-ltorch_cpu", "-ltorch"]
    # Nearly all the time goes into torch's headers: as one unit they are read once.
    _compile([*flags, "-shared", "-include", DEVICE, KERNELS, *libraries], library)
    return library


def torch_folder() -> Path:
    """Where torch lies; it isn't imported."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise RuntimeError("torch is not installed here")
    return Path(found.origin).parent


def _key() -> str:
    files = DEVICE, KERNELS, Path(__file__), torch_folder() / "version.py"
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _compile(arguments: Sequence[str | Path], out: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None:
        raise NoCompiler("the pretend CUDA device needs a C++ compiler (g++ or clang++)")
    own = out.with_name(f".{out.name}.{os.getpid()}")  # two processes may build at once
    result = subprocess.run([compiler, *arguments, "-o", own], stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise RuntimeError(f"{compiler} failed on the pretend CUDA device:\n{result.stderr}")
    own.rename(out)
