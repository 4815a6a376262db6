"""Released corpus or own table → `{train,valid,test}.jsonl` and `manifest.json`, which says what they were made from.

Everything is read before anything is written, so a broken file leaves the output folder as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lora_nlg import __version__
from lora_nlg.corpora import dart, e2e, table, webnlg
from lora_nlg.corpora.finding import locate, looked_for, source_of
from lora_nlg.corpora.record import Record, write_records
from lora_nlg.corpora.release import SPLITS, Corpus, LeftOut, Reading, Release, Source
from lora_nlg.corpora.splitting import divide, parse_parts
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, write_json

READ = {corpus.name: corpus for corpus in (e2e.CORPUS, webnlg.CORPUS, dart.CORPUS, table.CORPUS)}
"""What is read from files, by name."""
CORPORA = (*READ, "sample")
MANIFEST = "manifest.json"

# Left-out rows listed one by one in the manifest; their number is always complete.
_LISTED = 1000


@dataclass
class Prepared:
    """What `prepare` did: the manifest it wrote and what to tell the user."""

    manifest: dict[str, Any]
    messages: list[str]


@dataclass(frozen=True)
class Division:
    """How a training set is parted.

    Attributes:
        split: the shares, such as `80/10/10`; "" parts nothing.
        seed: decides which contexts go where.
    """

    split: str = ""
    seed: int = 110


def prepare_corpus(
    corpus: str,
    raw: str | Path | None,
    out: str | Path,
    reading: Reading | None = None,
    files: Mapping[str, str | Path] | None = None,
    division: Division | None = None,
) -> Prepared:
    """Convert the splits of a corpus that are there.

    Args:
        corpus: one of `CORPORA`; `sample` is built in and needs no files.
        raw: the folder of its files, or one file; may be None where `files` has all.
        out: the folder to write `{train,valid,test}.jsonl` and `manifest.json` to.
        reading: how the files are to be read. Default: as released.
        files: split → its file, where its name doesn't tell.
        division: how to part a training set that is there alone.

    Returns:
        The manifest and one message a split, with the rows left out.

    Raises:
        InputError: an unknown corpus, a missing or broken file, or nothing to convert.
    """
    reading, files, division = reading or Reading(), files or {}, division or Division()
    if corpus not in CORPORA:
        raise InputError(f"no corpus {corpus!r}; choose from {', '.join(CORPORA)}")
    if corpus == "sample":
        return _write_sample(Path(out))
    chosen = READ[corpus]
    check_reading(chosen, reading)
    if raw is None and not files:
        raise InputError(f"`raw` is missing: the folder of {corpus}'s files (see data/README.md)")
    sources = {split: source_of(chosen, Path(file), reading) for split, file in files.items()}
    if raw is not None:
        sources = {**locate(chosen, raw, reading), **sources}
    parts = parse_parts(division.split, sources) if division.split else {}
    releases = read_sources(chosen, sources, reading)
    if parts:
        releases = {**releases, **divide(releases["train"], parts, division.seed)}
    releases = {split: releases[split] for split in SPLITS if split in releases}
    notes = chosen.finish(releases)
    manifest: dict[str, Any] = {"corpus": corpus, "made_by": f"lora-nlg {__version__}"}
    if corpus == "e2e":
        manifest["tokenised"] = {s: r.source.form == "text" or reading.tokenize for s, r in releases.items()}
    if parts:
        manifest["split"] = {"shares": division.split, "seed": division.seed, "parts": list(parts)}
    root = _root(raw, sources)
    manifest["splits"] = {split: _write_split(split, release, root, Path(out)) for split, release in releases.items()}
    manifest["not_found"] = [split for split in SPLITS if split not in releases]
    write_json(Path(out) / MANIFEST, manifest)
    return Prepared(manifest, _messages(manifest, releases, chosen, Path(out), reading) + notes)


def check_reading(corpus: Corpus, reading: Reading) -> None:
    """Refuse what a corpus doesn't heed.

    Raises:
        InputError: names it, and the corpora that do.
    """
    for field in fields(Reading):
        value = getattr(reading, field.name)
        if field.name != "form" and value != field.default and field.name not in corpus.heeds:
            heeding = [name for name, other in READ.items() if field.name in other.heeds]
            raise InputError(f"`{field.name}` is for {' and '.join(heeding)}, not for {corpus.name}")
    if not re.fullmatch("[a-z]{2,3}", reading.lang):
        raise InputError(f"`lang` is {reading.lang!r}; give a code such as en or ru")


def read_sources(corpus: Corpus, sources: Mapping[str, Source], reading: Reading) -> dict[str, Release]:
    """Split → what its files hold.

    Raises:
        InputError: a file is broken, or gives no record.
    """
    releases = {}
    for split, source in sources.items():
        release = releases[split] = corpus.read(split, source, reading)
        if not release.records:
            first = next(iter(release.left_out), None)
            why = f": {first.place}: {first.reason}" if first else ""
            raise InputError(f"{source.files[0]} gives no record{why}")
    return releases


def _root(raw: str | Path | None, sources: Mapping[str, Source]) -> Path:
    """The folder that the manifest's paths are relative to."""
    if raw is not None and Path(raw).is_dir():
        return Path(raw)
    return next(iter(sources.values())).files[0].parent


