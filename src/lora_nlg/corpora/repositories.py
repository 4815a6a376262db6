"""Where the corpora live: public address, pinned revision, licence, and the checksum of every file.

The revision says which state of the repository to ask for; the checksum (`sha256/*.txt`, each with a word on where
its sums are from) decides whether what comes is the file. A file that the pinned revision lacks or has in another
state is asked for on the default branch, under the same checksum.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Repository:
    """The public repository a corpus is released in.

    Attributes:
        corpus: `e2e`, `webnlg` or `dart`.
        page: what a person opens in a browser.
        address: of a file, with `{revision}` and `{file}`.
        revision: the pinned commit.
        branch: the default branch.
        licence: its name and what to mind.
        prepare: the command for the next step, with `{folder}`.
    """

    corpus: str
    page: str
    address: str
    revision: str
    branch: str
    licence: str
    prepare: str

    def checksums(self) -> dict[str, str]:
        """File (relative path) → SHA-256."""
        text = resources.files("lora_nlg.corpora").joinpath(f"sha256/{self.corpus}.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {file: digest for digest, file in (line.split(maxsplit=1) for line in lines)}

    def addresses(self, file: str) -> list[str]:
        """Where to ask for a file, the pinned revision first."""
        return [self.address.format(revision=revision, file=file) for revision in (self.revision, self.branch)]


REPOSITORIES = {
    repository.corpus: repository
    for repository in [
        Repository(
            corpus="e2e",
            page="https://github.com/tuetschek/e2e-dataset",
            address="https://raw.githubusercontent.com/tuetschek/e2e-dataset/{revision}/{file}",
            revision="2fcb23e9f43493ee395444b48b8f2cf84611e68c",
            branch="master",
            licence="CC BY-SA 4.0: name the authors (Novikova, Dušek and Rieser 2017), share changes alike",
            prepare="lora-nlg prepare e2e --tokenise --raw {folder} --out data/e2e",
        ),
        Repository(
            corpus="webnlg",
            page="https://gitlab.com/shimorina/webnlg-dataset",
            address="https://gitlab.com/shimorina/webnlg-dataset/-/raw/{revision}/webnlg_challenge_2017/{file}",
            revision="587fa698bec705efbefe72a235a6019c2b9b8b6c",
            branch="master",
            licence="CC BY-NC-SA 4.0: no commercial use; name the authors (Gardent et al. 2017), share changes alike",
            prepare="lora-nlg prepare webnlg --raw {folder} --out data/webnlg",
        ),
        Repository(
            corpus="dart",
            page="https://github.com/Yale-LILY/dart",
            address="https://raw.githubusercontent.com/Yale-LILY/dart/{revision}/data/v1.1.1/{file}",
            revision="4768cf799e58fac412d2d35ec9ee368585152cfc",
            branch="master",
            licence="MIT; built from WikiSQL, WikiTableQuestions, WebNLG, E2E, whose terms hold too (Nan et al. 2021)",
            prepare="lora-nlg prepare dart --raw {folder} --out data/dart",
        ),
    ]
}
