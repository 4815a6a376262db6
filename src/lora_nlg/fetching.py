"""Fetch files over HTTP that must have a known checksum: resumable, checked, atomic.

A file grows as `NAME.part` and gets its name only when its checksum is right; a broken connection or Ctrl-C leaves the
part, which the next try continues (HTTP Range, RFC 9110 section 14). httpx2, which huggingface_hub brings, speaks HTTP.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from lora_nlg import __version__
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, sync_folder
from lora_nlg.progress import progress_bar

# A server that sends nothing for this long, in seconds, is given up.
_SILENCE = 30.0
# Tries for one address that keep failing without a new byte.
_TRIES = 4
# 4xx answers that asking again may change: timeout, too many requests.
_PASSING = (408, 429)


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


def connect() -> httpx2.Client:
    """A client for `fetch`; its connections serve one file after the other, so close it when done (`with`)."""
    headers = {"User-Agent": f"lora-nlg/{__version__}", "Accept-Encoding": "identity"}
    return httpx2.Client(headers=headers, timeout=_SILENCE, follow_redirects=True)


def fetch(
    client: httpx2.Client,
    addresses: Sequence[str],
    path: Path,
    checksum: Checksum,
    mirror: str = "DATA_URL",
    pause: float = 1.0,
) -> int:
    """Fetch one file from the first address that has it.

    Args:
        client: from `connect`.
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
            _fetch_from(client, address, part, checksum, pause)
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


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_from(client: httpx2.Client, address: str, part: Path, checksum: Checksum, pause: float) -> None:
    """Complete `part` from one address, with retries that continue where the last one stopped."""
    started_from = _size(part)
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(client, address, part, before)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # a full disk and the like end the download at once
            failures = 0 if _size(part) > before else failures + 1
            if _is_final(error):
                raise _NotThere(_say(error)) from None
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


def _is_final(error: Exception) -> bool:
    """Whether asking again is no use."""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.is_client_error and error.response.status_code not in _PASSING
    return isinstance(error, httpx2.InvalidURL)


def _say(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"HTTP {error.response.status_code} {error.response.reason_phrase}"
    return " ".join(str(error).split()) or type(error).__name__


def _receive(client: httpx2.Client, address: str, part: Path, have: int) -> None:
    """Append what is missing of a file to `part`, which holds `have` bytes of it.

    Raises:
        httpx2.HTTPError: the server refused, or the connection broke; what came is kept.
    """
    with client.stream("GET", address, headers={"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code == 416 and have:
            return  # nothing after what is here: complete, or the checksum will say otherwise
        response.raise_for_status()
        # Only a 206 that starts where asked continues the part; anything else is the whole file again.
        resumes = response.status_code == 206
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise httpx2.RemoteProtocolError("the server continued at another place than asked for")
        offset = have if resumes else 0
        length = response.headers.get("Content-Length", "")
        with (
            open(part, "ab" if resumes else "wb") as file,
            progress_bar(
                total=offset + int(length) if length.isdigit() else None,
                initial=offset,
                desc=part.name.removesuffix(".part"),
                unit="B",
                unit_scale=True,
                leave=False,
                delay=1,
            ) as bar,
        ):
            try:
                for block in response.iter_bytes():
                    file.write(block)
                    bar.update(len(block))
            finally:
                file.flush()
                os.fsync(file.fileno())