def _write_split(split: str, release: Release, raw: Path, out: Path) -> dict[str, Any]:
    path = out / f"{split}.jsonl"
    write_records(path, release.records)
    files = [*release.source.files, *release.beside]
    left_out = [
        {"file": _relative(row.file, raw), "place": row.place, "what": row.what, "reason": row.reason}
        for row in release.left_out
    ]
    return {
        "form": release.source.form,
        "sources": [{"file": _relative(file, raw), "sha256": sha256_file(file)} for file in files],
        "entries": release.entries,
        "texts": release.texts,
        **_counts(release.records),
        "output": {"file": path.name, "sha256": sha256_file(path)},
        "left_out": {
            "total": len(left_out),
            "reasons": dict(Counter(f"{row['what']}: {row['reason']}" for row in left_out)),
            "listed": left_out[:_LISTED],
        },
    }


def _counts(records: list[Record]) -> dict[str, int]:
    counts = {
        "records": len(records),
        "references": sum(len(record.references) for record in records),
        "contexts": len({record.context for record in records}),
    }
    if any(record.seen is not None for record in records):
        counts["seen"] = sum(record.seen is True for record in records)
    return counts


def _relative(file: Path, raw: Path) -> str:
    return file.relative_to(raw).as_posix() if file.is_relative_to(raw) else str(file)


def _messages(
    manifest: dict[str, Any], releases: dict[str, Release], corpus: Corpus, out: Path, reading: Reading
) -> list[str]:
    parts = manifest.get("split", {}).get("parts", [])
    messages = [f"parted by context, {manifest['split']['shares']}: {', '.join(parts)}"] if parts else []
    for split in SPLITS:
        if split not in releases:
            looked = looked_for(corpus, split, reading.lang)
            stale = f"; {out / split}.jsonl is from an earlier run" if (out / f"{split}.jsonl").exists() else ""
            messages.append(f"{split}: not found (looked for {looked}){stale}")
            continue
        entry, release = manifest["splits"][split], releases[split]
        messages.append(f"{split}: {_found(entry, divided=split in parts)}")
        if not entry["references"]:
            messages.append(f"  no texts: inputs only, {entry['records']:,} to decode and none to score")
        messages += release.notes + left_out_messages(release.left_out)
        if missing := len(release.left_out) if not entry["references"] else 0:
            messages.append(f"  note: {missing:,} inputs are in no record, so there will be no prediction of them")
        if release.controls:
            messages.append(
                f"  control characters (NUL and the like) became blanks in {len(release.controls):,} places "
                f"({release.controls[0]}{'; …' if len(release.controls) > 1 else ''})"
            )
    if list(releases) == ["train"]:
        messages.append("note: only a training set lies there; `split` 80/10/10 parts it by context into three")
    tokenised = manifest.get("tokenised", {})
    if tokenised and not any(tokenised.values()):
        messages.append(
            "note: the text is untokenised, as in the CSV, but published E2E scores are on tokenised text; to compare "
            "with them set `tokenize`"
        )
    if len(set(tokenised.values())) > 1:
        plain = ", ".join(split for split, done in tokenised.items() if not done)
        messages.append(f"note: {plain} is untokenised and the rest is tokenised; set `tokenize` to make them alike")
    return messages


def _found(entry: dict[str, Any], divided: bool) -> str:
    """What a split's files hold and what became of it; of a part of a training set, what is in it."""
    files = [source["file"] for source in entry["sources"]]
    folder = Path(files[0]).parts[0] if len(Path(files[0]).parts) > 1 else "."
    name = files[0] if len(files) == 1 else f"{len(files)} files under {folder}/"
    seen = f" ({entry['seen']:,} seen)" if "seen" in entry else ""
    became = f"{entry['records']:,} records{seen}, {entry['contexts']:,} contexts, {entry['references']:,} references"
    if divided:
        return f"{became} of {name}"
    return f"{entry['entries']:,} entries and {entry['texts']:,} texts in {name} → {became}"


def left_out_messages(left_out: list[LeftOut]) -> list[str]:
    """A line for each reason, with the first places; the manifest lists them all."""
    by_reason: dict[tuple[str, str], list[LeftOut]] = {}
    for row in left_out:
        by_reason.setdefault((row.what, row.reason), []).append(row)
    messages = []
    for (what, reason), rows in by_reason.items():
        places = ", ".join(f"{row.file.name}, {row.place}" for row in rows[:2])
        more = ", …" if len(rows) > 2 else ""
        messages.append(f"  left out {len(rows)} × {what}: {reason} ({places}{more})")
    return messages


def _write_sample(out: Path) -> Prepared:
    from lora_nlg.corpora.sample import sample_splits

    manifest: dict[str, Any] = {"corpus": "sample", "made_by": f"lora-nlg {__version__}", "splits": {}}
    messages = []
    for split, records in sample_splits().items():
        path = out / f"{split}.jsonl"
        write_records(path, records)
        counts = _counts(records)
        manifest["splits"][split] = {**counts, "output": {"file": path.name, "sha256": sha256_file(path)}}
        messages.append(f"{split}: {counts['records']:,} records, {counts['references']:,} references (synthetic)")
    manifest["not_found"] = [split for split in SPLITS if split not in manifest["splits"]]
    write_json(out / MANIFEST, manifest)
    return Prepared(manifest, messages)
