"""`lora-nlg prepare CORPUS --raw DIR --out DIR`: a released corpus becomes JSONL records and a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lora_nlg.commands.arguments import naming_flags, parse_arguments, with_flags
from lora_nlg.corpora.prepare import CORPORA, MANIFEST, prepare_corpus


@dataclass
class PrepareArguments:
    """Files.

    Attributes:
        out: Folder to write train.jsonl, valid.jsonl, test.jsonl and manifest.json to.
        raw: Folder of the corpus's released files (data/README.md lists them); sample needs none.
        form: Which released form to read; auto takes the first that is there, split by split: text before csv
            (e2e), xml before json (webnlg), json before xml (dart).
        tokenise: For e2e: tokenise splits read from CSV as the text form is.
        lang: For webnlg: language of the texts to keep, where a release has several (en, ru).
    """

    out: str
    raw: str | None = None
    form: Literal["auto", "text", "csv", "xml", "json"] = "auto"
    tokenise: bool = False
    lang: str = "en"


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg prepare`; returns the exit status."""
    parsed = parse_arguments(
        "prepare",
        "Convert the splits of a corpus that are there to JSON lines, one entry a line with all its references.",
        argv,
        PrepareArguments,
        positionals={"corpus": {"choices": CORPORA, "help": "the corpus"}},
    )
    (arguments,) = parsed.groups
    prepared = prepare_corpus(
        parsed.positionals["corpus"], arguments.raw, arguments.out, arguments.form, arguments.tokenise, arguments.lang
    )
    for message in prepared.messages:
        print(with_flags(message))
    print(f"written: {arguments.out}/{{{','.join(prepared.manifest['splits'])}}}.jsonl and {MANIFEST}")
    return 0
