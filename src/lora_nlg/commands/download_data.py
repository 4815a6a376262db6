"""`lora-nlg download-data CORPUS --out DIR`: fetch a corpus's released files from its public home or a mirror."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.corpora.download import download_corpus, instead_of
from lora_nlg.corpora.prepare import READ
from lora_nlg.corpora.release import Places
from lora_nlg.corpora.repositories import REPOSITORIES
from lora_nlg.errors import InputError


@dataclass
class DownloadDataArguments:
    """Files.

    Attributes:
        out: Folder for the released files, in the layout that `lora-nlg prepare` reads.
        mirror: Base address to fetch from instead of the corpus's public home, as MIRROR/CORPUS/FILE (http or https).
        overwrite: Replace files that are there but differ from the released ones.
    """

    out: str
    mirror: str | None = None
    overwrite: bool = False


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg download-data`; returns the exit status.

    Raises:
        InputError: a file there differs, or some could not be fetched; names them, and what `prepare` reads instead.
    """
    parsed = parse_arguments(
        "download-data",
        "Fetch the released files of a corpus: pinned revision, checked by SHA-256, resumable.",
        argv,
        DownloadDataArguments,
        positionals={"corpus": {"choices": list(REPOSITORIES), "help": "the corpus"}},
    )
    (arguments,) = parsed.groups
    repository = REPOSITORIES[parsed.positionals["corpus"]]
    print(f"{repository.corpus}: {repository.page} at {repository.revision[:12]}")
    print(f"licence: {repository.licence}")
    fetched = download_corpus(repository, arguments.out, arguments.mirror, arguments.overwrite)
    downloaded = f"{fetched.downloaded} file{'' if fetched.downloaded == 1 else 's'} downloaded"
    print(f"{arguments.out}: {downloaded}, {fetched.present} already there; all checksums right")
    if fetched.from_later_address:
        later = len(fetched.from_later_address)
        print(f"note: {later} of them came from branch {repository.branch}, with the same checksum")
    if fetched.missing:
        raise InputError(_missing(fetched.missing, READ[repository.corpus].places))
    print(f"next: {repository.prepare.format(folder=arguments.out)}")
    return 0


def _missing(missing: dict[str, str], places: Places) -> str:
    """What is not there and why, and what `prepare` takes in its place."""
    names, (first, reason) = list(missing), next(iter(missing.items()))
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    others = list(dict.fromkeys(filter(None, (instead_of(name, places) for name in names))))
    instead = f"; `lora-nlg prepare` also reads {', '.join(others)}" if others else ""
    why = reason if len(names) == 1 else f"{first}: {reason}"
    return f"{len(names)} of the files {'is' if len(names) == 1 else 'are'} missing: {shown}{instead}. {why}"
