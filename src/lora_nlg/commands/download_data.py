"""`lora-nlg download-data CORPUS --out DIR`: fetch a corpus's released files from its public home or a mirror."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.corpora.download import download_corpus
from lora_nlg.corpora.repositories import REPOSITORIES


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


def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg download-data`; returns the exit status."""
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
    print(
        f"{arguments.out}: {fetched.downloaded} files downloaded, {fetched.present} already there; all checksums right"
    )
    if fetched.from_later_address:
        count = len(fetched.from_later_address)
        print(f"note: {count} of them came from branch {repository.branch}, with the same checksum")
    print(f"next: {repository.prepare.format(folder=arguments.out)}")
    return 0
