"""Fetch files over HTTP that must have a known checksum: resumable, checked, atomic.

A file grows as `NAME.part` and gets its name only when its checksum is right; a broken connection or Ctrl-C leaves the
part, which the next try continues (HTTP Range, RFC 9110 section 14).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_nlg import __version__
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, sync_folder
from lora_nlg.progress import progress_bar

# A server that sends nothing for this long, in seconds, is given up.
_SILENCE = 30.0
# Tries for one address that keep failing without a new byte.
_TRIES = 4
_BLOCK = 1 << 16
# What a network does wrong; other errors (a full disk) end the download at once.
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, EOFError)


class _NotThere(Exception):
    """This address cannot give the file; another may."""


@dataclass(frozen=True)
class Checksum:
    """What a file must hash to.

    Attributes:
        value: hexadecimal digest.
        kind: `sha256`, or `git` for git's name of the content (SHA-1 of a header and the content).
    """

    value: str
    kind: str = "sha256"

    def of(self, path: Path) -> str:
        """A file's digest of this kind."""
        if self.kind == "sha256":
            return sha256_file(path)
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def matches(self, path: Path) -> bool:
        """Whether a file is there and is the one meant."""
        return path.is_file() and self.of(path) == self.value


def fetch(
    addresses: Sequence[str], path: Path, checksum: Checksum, mirror: str = "DATA_URL", pause: float = 1.0
) -> int:
    """Fetch one file from the first address that has it.

    Args:
        addresses: URLs in order of preference.
        path: where it goes.
        checksum: what it must be.
        mirror: the environment variable that names another address, for the error message.
        pause: seconds before the second try of an address, doubled for each further one.

    Returns:
        The index of the address it came from.

    Raises:
        InputError: no address gave the file; one line with every address's reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for index, address in enumerate(addresses):
        if not address.startswith(("http://", "https://")):
            raise InputError(f"{address} is not an http or https address; {mirror} takes one")
        try:
            _fetch_from(address, part, checksum, pause)
        except _NotThere as reason:
            reasons.append(f"{address}: {reason}")
            continue
        os.replace(part, path)
        sync_folder(path.parent)
        return index
    raise InputError(
        f"could not fetch {path.name}: {'; '.join(reasons)}. Try again (it resumes), set {mirror} to a mirror, or "
        f"put the file at {path} yourself"
    )


def _fetch_from(address: str, part: Path, checksum: Checksum, pause: float) -> None:
    """Complete `part` from one address, with retries that continue where the last one stopped."""
    started_from = part.stat().st_size if part.exists() else 0
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(address, part, before)
        except _BROKEN as error:
            _raise_if_final(error)
            failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
            if failures >= _TRIES:
                raise _NotThere(f"{_say(error)} ({_TRIES} tries)") from None
            time.sleep(pause * 2 ** max(0, failures - 1))
            continue
        found = checksum.of(part)
        if found == checksum.value:
            return
        part.unlink()
        if started_from == 0:
            raise _NotThere(f"the file there has {checksum.kind} {found[:12]}…, not {checksum.value[:12]}…") from None
        # The part found here belonged to another file or was damaged: once more, from the beginning.
        started_from = 0


def _raise_if_final(error: BaseException) -> None:
    """4xx answers but 408 and 429 will not change by asking again."""
    if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code not in (408, 429):
        raise _NotThere(f"HTTP {error.code} {error.reason}") from None


def _say(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__


def _receive(address: str, part: Path, have: int) -> None:
    """Append what is missing of a file to `part`.

    Raises:
        EOFError: the connection ended before the announced end; what came is kept.
    """
    headers = {"User-Agent": f"lora-nlg/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return  # nothing after what is here: complete, or the checksum will say otherwise
        raise
    with response:
        # Only a 206 that starts where asked continues the part; anything else is the whole file again.
        start = f"bytes {have}-"
        resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(start)
        if response.status == 206 and not resumes:
            part.unlink(missing_ok=True)
            raise EOFError("the server continued at another place than asked for")
        length = response.headers.get("Content-Length")
        expected = int(length) if length and length.isdigit() else None
        received = _copy(response.read, part, have if resumes else 0, expected)
    if expected is not None and received < expected:
        raise EOFError(f"the connection ended after {received} of {expected} bytes")


def _copy(read: Callable[[int], bytes], part: Path, offset: int, expected: int | None) -> int:
    received = 0
    total = None if expected is None else offset + expected
    with (
        open(part, "ab" if offset else "wb") as file,
        progress_bar(
            total=total,
            initial=offset,
            desc=part.name.removesuffix(".part"),
            unit="B",
            unit_scale=True,
            leave=False,
            delay=1,
        ) as bar,
    ):
        while block := read(_BLOCK):
            file.write(block)
            received += len(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    return received
