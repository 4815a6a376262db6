"""How a predictions file was made, in a JSON file beside it: model, adapter, search, versions.

The predictions file itself holds outputs alone, so that equal outputs are equal files.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lora_nlg import __version__
from lora_nlg.decoding.decoder import Decoder
from lora_nlg.files import sha256_file, write_json
from lora_nlg.run_folder import predictions_config
from lora_nlg.weights.adapter import AdapterInfo, find_adapter


def write_config(
    predictions: str | Path, decoder: Decoder, length_penalty: float, info: AdapterInfo, checkpoint: str, data: str
) -> Path:
    """Describe a predictions file that has just been written.

    Args:
        predictions: the file; its hash tells later whether the description still belongs to it.
        decoder: what made it.
        length_penalty: the one it is ranked by.
        info: of the run.
        checkpoint: the run, as it was named.
        data: the records that were decoded.

    Returns:
        The path of the description.
    """
    search = asdict(replace(decoder.settings, length_penalty=length_penalty))
    dtype = str(decoder.model.dtype).removeprefix("torch.")
    value = {
        "version": f"lora-nlg {__version__}",
        "predictions": {"path": str(predictions), "sha256": sha256_file(predictions)},
        "data": {"path": data, "sha256": sha256_file(data)},
        "model": {"checkpoint": checkpoint, **_model(decoder, info, checkpoint), "dtype": dtype},
        "search": {**search, "longest_prompt": decoder.longest_prompt},
        "sampling": asdict(decoder.sampling) if decoder.sampling else None,
    }
    write_json(predictions_config(predictions), value)
    return predictions_config(predictions)


def _model(decoder: Decoder, info: AdapterInfo, checkpoint: str) -> dict[str, Any]:
    if not info.targets:
        decoder.fingerprint()  # hashes the weights, once a decoder
        return {"step": info.step, "model_sha256": decoder.weights_hash}
    return {
        "step": info.step,
        "adapter_sha256": sha256_file(find_adapter(checkpoint)),
        "base_sha256": None if info.base is None else info.base.sha256,
        "variant": info.variant,
        "targets": {
            name: {"r": spec.r, "alpha": spec.alpha, "scaling": spec.scaling} for name, spec in info.targets.items()
        },
    }
