"""`lora-nlg prepare CORPUS --raw DIR --out DIR`: a released corpus, or tables of one's own, become JSONL records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lora_nlg.commands.arguments import naming_flags, parse_arguments, with_flags
from lora_nlg.corpora.prepare import CORPORA, MANIFEST, Division, prepare_corpus
from lora_nlg.corpora.release import SPLITS, Reading


@dataclass
class PrepareArguments:
    """Files.

    Attributes:
        out: Folder to write train.jsonl, valid.jsonl, test.jsonl and manifest.json to.
        raw: Folder of the corpus's files (data/README.md lists them), or one file; sample needs none.
        train: File of the training set, where its name doesn't say so.
        valid: File of the validation set, likewise.
        test: File of the test set, likewise; inputs without texts are enough.
        form: Which form to read; auto takes the first that is there, split by split: text before csv (e2e), xml before
            json (webnlg), json before xml (dart), then parquet.
        split: Part a training set by context into train, valid and test, such as 80/10/10; two shares make what is
            missing.
        random_seed: Decides which contexts go where.
    """

    out: str
    raw: str | None = None
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    form: Literal["auto", "text", "csv", "xml", "json", "parquet"] = "auto"
    split: str = ""
    random_seed: int = 110


@dataclass
class ReadingArguments:
    """How to read.

    Attributes:
        tokenise: For e2e: tokenise splits read from tables as the text form is.
        lang: For webnlg: language of the texts to keep, where a release has several (en, ru).
        context: For table: column of what is to be said, or several, linearised as `name : value | …`.
        text: For table: column of the texts, or several; a cell may list texts.
        id: For table: column of ids. Default: one named id, else numbers.
        category: For table: column of categories. Default: one named category.
        delimiter: Of delimited text: auto, comma, semicolon, tab, bar, or a character.
        quoting: Of delimited text: auto, double, backslash, single or none.
        encoding: Of delimited text and JSON: auto (UTF-8, UTF-16), cp1252 or another.
    """

    tokenise: bool = False
    lang: str = "en"
    context: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    id: str | None = None
    category: str | None = None
    delimiter: str = "auto"
    quoting: Literal["auto", "double", "backslash", "single", "none"] = "auto"
    encoding: str = "auto"

    def reading(self, form: str) -> Reading:
        """The same as the library has it."""
        return Reading(
            form=form,
            tokenize=self.tokenise,
            lang=self.lang,
            context=tuple(self.context),
            text=tuple(self.text),
            id=self.id,
            category=self.category,
            delimiter=self.delimiter,
            quoting=self.quoting,
            encoding=self.encoding,
        )


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Run `lora-nlg prepare`; returns the exit status."""
    parsed = parse_arguments(
        "prepare",
        "Convert the splits of a corpus, or of tables of your own, to JSON lines, one entry a line with all its texts.",
        argv,
        PrepareArguments,
        ReadingArguments,
        positionals={"corpus": {"choices": CORPORA, "help": "the corpus; table reads CSV, TSV, JSON, Parquet"}},
    )
    arguments, reading = parsed.groups
    prepared = prepare_corpus(
        parsed.positionals["corpus"],
        arguments.raw,
        arguments.out,
        reading.reading(arguments.form),
        {split: file for split in SPLITS if (file := getattr(arguments, split)) is not None},
        Division(arguments.split, arguments.random_seed),
    )
    for message in prepared.messages:
        print(with_flags(message))
    print(f"written: {arguments.out}/{{{','.join(prepared.manifest['splits'])}}}.jsonl and {MANIFEST}")
    return 0
