"""Files every room reads and writes: atomic replacement, hashes, JSON and JSON lines.

A reader never sees half a file: everything is written under a temporary name in the same folder, flushed to
disk (fsync) and renamed over the target, which POSIX makes atomic.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lora_nlg.errors import InputError


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends without an exception.

    Args:
        path: the file to write or replace; its folder is made if absent.
        mode: `"w"` (UTF-8 text) or `"wb"`.

    Raises:
        OSError: the folder can't be written or the disk is full; `path` is then as it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        os.fchmod(descriptor, 0o666 & ~_umask())
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


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


def read_json(path: str | Path) -> Any:
    """A JSON file's value.

    Raises:
        InputError: the file is absent or is not JSON; the message names it.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, source: str) -> Any:
    """A JSON text's value.

    Raises:
        InputError: not JSON, nested too deep, or a number of thousands of digits; the message names `source`.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InputError(f"{source} is not JSON that can be read: it is nested too deep") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise InputError(f"{source} is not JSON that can be read: it holds a number of thousands of digits") from None


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
