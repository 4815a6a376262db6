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
    "train": {"text": ["train.txt"], "csv": ["trainset.csv", "train-fixed.no-ol.csv", "train.csv"]},
    "valid": {"text": ["valid.txt"], "csv": ["devset.csv", "devel-fixed.no-ol.csv", "validation.csv"]},
    "test": {"text": ["test.txt"], "csv": ["testset_w_refs.csv", "testset.csv", "test-fixed.csv", "test.csv"]},
}

# The names of the two columns: the release's and the cleaned corpus', Hugging Face's, GEM's.
_MEANINGS = frozenset({"mr", "meaning_representation"})
_TEXTS = frozenset({"ref", "human_reference", "target"})
_DELIMITERS = ",;\t"

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

_PAIR = re.compile(r"([^\[\],]+)\[([^\[\]]*)\]\s*(?:,|$)")


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
        release.note_controls(path, place, [line])
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
    text = read_text(path)
    header, delimiter, meaning, reference = _columns(path, text.partition("\n")[0].removesuffix("\r"))
    unused = [name or "(unnamed)" for place, name in enumerate(header) if place not in (meaning, reference)]
    if unused:
        release.notes.append(f"  columns not used in {path.name}: {', '.join(unused)}")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    first_line = 1
    try:
        next(rows)
        for row in rows:
            place, first_line = f"line {first_line + 1}", rows.line_num
            if not row:
                continue
            release.entries += 1
            whole = len(row) == len(header)
            release.texts += whole and reference is not None and bool(row[reference].strip())
            if not whole:
                release.leave_out(path, place, "row", f"{len(row)} fields instead of {len(header)}")
                continue
            release.note_controls(path, place, row)
            try:
                context = linearise_mr(row[meaning])
            except InputError as error:
                release.leave_out(path, place, "row", str(error))
                continue
            texts = [] if reference is None else [clean(row[reference])]
            if texts == [""]:
                release.leave_out(path, place, "row", "empty text")
                continue
            if tokenize:
                convention = TOKENIZERS[split]
                context, texts = convention(context), [convention(text) for text in texts]
            yield context, texts
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: not CSV ({error})") from None


def _columns(path: Path, heading: str) -> tuple[list[str], str, int, int | None]:
    """The names in a table's first line, what separates them, and where meaning and text are (None: inputs only).

    Raises:
        InputError: no column, or more than one, for either.
    """
    for delimiter in _DELIMITERS:
        names = [name.strip().strip('"').strip() for name in heading.split(delimiter)]
        plain = [re.sub(r"[ _-]+", "_", name.lower()) for name in names]
        meanings = [place for place, name in enumerate(plain) if name in _MEANINGS]
        references = [place for place, name in enumerate(plain) if name in _TEXTS]
        if len(meanings) == 1 and (len(references) == 1 or not any(plain[1:] if meanings == [0] else plain[:-1])):
            return names, delimiter, meanings[0], references[0] if references else None
    raise InputError(
        f"{path} is not the E2E release: its first line must name one column of meaning representations "
        f"({' or '.join(sorted(_MEANINGS))}) and one of texts ({', '.join(sorted(_TEXTS))}), not {heading[:60]!r}"
    )


def linearise_mr(mr: str) -> str:
    """`name[Blue Spice], eatType[coffee shop]` → `name : Blue Spice | Type : coffee shop`.

    Raises:
        InputError: the text is not a list of `attribute[value]`, or an attribute is not one of E2E's eight.
    """
    pairs, end = [], 0
    mr = mr.rstrip()
    while end < len(mr):
        match = _PAIR.match(mr, end)
        if not match:
            raise InputError(f"no meaning representation: {mr[:60]!r}")
        attribute, value, end = match[1].strip(), clean(match[2]), match.end()
        if attribute not in ATTRIBUTES:
            raise InputError(f"unknown attribute {attribute!r}; E2E has {', '.join(ATTRIBUTES)}")
        if not value:
            raise InputError(f"attribute {attribute!r} has no value")
        pairs.append(f"{ATTRIBUTES[attribute]} : {value}")
    if not pairs:
        raise InputError("empty meaning representation")
    return " | ".join(pairs)
