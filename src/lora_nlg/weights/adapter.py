"""Adapter files that say what they are: `adapter.safetensors` with `adapter.json` beside it.

The description (the method with its settings, the base by hash, name, path and shape, the vocabulary by hash, step,
code version) is in the header of the weights file itself and, for reading, in the JSON.
The weights file alone is enough; where the two disagree, loading stops. Nothing is guessed, nothing is filled in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_nlg import __version__
from lora_nlg.errors import InputError
from lora_nlg.files import parse_json, read_json, write_json
from lora_nlg.gpt2 import GPT2, GPT2Config
from lora_nlg.methods import Method, differences, is_plain, method_named
from lora_nlg.run_folder import ADAPTER, ADAPTER_DESCRIPTION
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights.base import base_hash
from lora_nlg.weights.sealing import CHECKSUM, check_seal, sealed
from lora_nlg.weights.tensor_files import read_safetensors, save_tensors

FORMAT = "lora-nlg adapter 1"
_HEADER = "lora_nlg"
_FIELDS = {"format", "method", "base", "tokenizer", "step", "code_version", "extra", "sha256", CHECKSUM}


@dataclass(frozen=True)
class BaseInfo:
    """The base an adapter belongs to.

    Attributes:
        name: model card or folder name, for people.
        path: where it was, absolute; may have moved since.
        sha256: `base_hash` of its values: what identifies it.
        config: its shape.
    """

    name: str
    path: str
    sha256: str
    config: GPT2Config

    def __str__(self) -> str:
        return f"{self.name} (hash {self.sha256[:12]}, from {self.path})"


@dataclass(frozen=True)
class TokenizerInfo:
    """The vocabulary token ids belong to.

    Attributes:
        name: kind of vocabulary.
        sha256: hash of its content.
        path: where it was, absolute; may have moved since.
        vocab_size: number of ids.
    """

    name: str
    sha256: str
    path: str
    vocab_size: int

    def __str__(self) -> str:
        return f"{self.name} of {self.vocab_size} ids (hash {self.sha256[:12]})"


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter is, or a model that was fine-tuned as a whole.

    Attributes:
        method: what was put into the base, or trained of it.
        base: the base it was trained on; None where a foreign format doesn't say.
        tokenizer: the vocabulary it was trained with; None where a foreign format doesn't say.
        step: optimiser steps taken.
        code_version: of the lora-nlg that wrote it.
        extra: anything else worth keeping, as JSON values; never needed to load.
    """

    method: Method
    base: BaseInfo | None = None
    tokenizer: TokenizerInfo | None = None
    step: int = 0
    code_version: str = __version__
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in `adapter.json`; the method's own fields stand beside the others."""
        return {
            "format": FORMAT,
            "method": self.method.name,
            **self.method.to_json(),
            "base": None if self.base is None else asdict(self.base),
            "tokenizer": None if self.tokenizer is None else asdict(self.tokenizer),
            "step": self.step,
            "code_version": self.code_version,
            "extra": dict(self.extra),
        }


def info_from_json(value: Mapping[str, Any], source: str) -> AdapterInfo:
    """The inverse of `AdapterInfo.to_json`.

    Raises:
        InputError: another format, or a field that is missing or makes no sense.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{source} is damaged: it is no JSON object")
    if value.get("format") != FORMAT:
        raise InputError(f"{source} is {value.get('format')!r}, not {FORMAT!r}; was it written by a newer version?")
    check_seal(value, source)
    # Of before there were several methods: LoRA, and a whole model was one without targets.
    name = value.get("method", "lora" if value.get("targets") else "full")
    try:
        method = method_named(name).from_json(value)
        known = _FIELDS | set(method.to_json()) | (set() if "method" in value else {"targets", "variant", "bias"})
        if unknown := sorted(set(value) - known):
            raise InputError(f"it has the unknown field {unknown[0]!r}")
        base, tokenizer = value["base"], value["tokenizer"]
        return AdapterInfo(
            method=method,
            base=None if base is None else BaseInfo(**{**base, "config": GPT2Config(**base["config"])}),
            tokenizer=None if tokenizer is None else TokenizerInfo(**tokenizer),
            step=int(value["step"]),
            code_version=value["code_version"],
            extra=value["extra"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{source} is damaged: {type(error).__name__}: {error}") from None


def describe_base(model: GPT2, path: str | Path, name: str = "") -> BaseInfo:
    """Identify a base before training touches it.

    Args:
        model: the base as loaded; LoRA parameters in it don't count.
        path: the folder or file it came from.
        name: model card. Default: the folder's name.
    """
    path = Path(path).resolve()
    folder = path if path.is_dir() else path.parent
    return BaseInfo(name or folder.name, str(path), base_hash(model), model.config)


def describe_tokenizer(tokenizer: Tokenizer, path: str | Path) -> TokenizerInfo:
    """Identify a vocabulary."""
    return TokenizerInfo(tokenizer.name, tokenizer.sha256, str(Path(path).resolve()), tokenizer.vocab_size)


def save_adapter(folder: str | Path, model: GPT2, info: AdapterInfo) -> Path:
    """Write an adapter and its description.

    At any moment of a crash or a full disk, the folder holds the old adapter or the new one, and a description
    that belongs to it or none (the weights file describes itself).

    Args:
        folder: made if absent; an adapter in it is replaced.
        model: a GPT-2 with the method in it.
        info: what it is.

    Returns:
        The path of `adapter.safetensors`.

    Raises:
        InputError: what was put into the model isn't what `info` says.
    """
    if difference := info.method.difference(model):
        raise InputError(f"the adapter's description doesn't fit the model: {difference}")
    method, tensors = info.method.stored(model)
    return write_adapter(folder, tensors, replace(info, method=method))


def write_adapter(folder: str | Path, tensors: Mapping[str, Tensor], info: AdapterInfo) -> Path:
    """Write tensors that already have an adapter's names; see `save_adapter`."""
    weights, description = Path(folder) / ADAPTER, Path(folder) / ADAPTER_DESCRIPTION
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    value = sealed({**info.to_json(), "sha256": tensors_hash(tensors)})
    description.unlink(missing_ok=True)
    save_tensors(weights, tensors, {"format": "pt", _HEADER: json.dumps(value)})
    write_json(description, value)
    return weights


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_adapter(path: str | Path) -> Path:
    """The adapter file a path means: the file itself, or the one in a folder.

    Raises:
        InputError: there is none; says what else could be meant.
    """
    path = Path(path)
    file = path / ADAPTER if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"no {ADAPTER} in {path}" if path.is_dir() else f"no adapter at {path}")
    return file


