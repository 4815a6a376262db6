"""How a predictions file was made, in a JSON file beside it: model, adapter, search, versions.

The predictions file itself holds outputs alone, so that equal outputs are equal files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from lora_nlg import __version__
from lora_nlg.decoding.decoder import Decoder
from lora_nlg.errors import InputError
from lora_nlg.files import read_json, sha256_file, write_json
from lora_nlg.lora import adapted_layers
from lora_nlg.run_folder import predictions_config
from lora_nlg.weights.adapter import AdapterInfo


class Hashed(NamedTuple):
    """A file as it was named, and the SHA-256 of what was read from it (see `files.read_hashed`)."""

    path: str
    sha256: str


def describe(
    decoder: Decoder, length_penalty: float, info: AdapterInfo, checkpoint: Hashed, data: Hashed
) -> dict[str, Any]:
    """How predictions are made, as JSON values.

    Args:
        decoder: what makes them.
        length_penalty: the one they are ranked by.
        info: of the run.
        checkpoint: the run; the hash is its adapter's, and not used where it has none.
        data: the records that are decoded.
    """
    search = asdict(replace(decoder.settings, length_penalty=length_penalty))
    dtype = str(decoder.model.dtype).removeprefix("torch.")
    apart = len(adapted_layers(decoder.source))
    return {
        "version": f"lora-nlg {__version__}",
        "data": data._asdict(),
        "model": {
            "checkpoint": checkpoint.path,
            **_model(decoder, info, checkpoint.sha256),
            "dtype": dtype,
            **({"updates_kept_apart": apart} if apart else {}),
        },
        "search": {**search, "longest_prompt": decoder.longest_prompt},
        "sampling": asdict(decoder.sampling) if decoder.sampling else None,
    }


def write_config(predictions: str | Path, description: Mapping[str, Any]) -> Path:
    """Write beside a predictions file, which is there, how it was made; its hash tells later whether that still holds.

    Returns:
        The path of the description.
    """
    path = predictions_config(predictions)
    version, *rest = description.items()
    about = {"path": str(predictions), "sha256": sha256_file(predictions)}
    write_json(path, dict([version, ("predictions", about), *rest]))
    return path


def keep_other(predictions: str | Path, description: Mapping[str, Any]) -> str:
    """Before a predictions file is replaced, keep it if it was made from other things or with other settings.

    Args:
        predictions: the file, if it is there.
        description: of what will replace it.

    Returns:
        A line that says what is kept, where, and how the two differ; empty where nothing needs to be kept.
    """
    path, config = Path(predictions), predictions_config(predictions)
    if not path.is_file():
        return ""
    try:
        before = dict(_flat(read_json(config))) if config.is_file() else None
    except (InputError, AttributeError):
        before = None
    if before is None:
        differ = "how it was made isn't known"
    else:
        now = dict(_flat(description))
        values = [
            f"{name}: {before.get(name)} there, {now.get(name)} now"
            for name in dict.fromkeys([*now, *before])
            if not _is_name_only(name) and before.get(name) != now.get(name)
        ]
        if not values:
            return ""
        differ = "; ".join(values[:4]) + (f"; and {len(values) - 4} more" if len(values) > 4 else "")
    number = next(n for n in range(1, 10**9) if not Path(f"{path}.{n}").exists())
    for file in (path, config):
        if file.is_file():
            shutil.copy2(file, f"{file}.{number}")
    return f"{path} was there, made otherwise ({differ}); it is kept as {path}.{number}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted name; lists are leaves."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, list(inner) if isinstance(inner, tuple) else inner


def _is_name_only(name: str) -> bool:
    """Whether a value says where something was or by which version, not what was done."""
    return name in ("version", "data.path", "model.checkpoint") or name.startswith("predictions.")


def _model(decoder: Decoder, info: AdapterInfo, adapter_sha256: str) -> dict[str, Any]:
    if info.method.is_whole:
        decoder.fingerprint()  # hashes the weights, once a decoder
        return {"step": info.step, "model_sha256": decoder.weights_hash}
    return {
        "step": info.step,
        "adapter_sha256": adapter_sha256,
        "base_sha256": None if info.base is None else info.base.sha256,
        "method": info.method.name,
        **info.method.to_json(),
    }
