"""Released corpus → `{train,valid,test}.jsonl` and `manifest.json`, which says what they were made from.

Everything is read before anything is written, so a broken file leaves the output folder as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg import __version__
from lora_nlg.corpora import dart, e2e, webnlg
from lora_nlg.corpora.record import Record, write_records
from lora_nlg.corpora.release import SPLITS, LeftOut, Places, Release, locate
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, write_json

CORPORA = ("e2e", "webnlg", "dart", "sample")
MANIFEST = "manifest.json"

# Left-out rows listed one by one in the manifest; their number is always complete.
_LISTED = 1000

PLACES: dict[str, Places] = {"e2e": e2e.PLACES, "webnlg": webnlg.PLACES, "dart": dart.PLACES}
"""Corpus → where its splits may lie in the raw folder."""


@dataclass
class Prepared:
    """What `prepare` did: the manifest it wrote and what to tell the user."""

    manifest: dict[str, Any]
    messages: list[str]


def prepare_corpus(
    corpus: str,
    raw: str | Path | None,
    out: str | Path,
    form: str = "auto",
    tokenize: bool = False,
    lang: str = "en",
) -> Prepared:
    """Convert the splits of a corpus that are there.

    Args:
        corpus: one of `CORPORA`; `sample` is built in and needs no raw folder.
        raw: the folder of the released files.
        out: the folder to write `{train,valid,test}.jsonl` and `manifest.json` to.
        form: which released form to read, `auto` for the first one there (E2E: text, csv; WebNLG: xml, json;
            DART: json, xml), decided for each split.
        tokenize: E2E only: give splits read from CSV the text form's tokenisation.
        lang: WebNLG only: the language of the texts, which some releases have in two. Default: "en".

    Returns:
        The manifest and one message a split, with the rows left out.

    Raises:
        InputError: an unknown corpus, a missing or broken file, or nothing to convert.
    """
    if corpus not in CORPORA:
        raise InputError(f"no corpus {corpus!r}; choose from {', '.join(CORPORA)}")
    if tokenize and corpus != "e2e":
        raise InputError(f"`tokenize` is for e2e; {corpus} is used as released")
    if lang != "en" and corpus != "webnlg":
        raise InputError(f"`lang` is for webnlg; {corpus} is English")
    if not re.fullmatch("[a-z]{2,3}", lang):
        raise InputError(f"`lang` is {lang!r}; give a code such as en or ru")
    if corpus == "sample":
        return _write_sample(Path(out))
    if raw is None:
        raise InputError(f"`raw` is missing: the folder of {corpus}'s released files (see data/README.md)")
    sources = locate(corpus, raw, PLACES[corpus], form)
    releases: dict[str, Release] = {}
    for split, source in sources.items():
        if corpus == "e2e":
            releases[split] = e2e.read(split, source, tokenize)
        elif corpus == "webnlg":
            releases[split] = webnlg.read(split, source, lang)
        else:
            releases[split] = dart.read(split, source)
        if not releases[split].records:
            first = next(iter(releases[split].left_out), None)
            why = f": {first.place}: {first.reason}" if first else ""
            raise InputError(f"{source.files[0]} gives no record{why}")
    notes = webnlg.mark_seen(releases) if corpus == "webnlg" else []
    manifest: dict[str, Any] = {"corpus": corpus, "made_by": f"lora-nlg {__version__}"}
    if corpus == "e2e":
        manifest["tokenised"] = {s: r.source.form == "text" or tokenize for s, r in releases.items()}
    manifest["splits"] = {
        split: _write_split(split, release, Path(raw), Path(out)) for split, release in releases.items()
    }
    manifest["not_found"] = [split for split in SPLITS if split not in releases]
    write_json(Path(out) / MANIFEST, manifest)
    return Prepared(manifest, _messages(manifest, releases, PLACES[corpus], Path(out)) + notes)


def _write_split(split: str, release: Release, raw: Path, out: Path) -> dict[str, Any]:
    path = out / f"{split}.jsonl"
    write_records(path, release.records)
    left_out = [
        {"file": _relative(row.file, raw), "place": row.place, "what": row.what, "reason": row.reason}
        for row in release.left_out
    ]
    return {
        "form": release.source.form,
        "sources": [{"file": _relative(file, raw), "sha256": sha256_file(file)} for file in release.source.files],
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
    return file.relative_to(raw).as_posix()


def _messages(manifest: dict[str, Any], releases: dict[str, Release], places: Places, out: Path) -> list[str]:
    messages = []
    for split in SPLITS:
        if split not in releases:
            looked = ", ".join(place for form in places[split].values() for place in form)
            stale = f"; {out / split}.jsonl is from an earlier run" if (out / f"{split}.jsonl").exists() else ""
            messages.append(f"{split}: not found (looked for {looked}){stale}")
            continue
        entry, release = manifest["splits"][split], releases[split]
        files = [source["file"] for source in entry["sources"]]
        name = files[0] if len(files) == 1 else f"{len(files)} files under {Path(files[0]).parts[0]}/"
        seen = f" ({entry['seen']:,} seen)" if "seen" in entry else ""
        messages.append(
            f"{split}: {entry['entries']:,} entries and {entry['texts']:,} texts in {name} → "
            f"{entry['records']:,} records{seen}, {entry['contexts']:,} contexts, {entry['references']:,} references"
        )
        messages += _left_out_messages(release.left_out) + release.notes
        if release.controls:
            messages.append(
                f"  control characters (NUL and the like) became blanks in {len(release.controls):,} places "
                f"({release.controls[0]}{'; …' if len(release.controls) > 1 else ''})"
            )
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


def _left_out_messages(left_out: list[LeftOut]) -> list[str]:
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
