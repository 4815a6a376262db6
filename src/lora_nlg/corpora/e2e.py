"""The E2E NLG Challenge corpus, from its released CSV or from the tokenised `context||completion` text form.

Release: https://github.com/tuetschek/e2e-dataset (Novikova, Dušek and Rieser 2017). A record is one distinct
meaning representation with all its texts, in order of first appearance.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from lora_nlg.corpora.record import Record
from lora_nlg.corpora.release import Places, Release, Source, clean
from lora_nlg.corpora.tokenize import TOKENIZERS
from lora_nlg.errors import InputError
from lora_nlg.files import read_text

PLACES: Places = {
    "train": {"text": ["train.txt"], "csv": ["trainset.csv"]},
    "valid": {"text": ["valid.txt"], "csv": ["devset.csv"]},
    "test": {"text": ["test.txt"], "csv": ["testset_w_refs.csv", "testset.csv"]},
}

# CSV attribute → the name the text form gives it.
ATTRIBUTES = {
    "name": "name",
    "eatType": "Type",
    "food": "food",
    "priceRange": "price",
    "customer rating": "customer rating",
    "area": "area",
    "familyFriendly": "family friendly",
    "near": "near",
}

_PAIR = re.compile(r"\s*([^\[\],]+?)\s*\[([^\[\]]*)\]\s*(?:,|$)")


def read(split: str, source: Source, tokenize: bool = False) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; names the ids and picks the tokeniser's convention.
        source: the file and its form, `text` or `csv`.
        tokenize: give a CSV's meaning representations and texts the text form's tokenisation.

    Returns:
        The split, one record per distinct context.

    Raises:
        InputError: the file is absent, empty, not UTF-8, or not in the form it should have.
    """
    release = Release(source)
    (path,) = source.files
    if source.form == "text":
        pairs = _text_pairs(path, release)
    else:
        pairs = _csv_pairs(path, release, split, tokenize)
    grouped: dict[str, list[str]] = {}
    for context, texts in pairs:
        grouped.setdefault(context, []).extend(texts)
    release.records = [
        Record(f"{split}-{number}", context, references)
        for number, (context, references) in enumerate(grouped.items(), start=1)
    ]
    return release


def _text_pairs(path: Path, release: Release) -> Iterator[tuple[str, list[str]]]:
    text = read_text(path)
    if "||" not in text:
        raise InputError(f"{path} is not in the text form: no line reads `context||completion`")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        place = f"line {number}"
        release.entries += 1
        context, bars, completion = line.partition("||")
        context, completion = clean(context), clean(completion)
        release.texts += bool(completion)
        if not bars:
            release.leave_out(path, place, "row", "no || between context and completion")
        elif not context:
            release.leave_out(path, place, "row", "empty context")
        elif not completion:
            release.leave_out(path, place, "row", "empty completion")
        else:
            yield context, [completion]


def _csv_pairs(path: Path, release: Release, split: str, tokenize: bool) -> Iterator[tuple[str, list[str]]]:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    first_line = 1
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if header not in (["mr", "ref"], ["mr"]):
            got = ",".join(header)[:60]
            raise InputError(f"{path} is not the E2E release: its first line must be `mr,ref` or `MR`, not {got!r}")
        for row in rows:
            place, first_line = f"line {first_line + 1}", rows.line_num
            if not row:
                continue
            release.entries += 1
            release.texts += len(row) > 1 and bool(row[1].strip())
            if len(row) != len(header):
                release.leave_out(path, place, "row", f"{len(row)} fields instead of {len(header)}")
                continue
            try:
                context = linearise_mr(row[0])
            except InputError as error:
                release.leave_out(path, place, "row", str(error))
                continue
            texts = [clean(text) for text in row[1:]]
            if texts == [""]:
                release.leave_out(path, place, "row", "empty text")
                continue
            if tokenize:
                convention = TOKENIZERS[split]
                context, texts = convention(context), [convention(text) for text in texts]
            yield context, texts
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: not CSV ({error})") from None


def linearise_mr(mr: str) -> str:
    """`name[Blue Spice], eatType[coffee shop]` → `name : Blue Spice | Type : coffee shop`.

    Raises:
        InputError: the text is not a list of `attribute[value]`, or an attribute is not one of E2E's eight.
    """
    pairs, end = [], 0
    while end < len(mr.rstrip()):
        match = _PAIR.match(mr, end)
        if not match:
            raise InputError(f"no meaning representation: {mr[:60]!r}")
        attribute, value, end = match[1], clean(match[2]), match.end()
        if attribute not in ATTRIBUTES:
            raise InputError(f"unknown attribute {attribute!r}; E2E has {', '.join(ATTRIBUTES)}")
        if not value:
            raise InputError(f"attribute {attribute!r} has no value")
        pairs.append(f"{ATTRIBUTES[attribute]} : {value}")
    if not pairs:
        raise InputError("empty meaning representation")
    return " | ".join(pairs)
