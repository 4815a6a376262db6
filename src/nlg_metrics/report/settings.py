"""What a run is, in words: one line for the page's head, and the settings in which several runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_metrics.report.run_files import RunFiles
from nlg_metrics.scores_file import decoding_of

_OWN = {"work_dir"}  # differs for every run and says nothing


def decoding_note(run: RunFiles) -> Mapping[str, Any]:
    """How the run's outputs were made, as `lora-nlg decode` noted it; empty where that isn't known."""
    note = decoding_of(run.predictions)[0] if run.predictions and run.predictions.is_file() else None
    found = [note] if note else [record.get("decoding") for record in run.scores.values()]
    return next((value for value in found if isinstance(value, dict)), {})


def described(run: RunFiles, decoding: Mapping[str, Any]) -> list[str]:
    """Base, method, r, alpha and scale, training data and decoding; what isn't known is left out."""
    return [*_model(run, decoding), *_training(run), *_search(decoding)]


def _model(run: RunFiles, decoding: Mapping[str, Any]) -> list[str]:
    adapter = run.adapter or {}
    base = _mapping(adapter.get("base"))
    shape = _mapping(base.get("config"))
    facts = []
    if base.get("name"):
        size = f" ({shape['n_layer']} layers of {shape['n_embd']})" if {"n_layer", "n_embd"} <= shape.keys() else ""
        facts.append(f"base model {base['name']}{size}")
    elif run.settings.get("init_checkpoint"):
        facts.append(f"base model {run.settings['init_checkpoint']}")
    elif checkpoint := _mapping(decoding.get("model")).get("checkpoint"):
        facts.append(f"checkpoint {checkpoint}, no adapter" if not run.adapter else f"checkpoint {checkpoint}")
    return facts + adapter_facts(adapter)


def adapter_facts(adapter: Mapping[str, Any]) -> list[str]:
    """Method, r, alpha and scale of an adapter.json, target by target where they differ."""
    settings: dict[str, list[str]] = {}
    for name, target in _mapping(adapter.get("targets")).items():
        stated = [(word, _mapping(target).get(key)) for word, key in _TARGET_WORDS]
        told = ", ".join(f"{word} {shown(value)}" for word, value in stated if value is not None)
        settings.setdefault(told, []).append(str(name))
    method = {"lora": "LoRA", "dora": "DoRA"}.get(str(adapter.get("variant", "lora")), str(adapter.get("variant")))
    return [f"{method} on {', '.join(names)}: {told}" for told, names in settings.items()]


_TARGET_WORDS = (("r", "r"), ("alpha", "alpha"), ("scale", "scaling"))


def _training(run: RunFiles) -> list[str]:
    facts = []
    if data := run.settings.get("train_data"):
        facts.append(f"trained on {'/'.join(Path(str(data)).parts[-2:])}")
    if run.log is not None and run.log.last_step:
        facts.append(f"{run.log.last_step:,} steps")
    return facts


def _search(decoding: Mapping[str, Any]) -> list[str]:
    search, sampling = _mapping(decoding.get("search")), _mapping(decoding.get("sampling"))
    step = _mapping(decoding.get("model")).get("step")
    facts = [f"decoded from step {step:,}"] if isinstance(step, int) and step else []
    if sampling:
        return [*facts, f"sampled: temperature {sampling.get('temperature')}, top-p {sampling.get('top_p')}"]
    if search:
        facts.append(f"beam {search.get('beam')}, length penalty {search.get('length_penalty')}")
    return facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def settings_of(run: RunFiles, decoding: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of training and decoding, name -> printed value."""
    settings = {name: shown(value) for name, value in run.settings.items() if name not in _OWN}
    search = {**_mapping(decoding.get("search")), **_mapping(decoding.get("sampling"))}
    if step := _mapping(decoding.get("model")).get("step"):
        search["step"] = step
    return {**settings, **{f"decoding: {name}": shown(value) for name, value in search.items()}}


def shown(value: Any) -> str:
    """A setting as one prints it: numbers short, an absent one as nothing."""
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def split_settings(each: Sequence[Mapping[str, str]]) -> tuple[list[str], dict[str, str]]:
    """The names of settings in which runs differ, and the settings all share.

    A run that doesn't have a setting at all differs from one that has it, unless it says nothing of any setting.
    """
    told = [settings for settings in each if settings]
    names = list(dict.fromkeys(name for settings in told for name in settings))
    values = {name: {settings.get(name, "") for settings in told} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    return differing, {name: next(iter(values[name])) for name in names if len(values[name]) == 1}


def loss_note(run: RunFiles) -> str:
    """What makes the training loss another number than the validation loss; empty where nothing does."""
    words = {"label_smooth": "label smoothing", "lora_dropout": "dropout"}
    reasons = [f"{word} {shown(run.settings[name])}" for name, word in words.items() if run.settings.get(name)]
    return f"training carries {' and '.join(reasons)}; validation does not" if reasons else ""