def read_adapter(path: str | Path) -> tuple[AdapterInfo, dict[str, Tensor]]:
    """Read an adapter, checking its description against its checksum and its values against their hash.

    Args:
        path: a folder with `adapter.safetensors`, or the file.

    Returns:
        What it is, and its tensors on the CPU.

    Raises:
        InputError: no such file, not an adapter of ours, damaged, or contradicted by the `adapter.json` beside it.
    """
    file = find_adapter(path)
    tensors, metadata = read_safetensors(file)
    if (header := metadata.get(_HEADER)) is None:
        raise InputError(f"{file} is not an adapter lora-nlg wrote; `lora-nlg inspect {file}` says what it is")
    value = parse_json(header, str(file))
    info = info_from_json(value, str(file))
    description = file.parent / ADAPTER_DESCRIPTION
    if file.name == ADAPTER and description.is_file():
        stated = read_json(description)
        keys = sorted(stated.keys() | value.keys()) if isinstance(stated, dict) else []
        differ = [key for key in keys if stated.get(key) != value.get(key)]
        if differ or not keys:
            raise InputError(
                f"{description} contradicts {file.name} about {', '.join(differ) or 'everything'}: it was edited or "
                f"belongs to another adapter; delete it to go by what the weights file says of itself"
            )
    if tensors_hash(tensors) != value.get("sha256"):
        raise InputError(f"{file} is damaged: its values don't have the hash it states; copy it again")
    return info, tensors


def load_adapter(
    path: str | Path,
    model: GPT2,
    *,
    tokenizer: Tokenizer | None = None,
    allow_other_base: bool = False,
    allow_other_tokenizer: bool = False,
) -> AdapterInfo:
    """Put an adapter into a base, or into a model that already has one like it.

    Args:
        path: a folder with `adapter.safetensors`, or the file.
        model: the base it was trained on, adapted or not; changed in place.
        tokenizer: the vocabulary it will be used with. Default: not checked.
        allow_other_base: load on a base of equal shape with other values. Default: False.
        allow_other_tokenizer: accept another vocabulary than it was trained with. Default: False.

    Returns:
        What the file says it is.

    Raises:
        InputError: another base, another vocabulary, or another method, or one of other settings, in the model; names
            the difference and the parameter that overrides it, where one can.
    """
    info, tensors = read_adapter(path)
    file = str(find_adapter(path))
    if tokenizer is not None and not allow_other_tokenizer:
        check_tokenizer(info.tokenizer, tokenizer, file)
    install(model, info, tensors, file, allow_other_base)
    return info


def install(
    model: GPT2, info: AdapterInfo, tensors: Mapping[str, Tensor], source: str, allow_other_base: bool = False
) -> None:
    """Put the method of an adapter that was read into a base, unless it is there, and copy the values.

    Args:
        model: changed in place.
        info, tensors: as `read_adapter` gives them.
        source: where they are from, for messages.
        allow_other_base: as for `load_adapter`.

    Raises:
        InputError: as `load_adapter`.
    """
    check_base(info, model, source, allow_other_base)
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise InputError(
            f"{source} holds values that are not finite ({bad[0]}): training had diverged; use an earlier one"
        )
    if is_plain(model):
        info.method.put_into(model, initialise=False)
    elif difference := info.method.difference(model):
        raise InputError(f"{source} doesn't fit what is in the model: {difference}")
    info.method.load(model, tensors)


def check_base(info: AdapterInfo, model: GPT2, source: str, allow_other: bool = False) -> None:
    """Refuse a base other than the adapter's.

    Raises:
        InputError: another shape (nothing overrides that) or, unless allowed, other values.
    """
    if info.base is None:
        return
    differ = differences(asdict(info.base.config), asdict(model.config))
    if differ:
        raise InputError(f"{source} was trained on {info.base}; the base given is of another size: {differ}")
    if allow_other:
        return
    found = base_hash(model)
    if found != info.base.sha256:
        raise InputError(
            f"{source} was trained on {info.base}; the base given has the same shape but other values (hash "
            f"{found[:12]}); give that base, or use this one nonetheless with `allow_other_base`"
        )


def check_tokenizer(info: TokenizerInfo | None, tokenizer: Tokenizer, source: str) -> None:
    """Refuse a vocabulary other than the one trained with.

    Raises:
        InputError: their hashes differ.
    """
    if info is not None and info.sha256 != tokenizer.sha256:
        given = f"{tokenizer.name} of {tokenizer.vocab_size} ids (hash {tokenizer.sha256[:12]})"
        raise InputError(
            f"{source} was trained with the vocabulary {info}, from {info.path}; the one given is {given}; "
            "use it nonetheless with `allow_other_tokenizer`"
        )
