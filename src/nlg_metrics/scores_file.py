"""`scores.json`: every score with its value, parts, signature and interval, and the scored files' hashes.

Layout: `{"tool", "version", "segments": {...}, "files": {role: {"path", "sha256"}}, "bootstrap": {...},
"scores": {key: {"name", "value", "parts", "signature", "interval"}},
"subsets": {name: {"segments", "scores"}}}`, and "decoding" (see `decoding_of`) where it is known. A
score that means nothing has a "caveat" that says why.
Keys are the official tool's own names of its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result
from nlg_metrics.files import read_json, sha256_file, write_json
from nlg_metrics.metrics.base import VERSION

_NO_SCORE = 1e15  # no metric comes near; also unequal to NaN
HASH_DIGITS = 12  # of a file's SHA-256 shown in a signature; the record holds all 64


def file_record(files: Mapping[str, str | Path]) -> dict[str, dict[str, str]]:
    """`{role: {"path", "sha256"}}` of the files read; roles are free ("references", "hypotheses", …)."""
    return {role: {"path": str(path), "sha256": sha256_file(path)} for role, path in files.items()}


def decoding_of(predictions: str | Path) -> tuple[dict[str, Any] | None, str]:
    """How a predictions file was made, as `lora-nlg decode` noted beside it (`predictions.config.json`).

    Returns:
        The note, or None where there is none or it belongs to other predictions; and a sentence on the latter case,
        else an empty one.
    """
    path = Path(predictions)
    path = path.with_name(path.name.removesuffix(".jsonl") + ".config.json")
    if not path.is_file():
        return None, ""
    try:
        value = read_json(path)
        stated = value["predictions"]["sha256"]
    except (InputError, KeyError, TypeError):
        return None, f"{path} is not a note of `lora-nlg decode`; it is left out of the scores file"
    if stated != sha256_file(predictions):
        return None, f"{path} is of other predictions than {predictions}; it is left out of the scores file"
    return value, ""


def signed(signature: str, files: Mapping[str, Mapping[str, str]]) -> str:
    """A metric's signature with the scored files' hashes: `…|references:1a2b3c4d5e6f|hypotheses:…`."""
    return "|".join([signature, *(f"{role}:{file['sha256'][:HASH_DIGITS]}" for role, file in files.items())])


def score_record(result: Result, files: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """One entry of "scores"."""
    interval = result.interval
    return {
        "name": result.score.name,
        "value": result.score.value,
        "parts": result.score.parts,
        "signature": signed(result.score.signature, files),
        "interval": None if interval is None else [interval.low, interval.high],
        **({"caveat": result.caveat} if result.caveat else {}),
    }


def scores_record(
    tool: str,
    unit: str,
    references: Sequence[Sequence[str]],
    results: Mapping[str, Result],
    files: Mapping[str, Mapping[str, str]],
    bootstrap: Bootstrap,
    subsets: Mapping[str, Mapping[str, Result]] | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole record of one system's scores.

    Args:
        tool: the suite, for example "e2e" or "webnlg_dart".
        unit: what a segment is ("contexts", "entries", "lines").
        references: N lists of reference texts.
        results: key -> result, in printing order.
        files: from `file_record`.
        bootstrap: how the intervals were made.
        subsets: subset name -> key -> result.
        decoding: from `decoding_of`; None leaves it out.

    Returns:
        A value for `write_scores`.
    """
    counts = [len(group) for group in references]
    return {
        "tool": tool,
        "version": VERSION,
        "segments": {
            "unit": unit,
            "count": len(counts),
            "references": {"min": min(counts), "max": max(counts), "total": sum(counts)},
        },
        "files": {role: dict(file) for role, file in files.items()},
        **({} if decoding is None else {"decoding": dict(decoding)}),
        "bootstrap": {"resamples": bootstrap.resamples, "seed": bootstrap.seed, "level": bootstrap.level},
        "scores": {key: score_record(result, files) for key, result in results.items()},
        "subsets": {
            name: {
                "segments": len(next(iter(chosen.values())).statistics) if chosen else 0,
                "scores": {key: score_record(result, files) for key, result in chosen.items()},
            }
            for name, chosen in (subsets or {}).items()
        },
    }


def write_scores(path: str | Path, record: dict[str, Any]) -> None:
    """Write `scores.json`, atomically."""
    write_json(path, record)


def read_scores(path: str | Path) -> dict[str, Any]:
    """Read a `scores.json`.

    Raises:
        InputError: the file is absent, not JSON, or not a record of scores; the message names it.
    """
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("scores"), dict):
        raise InputError(f'{path} is not a scores file (no "scores" in it); write one with a scorer\'s `scores`')
    subsets = record.get("subsets", {})
    if not isinstance(subsets, dict) or not all(isinstance(part, dict) for part in subsets.values()):
        raise InputError(f'{path}: "subsets" must be an object of objects')
    for group in (record, *subsets.values()):
        scores = group.get("scores", {})
        if not isinstance(scores, dict):
            raise InputError(f'{path}: "scores" must be an object')
        for key, entry in scores.items():
            if problem := _entry_problem(entry):
                raise InputError(f"{path}: score {key!r}: {problem}")
    return record


def _entry_problem(entry: Any) -> str:
    """What keeps a value from being an entry of "scores"; empty where it is one."""
    if not isinstance(entry, dict) or not _is_score(entry.get("value")):
        return 'it needs a "value", a finite number'
    if not all(isinstance(entry.get(name, ""), str) for name in ("name", "signature", "caveat")):
        return '"name", "signature" and "caveat" must be strings'
    interval = entry.get("interval")
    if interval is not None and not (
        isinstance(interval, list) and len(interval) == 2 and all(map(_is_score, interval))
    ):
        return '"interval" must be null or two numbers'
    return ""


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _NO_SCORE


def caveats(path: str | Path, record: Mapping[str, Any]) -> list[str]:
    """A sentence for each score of a file that means nothing."""
    return [
        f"{path}: {key} {entry['value']:.4f} means nothing: {entry['caveat']}"
        for key, entry in record["scores"].items()
        if entry.get("caveat")
    ]


def plain_values(
    results: Mapping[str, Result], subsets: Mapping[str, Mapping[str, Result]] | None = None
) -> dict[str, float]:
    """`{metric: value}` at full precision, as `--json` writes it; subsets have keys like `seen/bleu`."""
    values = {key: result.score.value for key, result in results.items()}
    for name, chosen in (subsets or {}).items():
        values.update({f"{name}/{key}": result.score.value for key, result in chosen.items()})
    return values
