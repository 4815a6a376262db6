"""Fetch a corpus's released files from its public home, or from a mirror, into the layout `prepare` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_nlg.corpora.homes import Home
from lora_nlg.errors import InputError
from lora_nlg.fetching import Checksum, connect, fetch
from lora_nlg.progress import progress_bar


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
    checksums = {file: Checksum(digest) for file, digest in home.checksums().items()}
    folder = Path(folder)
    missing = {
        file: checksum for file, checksum in checksums.items() if not _is_there(folder / file, checksum, overwrite)
    }
    later = []
    with (
        connect() as client,
        progress_bar(missing.items(), desc=home.corpus, unit="file", disable=len(missing) < 2 or None) as bar,
    ):
        for file, checksum in bar:
            addresses = [f"{mirror.rstrip('/')}/{home.corpus}/{file}"] if mirror else home.addresses(file)
            if fetch(client, addresses, folder / file, checksum, pause=pause) > 0:
                later.append(file)
    return Fetched(len(missing), len(checksums) - len(missing), later)


def _is_there(path: Path, checksum: Checksum, overwrite: bool) -> bool:
    if checksum.matches(path):
        return True
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} is there but is not the released file (its SHA-256 differs); move it, or add --overwrite"
        )
    return False
