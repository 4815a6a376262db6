"""Files every room reads and writes: atomic replacement, hashes, JSON and JSON lines, YAML.

A reader never sees half a file: everything is written under a temporary name in the same folder, flushed to
disk (fsync) and renamed over the target, which POSIX makes atomic. A symbolic link stays: what it points to is
replaced. What isn't a regular file (a pipe, a terminal, `/dev/stdout`) is written straight into.

What is read may be damaged or made to harm. JSON and YAML are bounded before they become values: how deep they nest,
how long a number is, what an alias may multiply, and text that no file can hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml

from lora_nlg.errors import InputError

T = TypeVar("T")

DEEPEST = 64
"""Lists and objects in one another that a JSON or YAML text may hold; what this project writes needs ten."""
LONGEST_VALUE = 8192
"""Characters of a flag's value or a value in YAML: twice the longest path."""
LARGEST_FILE = 1 << 30
"""Bytes of a file that is read into memory; the largest corpus here has 25 MB."""
_LONGEST_YAML = 1 << 20
_LONGEST_NUMBER = 40
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Where an escape of half a character (a surrogate) may begin; a good pair begins so too."""


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


def parse_json(text: str | bytes, where: str) -> Any:
    """A JSON text's value, if reading it is harmless.

    Args:
        text: UTF-8 where it is bytes.
        where: what it is, for the message.

    Raises:
        InputError: no JSON; nested deeper than `DEEPEST`; a whole number that neither 64 bits nor a double hold; half a
            character (a lone surrogate), which no file can hold.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(text, parse_int=_whole_number)
        if text.count("[") + text.count("{") > DEEPEST and _nests_deeper(value, DEEPEST):
            raise RecursionError
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        reason = f"nested more than {DEEPEST} deep"
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InputError(f"{where} holds half a character (the lone surrogate {half}); take it out") from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in error.doc else ""
        reason = f"{error.msg} at {line}column {error.colno}"
    except ValueError as error:
        reason = str(error)
    raise InputError(f"{where} is not JSON ({reason})")


def _whole_number(digits: str) -> int | float:
    if len(digits) <= 20 and -(1 << 63) <= int(digits) < 1 << 64:
        return int(digits)
    if len(digits) <= _LONGEST_NUMBER and int(float(digits)) == int(digits):
        return float(digits)  # exactly; transformers writes int(1e30) for "no limit"
    raise ValueError(f"a whole number of {len(digits.lstrip('-'))} digits; 64 bits hold no such number")


def _nests_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def read_json(path: str | Path) -> Any:
    """A JSON file's value.

    Raises:
        InputError: the file is absent, or `parse_json` refuses it; the message names it.
    """
    return parse_json(read_text(path), str(path))


def read_json_object(path: str | Path) -> dict[str, Any]:
    """The value of a JSON file that must be an object, `{…}`.

    Raises:
        InputError: as `read_json`; or it is a list, a number, …
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, {{…}}, not {type(value).__name__}")
    return value


def check_yaml(text: str, where: str) -> None:
    """Refuse YAML that building would choke on: the C library follows nesting until the stack ends.

    Raises:
        InputError: no YAML; more than a mebibyte, or a value of more than `LONGEST_VALUE`; nested deeper than
            `DEEPEST`; anchors or aliases, with which a few lines stand for gigabytes.
    """
    if len(text) > _LONGEST_YAML:
        raise InputError(f"{where} is {len(text):,} characters long; YAML of at most {_LONGEST_YAML:,} is read")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise InputError(f"{where} is nested more than {DEEPEST} deep")
            if len(getattr(event, "value", "")) > LONGEST_VALUE:
                raise InputError(f"{where} has a value of more than {LONGEST_VALUE:,} characters")
            if (anchor := getattr(event, "anchor", None)) is not None:
                raise InputError(f"{where} has the anchor or alias {anchor!r}; write the value out where it stands")
    except (yaml.YAMLError, UnicodeError) as error:  # UnicodeError: a lone surrogate
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: str | Path) -> Any:
    """A YAML file's value.

    Raises:
        InputError: the file is absent, or `check_yaml` refuses it, or a value in it is none; the message names it.
    """
    text = read_text(path)
    check_yaml(text, str(path))
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date like 2020-13-45, a number of 5,000 digits
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def check_readable(path: str | Path) -> None:
    """Refuse what can't be read to its end, before it is begun.

    Raises:
        InputError: the file is absent, a folder, a device, or larger than `LARGEST_FILE`; the message names it.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a folder, not a file")
    if stat.S_ISCHR(found.st_mode):  # /dev/zero never ends
        raise InputError(f"{path} is a device, not a file")
    if found.st_size > LARGEST_FILE:
        raise InputError(
            f"{path} has {found.st_size / 2**30:,.1f} GiB; files of up to {LARGEST_FILE / 2**30:g} GiB are read; is it "
            "the right file? If so, part it"
        )


def read_text(path: str | Path) -> str:
    """A UTF-8 text file's content, a byte order mark dropped.

    Raises:
        InputError: the file is absent, is a folder, a device or too large, or is not UTF-8; the message names it.
    """
    check_readable(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
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
        InputError: the file is absent or not UTF-8, or `parse_json` refuses a line; the message names file and line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{path}, line {number}")


def write_jsonl(path: str | Path, values: Iterable[Any]) -> int:
    """Write one JSON value a line, atomically. Returns the number of lines."""
    count = 0
    with atomic_write(path) as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            count += 1
    return count


def existing_file(path: str, label: str) -> Path:
    """The path of a prepared file, checked before long work.

    Raises:
        InputError: no such file, or a folder; begins with the label of what asked for it: `data`, or --data.
    """
    if Path(path).is_dir():
        example = next((f", e.g. {file}" for file in sorted(Path(path).glob("*.jsonl"))), "")
        raise InputError(f"{label}: {path} is a folder; give a .jsonl file in it{example}")
    if not Path(path).is_file():
        raise InputError(f"{label}: no file {path}; make it with `lora-nlg prepare`")
    return Path(path)
