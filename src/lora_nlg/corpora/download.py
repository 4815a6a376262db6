"""Fetch files over HTTP that must have a known SHA-256: resumable, checked, atomic.

A file grows as `NAME.part` and gets its name only when its checksum is right; a broken connection or Ctrl-C leaves the
part, which the next try continues (HTTP Range, RFC 9110 section 14).
"""

from __future__ import annotations

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lora_nlg import __version__
from lora_nlg.corpora.homes import Home
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, sync_folder

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
class Fetched:
    """What became of the files: their numbers, and the files that came from elsewhere than the first address."""

    downloaded: int
    present: int
    from_later_address: list[str]


def download_corpus(
    home: Home, folder: str | Path, mirror: str | None = None, overwrite: bool = False, pause: float = 1.0
) -> Fetched:
    """Fetch the files of a corpus that are not there yet.

    Args:
        home: the corpus's home and checksums.
        folder: where the files go, in the layout `lora-nlg prepare` reads.
        mirror: base address to use instead of the public home; files are asked for as `{mirror}/{corpus}/{file}`.
        overwrite: replace files there whose checksum differs. Default: refuse.
        pause: seconds before the second try of an address, doubled for each further one.

    Raises:
        InputError: a file differs and may not be replaced, no address has it, or what came is not it; what is
            complete by then stays, and the next call goes on from there.
    """
    checksums = home.checksums()
    folder = Path(folder)
    missing = {file: digest for file, digest in checksums.items() if not _is_there(folder / file, digest, overwrite)}
    later = []
    with tqdm(missing.items(), desc=home.corpus, unit="file", disable=len(missing) < 2 or None) as bar:
        for file, digest in bar:
            addresses = [f"{mirror.rstrip('/')}/{home.corpus}/{file}"] if mirror else home.addresses(file)
            if fetch(addresses, folder / file, digest, pause) > 0:
                later.append(file)
    return Fetched(len(missing), len(checksums) - len(missing), later)


def _is_there(path: Path, digest: str, overwrite: bool) -> bool:
    if not path.exists():
        return False
    if path.is_file() and sha256_file(path) == digest:
        return True
    if not overwrite:
        raise InputError(
            f"{path} is there but is not the released file (its SHA-256 differs); move it, or add --overwrite"
        )
    return False


def fetch(addresses: Sequence[str], path: Path, digest: str, pause: float = 1.0) -> int:
    """Fetch one file from the first address that has it.

    Args:
        addresses: URLs in order of preference.
        path: where it goes.
        digest: its SHA-256.
        pause: as in `download_corpus`.

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
            raise InputError(f"{address} is not an http or https address; --mirror (DATA_URL) takes one")
        try:
            _fetch_from(address, part, digest, pause)
        except _NotThere as reason:
            reasons.append(f"{address}: {reason}")
            continue
        os.replace(part, path)
        sync_folder(path.parent)
        return index
    raise InputError(
        f"could not fetch {path.name}: {'; '.join(reasons)}. Try again (it resumes), set DATA_URL to a mirror, or put "
        f"the file at {path} yourself"
    )


def _fetch_from(address: str, part: Path, digest: str, pause: float) -> None:
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
        found = sha256_file(part)
        if found == digest:
            return
        part.unlink()
        if started_from == 0:
            raise _NotThere(f"the file there has SHA-256 {found[:12]}…, not {digest[:12]}…") from None
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
        tqdm(
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
