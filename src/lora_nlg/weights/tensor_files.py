"""Files of tensors, whoever wrote them: safetensors, torch pickles, and either in shards with an index.

Nothing in a file is believed before it is checked: a pickle may hold tensors and plain values only, nothing may unpack
to more than the file's own size, and a shard's name may not lead out of its folder.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lora_nlg.errors import InputError, first_line
from lora_nlg.files import atomic_write, read_json

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
FOLDER_FILES = tuple(name + end for name in WEIGHT_FILES for end in ("", INDEX))
"""What a folder may hold its weights in; the first that is there is read, as transformers does."""
WRAPPERS = ("model_state_dict", "state_dict", "model", "module")
"""Keys that training programs put a state dict under."""
NUMBER_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WRAPPING_MODULES = re.compile(r"(^|\.)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
_OLD_TORCH_FILE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files begin that torch before 1.6 wrote
_SHARED = 4  # a tensor may be in a file under several names
_DOWNLOAD = "download GPT-2 with scripts/download_gpt2.sh sm|md|lg|xl, or check the path"


def find_weights(path: str | Path) -> Path:
    """The weights file a path means: the file itself, or the one in a folder (of shards, their index).

    Raises:
        InputError: nothing there, or a folder without a weights file.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"no base weights at {path}; {_DOWNLOAD}")
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} holds none of {', '.join(FOLDER_FILES)}; {_DOWNLOAD}")


def holds_weights(folder: Path) -> bool:
    """Whether a folder has a weights file that `find_weights` finds."""
    return any((folder / name).is_file() for name in FOLDER_FILES)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, a torch pickle, or the shards an index names.

    Raises:
        InputError: the file can't be read as either, or isn't a flat mapping of names to tensors.
    """
    value = read_any(path)
    if not isinstance(value, dict) or not _names_tensors(value):
        raise InputError(f"{path} is not a mapping of names to tensors; `lora-nlg inspect {path}` says what it is")
    return value


def read_any(path: str | Path) -> Any:
    """Whatever a weights file holds; a pickle can hold plain values and tensors only.

    Raises:
        InputError: no file, or it can't be read as either.
    """
    path = Path(path)
    if path.name.endswith(INDEX):
        return _read_shards(path)
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_pickle(path)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Of tensors that share their values safetensors keeps one, and says in the metadata which name stands for which; the
    other names are given their tensor again.

    Raises:
        InputError: no such file, or it isn't one.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = dict(handle.metadata() or {})
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except Exception as error:  # SafetensorError, and what a damaged header makes of it: KeyError, AttributeError, …
        raise InputError(f"{path} is not a readable safetensors file: {first_line(error)}") from None
    shared = {name: tensors[kept] for name, kept in metadata.items() if kept in tensors and name not in tensors}
    return {**tensors, **shared}, metadata


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors an index names, from the files in its folder."""
    value = read_json(index)
    names = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise InputError(f"{index} is no index of shards: its weight_map must say which file holds which tensor")
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(names.values())):
        if Path(file).name != file or file.endswith(INDEX):
            raise InputError(f"{index} names {file!r}; a shard is a weights file in the same folder")
        shard = read_tensors(index.parent / file)
        wanted = {name for name, place in names.items() if place == file}
        if absent := sorted(wanted - shard.keys()):
            raise InputError(f"{index.parent / file} lacks {absent[0]}, which {index.name} says it holds")
        if stray := sorted(shard.keys() - names.keys()):
            raise InputError(f"{index.parent / file} holds {stray[0]}, which {index.name} doesn't name")
        tensors |= {name: shard[name] for name in wanted}
    return tensors


def _read_pickle(path: Path) -> Any:
    try:
        _refuse_what_unpacks(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols of pickles; what can't be read raises
            value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except InputError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of torch's reader
        raise InputError(f"{path} is not a readable weights file: {_reason(path, error)}") from None
    size, unpacked = (
        path.stat().st_size,
        sum(tensor.numel() * tensor.element_size() for tensor in _tensors_within(value)),
    )
    if unpacked > _SHARED * size:
        raise InputError(f"{path} of {size:,} bytes holds tensors that unpack to {unpacked:,}; save copies of them")
    return value


def _refuse_what_unpacks(path: Path) -> None:
    """Refuse a zip whose entries unpack to more than its size; torch.save stores them as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if unpacked > size:
        raise InputError(
            f"{path} of {size:,} bytes is compressed and unpacks to {unpacked:,}; torch.save compresses nothing: save "
            "the tensors again with it, or as safetensors"
        )


def _reason(path: Path, error: Exception) -> str:
    """Why a pickle can't be read, in our words: torch's own advise to load it without the check that stopped it."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_OLD_TORCH_FILE))
    except OSError as failure:
        return failure.strerror or "it can't be opened"
    if not start:
        return "it is empty"
    if start.startswith(b"PK") or start == _OLD_TORCH_FILE:
        if isinstance(error, pickle.UnpicklingError):
            return "it is a pickle of Python objects, not of tensors alone; save model.state_dict() in their place"
        return "it is a torch file that is damaged or cut short; copy it again"
    if start.startswith(b"\x80"):
        return "it is a pickle that torch.save did not write; save model.state_dict() with it"
    return "it is neither safetensors nor a file that torch.save wrote"


def _tensors_within(value: Any) -> list[Tensor]:
    found, rest = [], [value]
    while rest:
        item = rest.pop()
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, Mapping):
            rest += item.values()
        elif isinstance(item, (list, tuple)):
            rest += item
    return found


def _names_tensors(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())


def unwrap(value: Any) -> tuple[dict[str, Tensor], str]:
    """The mapping of names to tensors within a pickle's value, and the key it was under.

    Raises:
        InputError: there is none.
    """
    found, wrapper = value, ""
    if isinstance(value, Mapping):
        wrapper = next((name for name in WRAPPERS if isinstance(value.get(name), Mapping)), "")
        found = value[wrapper] if wrapper else value
    if not isinstance(found, Mapping) or not found or not _names_tensors(found):
        raise InputError("no mapping of names to tensors in it")
    return dict(found), wrapper


def unwrapped_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names they have without DDP, FSDP, torch.compile, checkpointing or Lightning around their modules.

    Raises:
        InputError: two tensors would have one name.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = _WRAPPING_MODULES.sub("", name).removeprefix(".").removeprefix("model.")
        if plain in named:
            raise InputError(f"{plain} is there twice, once as {name}")
        named[plain] = tensor
    return named


def unfit(name: str, tensor: Tensor) -> str:
    """Why a tensor is no weight, or nothing: another number type, a compressed layout, or values that are none."""
    if tensor.dtype not in NUMBER_TYPES or tensor.layout is not torch.strided or tensor.is_meta:
        kind = str(tensor.dtype).removeprefix("torch.") if tensor.layout is torch.strided else "sparse"
        return f"{name} is {kind}; weights are fp32, fp16, bf16 or fp64"
    return "" if torch.isfinite(tensor.float()).all() else f"{name} holds values that are not finite"


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    The library writes metadata in a random order, so the header is written again with its keys sorted.
    """
    content = memoryview(save(dict(tensors), dict(metadata or {})))
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:end]))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to 8 bytes
    with atomic_write(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(content[end:])
