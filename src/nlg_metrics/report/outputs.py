"""The outputs explorer's data: every segment with all systems' texts, packed small enough to be mailed.

JSON, deflated, in base64: a browser unpacks 4,159 contexts of six systems in a fraction of a second, and nothing in it
can end the page's script. N-best lists are packed apart, since they are unpacked on demand.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_metrics.files import read_jsonl
from nlg_metrics.metrics.e2e_slots import SLOT_NAMES
from nlg_metrics.metrics.slot_error_rate import find_errors
from nlg_metrics.report.systems import Scored, System, carried, higher_is_better, is_triples

SCORE_UNIT, CARRY_UNIT = 1e-4, 1e-7
"""Segment scores and what segments carry are whole multiples of these on the page."""


def packed(value: Any) -> str:
    """A JSON value, deflated, in base64. Lone surrogates, which have no UTF-8 form, become question marks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode("ascii")


def explorer(scored: Scored, places: Sequence[int], tests: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's script needs; lists over segments have length N, those over systems come first.

    Args:
        scored: the systems.
        places: each system's place among the page's runs, which decides its colour.
        tests: from `paired_tests`.
    """
    systems, first = scored.systems, scored.systems[0]
    segments = first.segments
    corpus_keys = {key: "BLEU" if key == "sentBLEU" else key for key in first.columns}
    keys = [
        key
        for key, corpus_key in corpus_keys.items()
        if all(key in system.columns and corpus_key in system.outcome.results for system in systems)
    ]
    contexts, kind = split_contexts(segments.contexts)
    return {
        "systems": [system.label for system in systems],
        "runOf": list(places),
        "unit": segments.unit,
        "scoreUnit": SCORE_UNIT,
        "carryUnit": CARRY_UNIT,
        "metrics": [
            {
                "key": key,
                "name": _name(first, key),
                "higher": higher_is_better(first, key),
                "corpusKey": corpus_keys[key],
            }
            for key in keys
        ],
        "kind": kind,
        "ids": segments.ids,
        "contexts": contexts,
        "references": [list(dict.fromkeys(group)) for group in segments.references],
        "categories": scored.categories if any(scored.categories) else None,
        "seen": segments.seen if any(value is not None for value in segments.seen) else None,
        "texts": [system.segments.hypotheses for system in systems],
        "scores": [[_whole(system.columns[key], SCORE_UNIT) for system in systems] for key in keys],
        "carried": [
            [_whole(carried(system.outcome.results[corpus_keys[key]]), CARRY_UNIT) for system in systems]
            for key in keys
        ],
        "slotErrors": [_slot_errors(system) for system in systems] if scored.slots else None,
        "slotNames": SLOT_NAMES,
        "tests": tests,
    }


def _name(system: System, key: str) -> str:
    result = system.outcome.results.get(key)
    return "BLEU (smoothed)" if key == "sentBLEU" else result.score.name if result else key


def _whole(values: Iterable[float], unit: float) -> list[int | None]:
    return [round(value / unit) if math.isfinite(value) else None for value in map(float, values)]


def split_contexts(contexts: Sequence[str]) -> tuple[list[list[list[str]]], str]:
    """Contexts as lists of parts, and what a part is: "triples" of three, "slots" of two, or "text" of one."""
    if contexts and all(map(is_triples, contexts)):
        return [[part.split(" : ", 2) for part in context.split(" | ")] for context in contexts], "triples"
    if contexts and all(context and all(" : " in part for part in context.split(" | ")) for context in contexts):
        return [[part.split(" : ", 1) for part in context.split(" | ")] for context in contexts], "slots"
    return [[[context]] if context else [] for context in contexts], "text"


def _slot_errors(system: System) -> list[list[list[str]] | None]:
    """For each output its missing, wrong and added slots; None for one without errors."""
    found = find_errors(system.segments.contexts, system.segments.hypotheses)
    return [[errors.missing, errors.wrong, errors.added] if errors.count else None for errors in found]


def n_best_lists(scored: Scored, predictions: Mapping[str, str | Path]) -> list[list[Any]] | None:
    """System -> segment -> [[text, score], …], best first; None where no file holds more than one hypothesis."""
    ids = scored.systems[0].segments.ids
    lists = [_n_best(predictions[system.label], ids) for system in scored.systems]
    return lists if any(any(one) for one in lists) else None


def _n_best(path: str | Path, ids: Sequence[str]) -> list[Any]:
    found: dict[str, list[Any]] = {}
    for _, prediction in read_jsonl(path):
        entries = prediction.get("n_best")
        if isinstance(entries, list) and len(entries) > 1:
            rows = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("hypothesis"), str)]
            found[str(prediction["id"])] = [[row["hypothesis"], _score(row.get("score"))] for row in rows]
    return [found.get(id_) for id_ in ids]


def _score(value: Any) -> float | None:
    return round(value, 4) if isinstance(value, int | float) and math.isfinite(value) else None
