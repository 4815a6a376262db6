"""Fetch files over HTTP that must have a known checksum: resumable, checked, atomic.

A file grows as `NAME.part` and gets its name only when its checksum is right; a broken connection or Ctrl-C leaves the
part, which the next try continues (HTTP Range, RFC 9110 section 14). httpx2, which huggingface_hub brings, speaks HTTP.

A server is not trusted to end: no more bytes are taken than the file may have, and one that sends too few a second is
given up, whatever it sends them as.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from lora_nlg import __version__
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, sync_folder
from lora_nlg.progress import progress_bar

# A server that sends nothing for this long, in seconds, or less than `_SLOWEST` bytes a second, is given up.
_SILENCE = 30.0
_SLOWEST = 1024
# Tries for one address that keep failing without progress: this many new bytes.
_TRIES = 4
_PROGRESS = 1 << 14
# Bytes of a file whose size isn't known. The largest that is fetched so, DART's training set, has a tenth of it.
_LARGEST = 1 << 28
# 4xx answers that asking again may change: timeout, too many requests.
_PASSING = (408, 429)


class _NotThere(Exception):
    """This address cannot give the file; another may."""


class _TooSlow(httpx2.ReadTimeout):
    """Bytes come, but the file would take days."""


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
    largest: int | None = None,
) -> int:
    """Fetch one file from the first address that has it.

    Args:
        client: from `connect`.
        addresses: URLs in order of preference.
        path: where it goes.
        checksum: what it must be.
        mirror: the environment variable that names another address, for the error message.
        pause: seconds before the second try of an address, doubled for each further one.
        largest: bytes it may have. Default: 256 MiB.

    Returns:
        The index of the address it came from.

    Raises:
        InputError: no address gave the file; one line with every address's reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    most = _LARGEST if largest is None else largest
    reasons = []
    for index, address in enumerate(addresses):
        if not address.startswith(("http://", "https://")):
            raise InputError(f"{address} is not an http or https address; {mirror} takes one")
        try:
            _fetch_from(client, address, part, checksum, pause, most)
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


def _fetch_from(
    client: httpx2.Client, address: str, part: Path, checksum: Checksum, pause: float, largest: int
) -> None:
    """Complete `part` from one address, with retries that continue where the last one stopped."""
    started_from = _size(part)
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(client, address, part, before, largest)
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # a full disk and the like end it at once
            progress = _size(part) - before >= _PROGRESS and not isinstance(error, _TooSlow)
            failures = 0 if progress else failures + 1
            if _is_final(error):
                raise _NotThere(_say(error)) from None
            if failures >= _TRIES:
                raise _NotThere(f"{_say(error)} ({_TRIES} tries)") from None
            time.sleep(pause * 2 ** max(0, failures - 1))
            continue
        except _NotThere:
            part.unlink(missing_ok=True)
            raise
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
    return isinstance(error, httpx2.InvalidURL | UnicodeError | httpx2.UnsupportedProtocol)


def _say(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"HTTP {error.response.status_code} {error.response.reason_phrase}"
    return " ".join(str(error).split()) or type(error).__name__


def _receive(client: httpx2.Client, address: str, part: Path, have: int, largest: int) -> None:
    """Append what is missing of a file to `part`, which holds `have` bytes of it.

    A thread receives, and this one watches how much: time limits of a library count from the last byte, and a server
    that sends one now and then, in a header, a chunk's length or the body, would never run into them.

    Raises:
        httpx2.HTTPError: the server refused, or the connection broke or is too slow; what came is kept.
        _NotThere: the file is longer than `largest`.
    """
    transfer = _Transfer(client, address, part, have, largest)
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    received = 0
    try:
        while not transfer.ended.wait(_SILENCE):
            if transfer.received - received < _SLOWEST * _SILENCE:
                raise _TooSlow(f"timed out: fewer than {_SLOWEST:,} bytes a second")
            received = transfer.received
    finally:
        transfer.stop()
    if transfer.error is not None:
        raise transfer.error


class _Transfer:
    """One request's answer on its way into a file; may be stopped at any moment, and writes nothing from then on."""

    def __init__(self, client: httpx2.Client, address: str, part: Path, have: int, largest: int) -> None:
        self.client, self.address, self.part, self.have, self.largest = client, address, part, have, largest
        self.received = 0
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._stopped = False
        self._writing = threading.Lock()

    def stop(self) -> None:
        """Write nothing more."""
        with self._writing:
            self._stopped = True

    def run(self) -> None:
        """Receive; what went wrong is in `error` when `ended` is set."""
        try:
            headers = {"Range": f"bytes={self.have}-"} if self.have else {}
            with self.client.stream("GET", self.address, headers=headers) as response:
                self._answer(response)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def _answer(self, response: httpx2.Response) -> None:
        if response.status_code == 416 and self.have:
            return  # nothing after what is here: complete, or the checksum will say otherwise
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx2.DecodingError("the server compresses, though asked not to")
        # Only a 206 that starts where asked continues the part; anything else is the whole file again.
        resumes = response.status_code == 206
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {self.have}-"):
            with self._writing:
                if not self._stopped:
                    self.part.unlink(missing_ok=True)
            raise httpx2.RemoteProtocolError("the server continued at another place than asked for")
        offset = self.have if resumes else 0
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        self._check_size(total or 0)
        with (
            open(self.part, "ab" if resumes else "wb") as file,
            progress_bar(
                total=total,
                initial=offset,
                desc=self.part.name.removesuffix(".part"),
                unit="B",
                unit_scale=True,
                leave=False,
                delay=1,
            ) as bar,
        ):
            try:
                for block in response.iter_raw():
                    with self._writing:
                        if self._stopped:
                            return
                        file.write(block)
                        file.flush()
                    self.received += len(block)
                    self._check_size(offset + self.received)
                    bar.update(len(block))
            finally:
                os.fsync(file.fileno())

    def _check_size(self, size: int) -> None:
        if size > self.largest:
            raise _NotThere(f"what is there has more than the {self.largest:,} bytes the file may have")
