"""Reading and writing for the scorers: UTF-8 text, JSON lines, hashes and atomic JSON files.

A small twin of lora_nlg.files: the scorers are usable alone, without the training package.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError


def read_text(path: str | Path, encoding: str = "utf-8-sig") -> str:
    """A UTF-8 text file's content with its line ends as they are (`\\r` kept).

    Args:
        path: the file.
        encoding: "utf-8-sig" drops a byte order mark, "utf-8" keeps it as a character. Default: "utf-8-sig"

    Raises:
        InputError: the file is absent, is a folder, can't be read or is not UTF-8; the message names it.
    """
    try:
        return Path(path).read_bytes().decode(encoding)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except PermissionError:
        raise InputError(f"{path} may not be read (permission denied)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); convert it first") from None


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
        raise InputError(f"{path} is JSON lines, not plain text; give it as --data or --predictions")
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
        value = json.loads(line) if line.startswith("{") else None
    except (json.JSONDecodeError, RecursionError):
        return False
    return isinstance(value, dict) and "id" in value


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield `(line number, value)` for every line of a JSON lines file; blank lines are skipped.

    Raises:
        InputError: the file is absent or not UTF-8, or a line is not JSON; the message names file and line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise InputError(f"{path}, line {number}: not JSON ({reason})") from None


def read_json(path: str | Path) -> Any:
    """A JSON file's value.

    Raises:
        InputError: the file is absent or is not JSON; the message names it.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error.msg} at line {error.lineno}") from None


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Replace a file's content in one step: a reader sees the old text or the new one, never half of it.

    Raises:
        InputError: the folder can't be written; the message names the file.
    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from None
    finally:
        if temporary and os.path.exists(temporary):
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
