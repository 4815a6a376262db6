"""The E2E NLG Challenge corpus, from tables or from the tokenised `context||completion` text form.

Release: https://github.com/tuetschek/e2e-dataset (Novikova, Dušek and Rieser 2017); cleaned:
https://github.com/tuetschek/e2e-cleaning (Dušek, Howcroft and Rieser 2019); and their exports. A record is one distinct
meaning representation with all its texts, in order of first appearance; of inputs without texts, one input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lora_nlg.corpora.exports import gem_texts
from lora_nlg.corpora.formats import Rows, columns_called, decoded, plain_name
from lora_nlg.corpora.release import TABLES, Corpus, Item, Places, Reading, Release, Source, clean, json_string, pooled
from lora_nlg.corpora.tokenize import TOKENIZERS
from lora_nlg.errors import InputError

PLACES: Places = {
    "train": {"text": ["train.txt"], "csv": ["trainset.csv", "train-fixed.no-ol.csv", "train.csv"]},
    "valid": {"text": ["valid.txt"], "csv": ["devset.csv", "devel-fixed.no-ol.csv", "validation.csv"]},
    "test": {"text": ["test.txt"], "csv": ["testset_w_refs.csv", "testset.csv", "test-fixed.csv", "test.csv"]},
}

# The names of the two columns: the release's and the cleaned corpus', Hugging Face's, GEM's.
_MEANINGS = frozenset({"mr", "meaning_representation"})
_TEXTS = frozenset({"ref", "human_reference", "target"})
_LISTS = frozenset({"references"})
_IDS = frozenset({"id", "gem_id", "gem_parent_id", "index"})

# Attribute of a table → the name the text form gives it.
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
_SPELLINGS = {re.sub(r"[\s_]", "", name.lower()): said for name, said in ATTRIBUTES.items()}


def read(split: str, source: Source, reading: Reading | None = None) -> Release:
    """Read one split.

    Args:
        split: `train`, `valid` or `test`; names the ids and picks the tokeniser's convention.
        source: the files and their form: `text`, or a table: `csv`, `json`, `parquet`.
        reading: `tokenize` gives a table's meaning representations and texts the text form's tokenisation.

    Returns:
        The split, one record per distinct context.

    Raises:
        InputError: a file is absent, empty, not in the form or encoding it should have.
    """
    release, reading = Release(source), reading or Reading()
    items: list[Item] = []
    for path in source.files:
        if source.form == "text":
            items += _lines(path, decoded(path, reading.encoding), release, split)
        else:
            items += _rows(reading.open(path, source.form, _has_columns), release, split, reading.tokenize)
    release.records = pooled(split, items)
    return release


def _lines(path: Path, text: str, release: Release, split: str) -> Iterator[Item]:
    lines = text.removesuffix("\n").split("\n")
    completed = any(clean(line.partition("||")[2]) for line in lines)
    barred = any("||" in line for line in lines)
    blind = split == "test" and not completed and (barred or all(" : " in line for line in lines))
    if not barred and not blind:
        raise InputError(f"{path} is not in the text form: no line reads `context||completion`")
    for number, line in enumerate(lines, start=1):
        place = f"line {number}"
        release.entries += 1
        context, bars, completion = line.partition("||")
        release.note_controls(path, place, [line])
        context, completion = clean(context), clean(completion)
        release.texts += bool(completion)
        if not bars and barred:
            release.leave_out(path, place, "row", "no || between context and completion")
        elif not context:
            release.leave_out(path, place, "row", "empty context")
        elif not completion and not blind:
            release.leave_out(path, place, "row", "empty completion")
        else:
            yield Item(context, [completion] if completion else [])


def _rows(table: Rows, release: Release, split: str, tokenize: bool) -> Iterator[Item]:
    if not _has_columns(table.columns):
        raise InputError(
            f"{table.file} is not the E2E release: its first line must name one column of meaning representations "
            f"({' or '.join(sorted(_MEANINGS))}) and one of texts ({', '.join(sorted(_TEXTS))}), not "
            f"{','.join(table.columns)[:60]!r}"
        )
    (meaning,) = columns_called(table.columns, _MEANINGS)
    # In a CSV a list is but a text.
    listed = columns_called(table.columns, _LISTS) if release.source.form != "csv" else []
    used = [*columns_called(table.columns, _TEXTS), *listed]
    if unused := [name or "(unnamed)" for name in table.columns if name not in (meaning, *used)]:
        release.notes.append(f"  columns not used in {table.file.name}: {', '.join(unused)}")
    found = []
    for row in table.rows:
        release.entries += 1
        problem, context, texts = row.problem, "", list[str]()
        if not problem:
            try:
                texts = [clean(json_string(text)) for text in _texts(row.values, used)]
                context = linearise_mr(json_string(row.values[meaning]))
            except InputError as error:
                problem = str(error)
            except (AttributeError, KeyError, TypeError) as error:
                problem = f"no row of E2E's ({type(error).__name__}: {error})"
        release.texts += sum(map(bool, texts))
        if not problem:
            release.note_controls(table.file, row.place, [v for v in row.values.values() if isinstance(v, str)])
        found.append((row.place, problem, context, texts))
    blind = split == "test" and not any(text for _, _, _, texts in found for text in texts)
    for place, problem, context, texts in found:
        kept = [text for text in texts if text]
        if problem or (used and not kept and not blind):
            release.leave_out(table.file, place, "row", problem or "empty text")
            continue
        for _ in range(len(texts) - len(kept) if kept else 0):
            release.leave_out(table.file, place, "text", "empty")
        if tokenize:
            convention = TOKENIZERS[split]
            context, kept = convention(context), [convention(text) for text in kept]
        yield Item(context, kept)


def _texts(values: dict[str, str], columns: Sequence[str]) -> list[str]:
    """The texts of a row: those of its list or, as in training, its target's."""
    named = {"references" if plain_name(column) in _LISTS else "target": values.get(column) for column in columns}
    return list(gem_texts(named))


def _has_columns(columns: Sequence[str]) -> bool:
    """Whether there is one column of meanings, and one of texts or, in a table of inputs, none of another meaning."""
    meanings, texts = columns_called(columns, _MEANINGS), columns_called(columns, _TEXTS)
    others = {plain_name(name) for name in columns} - _MEANINGS - _IDS
    return len(meanings) == 1 and (len(texts) == 1 or not others - {""})


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
        known = _SPELLINGS.get(re.sub(r"[\s_]", "", attribute.lower()))
        if known is None:
            raise InputError(f"unknown attribute {attribute!r}; E2E has {', '.join(ATTRIBUTES)}")
        if not value:
            raise InputError(f"attribute {attribute!r} has no value")
        pairs.append(f"{known} : {value}")
    if not pairs:
        raise InputError("empty meaning representation")
    return " | ".join(pairs)


CORPUS = Corpus(
    "e2e",
    PLACES,
    {"text": (".txt",), "csv": (".csv", ".tsv"), **TABLES},
    read,
    frozenset({"tokenize", "delimiter", "quoting", "encoding"}),
)
