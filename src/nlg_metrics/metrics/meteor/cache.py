"""A file of named numpy arrays that is mapped into memory, not read: written once, checked on every opening.

Layout: magic, length and CRC-32 of a JSON header, the header, then the arrays at 64-byte boundaries. The header
holds what the arrays were made from and a CRC-32 of everything behind it, so a torn, damaged or stale file is told
from a good one and simply built again. The file appears under its name complete or not at all.

Not safetensors: that has no checksum and copies what it reads (METEOR's index: 0.68 s to open and check and 63 MiB more
in every process, instead of 0.27 s and none).
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlg_metrics.errors import InputError

if os.name == "posix":
    import fcntl

_MAGIC = b"nlg_metrics arrays 1\n"
_PREFIX = struct.Struct("<QI")  # length and CRC-32 of the header
_ALIGNMENT = 64

Arrays = dict[str, NDArray[Any]]


def cache_folder() -> Path:
    """Where caches go: `NLG_METRICS_CACHE` if set, else `nlg_metrics` in the user's cache folder.

    Raises:
        InputError: the user has no home folder and the variable is not set.
    """
    if named := os.environ.get("NLG_METRICS_CACHE"):
        return Path(named)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError(f"no folder for caches ({error}); set NLG_METRICS_CACHE to one") from error
    return Path(base) / "nlg_metrics"


def cached(path: Path, source: Mapping[str, Any], build: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """The arrays of `path`; built and written first unless the file is there, whole and made from `source`.

    Processes that need the same file at once wait for the first to build it (where the system has file locks;
    elsewhere each builds it, and the last complete file stays).

    Args:
        path: the cache file.
        source: what the arrays depend on, as JSON values; a file made from anything else is stale.
        build: makes the arrays.

    Returns:
        Read-only arrays backed by the mapped file.

    Raises:
        InputError: the file cannot be read or written.
    """
    try:
        arrays = _load(path, source)
        if arrays is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(path):
                arrays = _load(path, source)  # another process may have been faster
                if arrays is None:
                    _write(path, source, build())
                    arrays = _load(path, source)
    except OSError as error:
        raise InputError(
            f"cannot read or write the cache {path} ({error.strerror or error}); free space there, or set "
            "NLG_METRICS_CACHE to a writable folder"
        ) from error
    if arrays is None:
        raise InputError(f"the cache {path} was written but does not read back; check that disk")
    return arrays


def _write(path: Path, source: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    entries, offset, checksum = {}, 0, 0
    chunks: list[bytes | memoryview] = []
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        entries[name] = {"dtype": array.dtype.str, "shape": array.shape, "offset": offset}
        data = array.reshape(-1).view(np.uint8).data
        padding = bytes(-len(data) % _ALIGNMENT)
        chunks += [data, padding]
        checksum = zlib.crc32(padding, zlib.crc32(data, checksum))
        offset += len(data) + len(padding)
    header = {"source": source, "arrays": entries, "size": offset, "crc32": checksum}
    text = json.dumps(header, sort_keys=True).encode()
    start = len(_MAGIC) + _PREFIX.size + len(text)
    text += b" " * (-start % _ALIGNMENT)

    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(_MAGIC + _PREFIX.pack(len(text), zlib.crc32(text)) + text)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # also Ctrl-C: leave nothing behind
        temporary.unlink(missing_ok=True)
        raise


def _load(path: Path, source: Mapping[str, Any]) -> Arrays | None:
    """The mapped arrays, or None if the file is absent, damaged or made from something else."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError):  # ValueError: an empty file cannot be mapped
        return None
    view = memoryview(mapped)
    first = len(_MAGIC) + _PREFIX.size
    if len(view) < first or view[: len(_MAGIC)] != _MAGIC:
        return None
    length, checksum = _PREFIX.unpack(view[len(_MAGIC) : first])
    text = view[first : first + length]
    if len(text) != length or zlib.crc32(text) != checksum:
        return None
    header = json.loads(bytes(text))
    payload = view[first + length :]
    if header["source"] != json.loads(json.dumps(source)) or len(payload) != header["size"]:
        return None
    if zlib.crc32(payload) != header["crc32"]:
        return None
    arrays: Arrays = {}
    for name, entry in header["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(payload, dtype, count, entry["offset"]).reshape(shape)
    return arrays


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock beside `path`; the system drops it with the process, however that ends."""
    if os.name != "posix":
        yield
        return
    with path.with_name(f"{path.name}.lock").open("ab") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks: build twice, then
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
