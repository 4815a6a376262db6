"""Fetch a corpus's released files from its public repository, or from a mirror, into the layout `prepare` reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lora_nlg.corpora.release import Places
from lora_nlg.corpora.repositories import Repository
from lora_nlg.errors import InputError
from lora_nlg.fetching import Checksum, connect, fetch
from lora_nlg.progress import progress_bar


@dataclass(frozen=True)
class Fetched:
    """What became of the files: their numbers, and the files that came from elsewhere than the first address.

    Attributes:
        downloaded, present, from_later_address: as above.
        missing: file → why no address gave it.
    """

    downloaded: int
    present: int
    from_later_address: list[str]
    missing: dict[str, str] = field(default_factory=dict)


def download_corpus(
    repository: Repository, folder: str | Path, mirror: str | None = None, overwrite: bool = False, pause: float = 1.0
) -> Fetched:
    """Fetch the files of a corpus that are not there yet; one that can't be had doesn't keep the others.

    Args:
        repository: where the corpus lies, and its checksums.
        folder: where the files go, in the layout `lora-nlg prepare` reads.
        mirror: base address to use instead of the public repository; files are asked for as `{mirror}/{corpus}/{file}`.
        overwrite: replace files there whose checksum differs. Default: refuse.
        pause: seconds before the second try of an address, doubled for each further one.

    Raises:
        InputError: a file that is there differs and may not be replaced.
    """
    checksums = {file: Checksum(digest) for file, digest in repository.checksums().items()}
    folder = Path(folder)
    missing = {
        file: checksum for file, checksum in checksums.items() if not _is_there(folder / file, checksum, overwrite)
    }
    later, failed = [], {}
    with (
        connect() as client,
        progress_bar(missing.items(), desc=repository.corpus, unit="file", disable=len(missing) < 2 or None) as bar,
    ):
        for file, checksum in bar:
            addresses = [f"{mirror.rstrip('/')}/{repository.corpus}/{file}"] if mirror else repository.addresses(file)
            try:
                if fetch(client, addresses, folder / file, checksum, pause=pause) > 0:
                    later.append(file)
            except InputError as error:
                failed[file] = str(error)
    return Fetched(len(missing) - len(failed), len(checksums) - len(missing), later, failed)


def instead_of(file: str, places: Places) -> str:
    """What `prepare` reads in place of a released file: `valid from valid.txt`; nothing where there is no other.

    Args:
        file: as the release names it, relative to the folder.
        places: where `prepare` looks for the corpus's splits.
    """
    for split, forms in places.items():
        names = [name for form in forms.values() for name in form]
        if file in names or file.partition("/")[0] in names:
            # Another year's names, which differ by language, are none of this release.
            others = [name for name in names if name not in (file, file.partition("/")[0]) and "{lang}" not in name]
            return f"{split} from {' or '.join(others)}" if others else ""
    return ""


def _is_there(path: Path, checksum: Checksum, overwrite: bool) -> bool:
    if checksum.matches(path):
        return True
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} is there but is not the released file (its SHA-256 differs); move it, or set `overwrite`"
        )
    return False
