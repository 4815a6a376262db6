"""Reading and writing for the scorers: UTF-8 text, JSON lines, hashes and atomic JSON files, all of bounded size.

A small twin of lora_nlg.files: the scorers are usable alone, without the training package.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError

MOST_BYTES = 512 << 20
"""Of one file; the largest corpora's files have a tenth of it."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, as JSON cut inside an escaped emoji holds; no file can hold it."""


def read_text(path: str | Path, encoding: str = "utf-8-sig") -> str:
    """A UTF-8 text file's content with its line ends as they are (`\\r` kept).

    Args:
        path: the file.
        encoding: "utf-8-sig" drops a byte order mark, "utf-8" keeps it as a character. Default: "utf-8-sig".

    Raises:
        InputError: the file is absent, is a folder or a device, can't be read, has more than `MOST_BYTES` or is not
            UTF-8; the message names it.
    """
    try:
        return _read_bytes(path).decode(encoding)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except PermissionError:
        raise InputError(f"{path} may not be read (permission denied)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); convert it first") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None


def _read_bytes(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
            raise InputError(f"{path} is a device, not a file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES >> 20} MiB, which no file of texts or scores has")
    return content


def read_plain(path: str | Path, encoding: str = "utf-8-sig") -> str:
    """As `read_text`, for a file that should hold plain text: refuses JSON lines, which would be scored as sentences.

    Raises:
        InputError: as `read_text`; or the file is empty; or its name ends in .jsonl or its first line is a JSON object
            with an "id".
    """
    text = read_text(path, encoding)
    if not text:
        raise InputError(f"{path} is empty")
    if _is_json_lines(path, text):
        raise InputError(f"{path} is JSON lines, not plain text; give it as `data` or `predictions`")
    return text


def read_lines(path: str | Path) -> list[str]:
    """The lines of a plain text file, split at `\\n` only; a trailing newline is not a line.

    `\\r\\n` counts as `\\n`. U+2028, form feeds and the like stay inside their line.

    Raises:
        InputError: the file is absent, unreadable, not UTF-8, empty, or JSON lines.
    """
    lines = read_plain(path).split("\n")
    if len(lines) > 1 and lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def is_json_lines(path: str | Path) -> bool:
    """Whether a file is JSON lines: its name ends in .jsonl, or its first line is a JSON object with an "id".

    Raises:
        InputError: as `read_text`.
    """
    return _is_json_lines(path, read_text(path))


def _is_json_lines(path: str | Path, text: str) -> bool:
    return Path(path).suffix == ".jsonl" or _is_json_record(text.partition("\n")[0].lstrip("\ufeff"))


def _is_json_record(line: str) -> bool:
    try:
        value = parse_json(line) if line.startswith("{") else None
    except InputError:
        return False
    return isinstance(value, dict) and "id" in value


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield `(line number, value)` for every line of a JSON lines file; blank lines are skipped.

    Raises:
        InputError: the file is absent, not UTF-8 or one JSON list, or a line is not JSON; the message names file and
            line.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        raise InputError(f"{path} is a JSON list, not JSON lines: write one object a line (jq -c '.[]' does)")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, parse_json(line)
        except InputError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None


def read_json(path: str | Path) -> Any:
    """A JSON file's value.

    Raises:
        InputError: the file is absent or is not JSON; the message names it.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except InputError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: why it has none, and the line where that is known.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{error.msg} at line {error.lineno}") from None
    except RecursionError:
        raise InputError("nested too deeply") from None
    except ValueError:
        raise InputError("a number has thousands of digits") from None


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Replace a file's content in one step: a reader sees the old text or the new one, never half of it.

    A symbolic link stays and its target is replaced. What is no regular file (a pipe, a terminal, a device) and this
    process's own output (`/dev/stdout`) are written into. Half a character becomes U+FFFD.

    Raises:
        InputError: the folder can't be written; the message names the file.
    """
    write_bytes(path, LONE_SURROGATE.sub("\ufffd", text).encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """As `write_text`, of bytes."""
    try:
        stream = _own_stream(path)
        if stream is not None:
            stream.flush()
            with open(os.dup(stream.fileno()), "wb") as file:
                file.write(content)
        elif os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            with open(path, "wb") as file:
                file.write(content)
        else:
            target = Path(os.path.realpath(path))
            if target.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            _replace(target, content)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from None


def _own_stream(path: str | Path) -> io.TextIOWrapper | None:
    """Standard output or error, where `path` is the file behind it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            try:
                if os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                    return stream
            except (OSError, ValueError):  # no such file, or a stream without a descriptor
                continue
    return None


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; floats keep every digit."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: str | Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def escape_what_the_terminal_lacks() -> None:
    """Let standard output write `\\u2192` where its encoding has no `→`, instead of stopping there."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
