"""Which files hold which split: a release's own names first, then any name that says train, valid or test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lora_nlg.corpora.release import SPLITS, Corpus, Reading, Source
from lora_nlg.errors import InputError

_WORDS = {
    "train": {"train", "training", "trainset"},
    "valid": {"valid", "validation", "val", "dev", "devel", "development", "devset", "validset"},
    "test": {"test", "testing", "testset"},
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_NO_DATA = re.compile(r"^\.|^semantic-parsing|instance-types\.json$|^(dataset_info|dataset_dict|state)\.json$")
"""Hidden files; of WebNLG 2020 the other task's, and what is read beside the test set; what `datasets` saves beside."""
_MAGIC = {"parquet": (b"PAR1", b"ARROW1"), "xml": (b"<", b"\xef\xbb\xbf<"), "json": (b"[", b"{")}


def locate(corpus: Corpus, raw: str | Path, reading: Reading | None = None) -> dict[str, Source]:
    """Find the splits of a corpus.

    Args:
        corpus: which.
        raw: the folder of its files, or one file.
        reading: its form and language. Default: any form, English.

    Returns:
        Split → source, for the splits found.

    Raises:
        InputError: the folder is absent, the corpus has no such form, no split is there, or several files could be one.
    """
    raw, reading = Path(raw), reading or Reading()
    _check_form(corpus, reading.form)
    if raw.is_file():
        return {split_of(raw) or "train": source_of(corpus, raw, reading)}
    if not raw.is_dir():
        hint = "give a file or the folder of your tables"
        if corpus.places:
            hint = f"get it with scripts/download_data.sh {corpus.name}"
        raise InputError(f"`raw`: no folder {raw}; {hint}")
    if "lang" in corpus.heeds and (raw / reading.lang).is_dir():  # a release in several languages
        raw = raw / reading.lang
    found = {}
    for split in SPLITS:
        source = _released(corpus, split, raw, reading) or _by_name(corpus, split, raw, reading)
        if source:
            found[split] = source
    if not found:
        files = [file for form in _forms(corpus, reading.form) for file in _files(raw, corpus.suffixes.get(form, ()))]
        if len(files) == 1 and split_of(files[0]) is None:
            return {"train": source_of(corpus, files[0], reading)}
        raise InputError(f"`raw` {raw}: found {_nothing(corpus, reading)}")
    return {split: found[split] for split in SPLITS if split in found}


def looked_for(corpus: Corpus, split: str, lang: str) -> str:
    """Where `locate` looks for a split, for people."""
    places = [place.format(lang=lang) for by_form in corpus.places.get(split, {}).values() for place in by_form]
    return ", ".join([*dict.fromkeys(places), f"another file named {split}"])


def source_of(corpus: Corpus, path: Path, reading: Reading) -> Source:
    """One file, or a folder of files, that a person says is a split; its form by its name, else by its beginning.

    Raises:
        InputError: nothing is there.
    """
    if path.is_dir():
        for form in _forms(corpus, reading.form):
            if files := _xml_files(path) if form == "xml" else _files(path, corpus.suffixes[form]):
                return Source(form, files)
        raise InputError(f"{path} is a folder without a file of {corpus.name}")
    if not path.is_file():
        raise InputError(f"no file {path}")
    forms = _forms(corpus, reading.form)
    if len(forms) == 1:
        return Source(forms[0], [path])
    for form in forms:
        if path.suffix.lower() in corpus.suffixes.get(form, ()):
            return Source(form, [path])
    with path.open("rb") as file:
        head = file.read(8)
    named = (form for form, begins in _MAGIC.items() if form in forms and head.startswith(begins))
    return Source(next(named, forms[0]), [path])


def split_of(path: Path) -> str | None:
    """The split that a file's name speaks of, None where it is none or several."""
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    named = [split for split, known in _WORDS.items() if words & known]
    return named[0] if len(named) == 1 else None


def _forms(corpus: Corpus, form: str) -> list[str]:
    return list(corpus.suffixes) if form == "auto" else [form]


def _check_form(corpus: Corpus, form: str) -> None:
    if form != "auto" and form not in corpus.suffixes:
        raise InputError(f"`form` {form}: this corpus is read as {', '.join(corpus.suffixes)}")


def _nothing(corpus: Corpus, reading: Reading) -> str:
    forms = _forms(corpus, reading.form)
    places = [
        place.format(lang=reading.lang)
        for by_form in corpus.places.values()
        for form in forms
        for place in by_form.get(form, ())
    ]
    suffixes = ", ".join(suffix for form in forms for suffix in corpus.suffixes[form])
    names = [*dict.fromkeys(places), f"train, valid, test with {suffixes}"]
    return f"none of {', '.join(names)}; give the folder that holds them"


def _released(corpus: Corpus, split: str, raw: Path, reading: Reading) -> Source | None:
    """By the names of the corpus' releases."""
    for form in _forms(corpus, reading.form):
        for place in corpus.places.get(split, {}).get(form, ()):
            path = raw / place.format(lang=reading.lang)
            if path.is_file():
                return Source(form, [path])
            if path.is_dir() and (files := _xml_files(path, reading.lang)):
                return Source(form, files)
    return None


def _by_name(corpus: Corpus, split: str, raw: Path, reading: Reading) -> Source | None:
    """By names that say which split it is, as people and Hugging Face's hub give them, in shards or not."""
    for form in _forms(corpus, reading.form):
        suffixes = corpus.suffixes[form]
        for folder in (raw, raw / "data"):
            named = [file for file in _files(folder, suffixes) if split_of(file) == split]
            stems = dict.fromkeys((_SHARD.sub("", file.stem), file.suffix) for file in named)
            if len(stems) > 1:
                shown = ", ".join(str(file.relative_to(raw)) for file in named)
                raise InputError(f"{raw}: {shown}: each could be {split}; say which with `{split}` FILE")
            if named:
                return Source(form, named)
            parts = [
                file
                for inner in _folders(folder)
                if split_of(inner) == split and form != "xml"
                for file in _files(inner, suffixes)
            ]
            if parts:
                return Source(form, parts)
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return _visible(path for path in folder.glob("*") if path.suffix.lower() in suffixes and path.is_file())


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not _NO_DATA.search(path.name))


def _xml_files(folder: Path, lang: str | None = None) -> list[Path]:
    """All XML files under a folder, of the language where names tell, by path: not by the file system's order."""
    others = re.compile(rf"-(?!{lang}\.)[a-z][a-z]\.xml$") if lang else None
    files = [
        file
        for file in folder.rglob("*.xml")
        if not _NO_DATA.search(file.name) and not (others and others.search(file.name))
    ]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())
