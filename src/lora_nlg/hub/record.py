"""What a run's folder records of its data, recipe and scores, as far as it is still there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_nlg import __version__
from lora_nlg.corpora.prepare import MANIFEST
from lora_nlg.corpora.record import read_records
from lora_nlg.errors import InputError
from lora_nlg.files import read_json_object, read_yaml, sha256_file
from lora_nlg.run_folder import ADAPTER, CONFIG

SCORES = "scores.json"
_EXAMPLE = "name : Blue Spice | Type : pub | area : riverside"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells of it.

    Attributes:
        settings: value of config.yaml; empty where there is none.
        corpus: what `prepare` called it; empty where it isn't known.
        language: of the texts.
        contexts, references: of the training data; 0 where they aren't known.
        example: a meaning representation.
        scores: value of scores.json, if it is of this very model.
        split: what was scored.
        search: settings of the search that made the scored texts.
        version: of the lora-nlg that writes this.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    corpus: str = ""
    language: str = "en"
    contexts: int = 0
    references: int = 0
    example: str = _EXAMPLE
    scores: Mapping[str, Any] | None = None
    split: str = "test"
    search: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__


def read_run_record(source: Path) -> RunRecord:
    """Read what a run's folder says.

    Args:
        source: the run, a folder in it such as `best/`, or an adapter file; without a run's record the result is empty.

    Raises:
        InputError: a file of the record is damaged.
    """
    own = source if source.is_dir() else source.parent
    run = next((folder for folder in (own, own.parent) if (folder / CONFIG).is_file()), None)
    if run is None:
        return RunRecord()
    settings = read_yaml(run / CONFIG)
    if not isinstance(settings, dict):
        raise InputError(f"{run / CONFIG} must hold lines of `name: value`")
    manifest, contexts, references, example = {}, 0, 0, _EXAMPLE
    data = Path(str(settings.get("train_data", "")))
    if data.is_file():
        records = read_records(data)
        contexts = len({record.context for record in records})
        references = sum(len(record.references) for record in records)
        example = records[0].context
        if (data.parent / MANIFEST).is_file():
            manifest = read_json_object(data.parent / MANIFEST)
    else:
        log.info("note: %s isn't there any more, so the card can't say what the run was trained on", data)
    scores = _scores_of(run, own / ADAPTER)
    decoding = (scores or {}).get("decoding", {})
    return RunRecord(
        settings=settings,
        corpus=str(manifest.get("corpus", "")),
        language=str(manifest.get("lang", "en")),
        contexts=contexts,
        references=references,
        example=example,
        scores=scores,
        split=Path(str(decoding.get("data", {}).get("path", "test"))).stem,
        search=decoding.get("search", {}),
    )


def _scores_of(run: Path, adapter: Path) -> dict[str, Any] | None:
    """The run's scores; None where there are none, or where they are of another adapter than the one at hand."""
    if not (run / SCORES).is_file():
        return None
    scores = read_json_object(run / SCORES)
    scored = scores.get("decoding", {}).get("model", {}).get("adapter_sha256")
    if scored and adapter.is_file() and scored != sha256_file(adapter):
        log.info("note: %s is of another adapter than %s and stays out of the card", run / SCORES, adapter)
        return None
    return scores
