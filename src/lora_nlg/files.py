"""Files every room reads and writes: atomic replacement, hashes, JSON and JSON lines.

A reader never sees half a file: everything is written under a temporary name in the same folder, flushed to
disk (fsync) and renamed over the target, which POSIX makes atomic. A symbolic link stays: what it points to is
replaced. What isn't a regular file (a pipe, a terminal, `/dev/stdout`) is written straight into.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from lora_nlg.errors import InputError

T = TypeVar("T")


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends without an exception.

    Args:
        path: the file to write or replace; its folder is made if absent. A link is followed; what isn't a regular
            file is opened itself.
        mode: `"w"` (UTF-8 text) or `"wb"`.

    Raises:
        OSError: it is a folder, the folder it lies in can't be written or the disk is full; `path` is then as it was
            before.
    """
    encoding = None if "b" in mode else "utf-8"
    if is_stream(path):
        with os.fdopen(_stream(path), mode, encoding=encoding) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    if path.is_dir() or path.is_symlink():  # still a link: one that leads to itself
        raise IsADirectoryError(f"{path} is {'a folder' if path.is_dir() else 'a link to itself'}, not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name of a temporary file must not be longer than the file system allows, where the file's own is not.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.", suffix=".tmp")
    try:
        os.fchmod(descriptor, 0o666 & ~_umask())
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def is_stream(path: str | Path) -> bool:
    """Whether a path, its links followed, is there and neither a regular file nor a folder, or is an output of ours."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) or _standard_output(found) is not None


def _stream(path: str | Path) -> int:
    """A descriptor to write into."""
    own = _standard_output(os.stat(path))
    if own is None:
        return os.open(path, os.O_WRONLY)
    # Shared, not opened anew: behind what was printed, also where the output goes to a regular file.
    for output in (sys.stdout, sys.stderr):
        output.flush()
    return os.dup(own)


def _standard_output(found: os.stat_result) -> int | None:
    """The descriptor of standard output or error, if it is the file given."""
    for descriptor in (1, 2):
        with suppress(OSError):  # closed
            if os.path.samestat(os.fstat(descriptor), found):
                return descriptor
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: str | Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_hashed(path: str | Path, read: Callable[[], T]) -> tuple[T, str]:
    """What is read from a file, and the SHA-256 of the very bytes it was read from.

    Args:
        path: the file.
        read: reads it.

    Raises:
        InputError: the file changed meanwhile.
    """
    before = sha256_file(path)
    value = read()
    if sha256_file(path) != before:
        raise InputError(f"{path} changed while it was read; run this again when nothing writes to it any more")
    return value, before


def read_json(path: str | Path) -> Any:
    """A JSON file's value.

    Raises:
        InputError: the file is absent or is not JSON; the message names it.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def read_text(path: str | Path) -> str:
    """A UTF-8 text file's content, a byte order mark dropped.

    Raises:
        InputError: the file is absent, is a folder, or is not UTF-8; the message names it.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); convert it first") from None


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield `(line number, value)` for every line of a JSON lines file; line numbers start at 1.

    Raises:
        InputError: the file is absent or not UTF-8, or a line is not JSON; the message names file and line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from None


def write_jsonl(path: str | Path, values: Iterable[Any]) -> int:
    """Write one JSON value a line, atomically. Returns the number of lines."""
    count = 0
    with atomic_write(path) as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            count += 1
    return count
