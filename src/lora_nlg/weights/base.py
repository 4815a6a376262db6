"""GPT-2 base weights in and out, strictly, in Hugging Face's names and layout.

A released file stores the four linear weights of a block as (in, out) (transformers' Conv1D); the model keeps
(out, in). The translation happens here and nowhere else. Files may name the same weights with or without the
`transformer.` prefix, and may carry the causal-mask buffers of old releases; nothing else is tolerated.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from lora_nlg.errors import InputError, first_line
from lora_nlg.files import atomic_write, read_json, write_json
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, named_config

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
HEAD_NAMES = ("lm_head.weight", "lm_head.decoder.weight")
"""The tied head in Hugging Face's files and in the predecessor's."""
_DOWNLOAD = "download GPT-2 with scripts/download_gpt2.sh sm|md|lg|xl, or check the path"
COMPUTED = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # one function under two names
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""What `config.json` may say of how a GPT-2 computes, besides its sizes; the first is Hugging Face's default."""
_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
_MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$")


def find_weights(path: str | Path) -> Path:
    """The weights file a path means: the file itself, or the one in a folder.

    Raises:
        InputError: nothing there, or a folder without a weights file.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"no base weights at {path}; {_DOWNLOAD}")
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} holds none of {', '.join(WEIGHT_FILES)}; {_DOWNLOAD}")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a torch pickle, the latter loaded with `weights_only=True`.

    Raises:
        InputError: the file can't be read as either, or isn't a flat mapping of names to tensors.
    """
    value = read_any(path)
    if not isinstance(value, dict) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise InputError(f"{path} is not a mapping of names to tensors; `lora-nlg inspect {path}` says what it is")
    return value


def read_any(path: str | Path) -> Any:
    """Whatever a `.safetensors` file or a torch pickle holds; a pickle can hold plain values and tensors only.

    Raises:
        InputError: no file, or it can't be read as either.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable weights file: {first_line(error)}") from None
    except Exception as error:  # safetensors raises its own SafetensorError, which it exports in no stable place
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None


def canonical_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released names -> the model's: `transformer.` in front, mask buffers left out.

    A head equal to the token embedding is left out (it is tied); another one stays as `lm_head.weight`.
    """
    named = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("transformer.")
        if name in HEAD_NAMES:
            named["lm_head.weight"] = tensor
        elif not _MASK_BUFFER.search(name):
            named[f"transformer.{name}"] = tensor
    embedding = named.get("transformer.wte.weight")
    if "lm_head.weight" in named and embedding is not None and torch.equal(named["lm_head.weight"], embedding):
        del named["lm_head.weight"]
    return named


def config_from_folder(folder: str | Path) -> GPT2Config | None:
    """The shape a folder's `config.json` states, or None without one.

    Raises:
        InputError: the file is there but isn't a GPT-2's, leaves a size out, or says it computes otherwise.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        return None
    values = read_json(path)
    if values.get("model_type") != "gpt2":
        raise InputError(f"{path} describes a {values.get('model_type')!r} model, not gpt2")
    sizes = ("n_layer", "n_embd", "n_head", "vocab_size", "n_positions", "layer_norm_epsilon")
    if missing := [name for name in sizes if name not in values]:
        raise InputError(f"{path} lacks {', '.join(missing)}")
    for name, computed in COMPUTED.items():
        if (value := values.get(name, computed[0])) not in computed:
            raise InputError(
                f"{path} says {name} is {value!r}; this model computes {' or '.join(map(str, computed))} only"
            )
    return GPT2Config(**{name: values[name] for name in sizes})


def base_config(
    file: Path,
    model_card: str | None = None,
    sizes: Mapping[str, int] | None = None,
    recorded: GPT2Config | None = None,
) -> GPT2Config:
    """The shape of the base in a weights file.

    `config.json` beside it decides. A card or sizes asked for must agree with it; where it is absent they decide, and
    without them what a run recorded.

    Args:
        file: the weights.
        model_card: size asked for, e.g. `gpt2.md`; vocabulary and positions are left to `config.json`.
        sizes: numbers asked for in place of the card's.
        recorded: the shape a run that was trained on it noted.

    Raises:
        InputError: nothing states the shape, or `config.json` is of another than was asked for.
    """
    stated = config_from_folder(file.parent)
    if model_card is None and not sizes:
        if (config := stated or recorded) is None:
            raise InputError(f"no config.json beside {file}: give the model's size with `model_card`")
        return config
    left_open = {} if stated is None else {"vocab_size": stated.vocab_size, "n_positions": stated.n_positions}
    asked = named_config(model_card or "gpt2.sm", **{**left_open, **(sizes or {})})
    if stated is not None and asked != stated:
        raise InputError(
            f"{file} is {_sizes(stated)}, but the model asked for is {_sizes(asked)}; leave out `model_card` to go by "
            "its config.json (BASE= without MODEL= in the scripts)"
        )
    return asked


def build_base(
    init_checkpoint: str | Path | None,
    vocab_size: int,
    *,
    model_card: str | None = None,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
) -> GPT2:
    """The base a run starts from: loaded strictly, or drawn from the seed.

    Args:
        init_checkpoint: folder or file of weights; None draws them.
        vocab_size: ids of the vocabulary it will be used with.
        model_card, sizes: as for `base_config`; without a checkpoint a card is needed.
        seed: of the weights drawn. Default: 0.

    Raises:
        InputError: no or unfit weights, or fewer embedding rows than the vocabulary has ids.
    """
    if init_checkpoint is None:
        if model_card is None:
            raise InputError("a base drawn at random needs the size of the model: `model_card`")
        torch.manual_seed(seed)
        model = empty_gpt2(named_config(model_card, **{"vocab_size": vocab_size, **(sizes or {})}))
        model.reset_parameters()
        return model
    file = find_weights(init_checkpoint)
    model = load_base(file, base_config(file, model_card, sizes))
    if vocab_size > model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {vocab_size} ids, but the base {file} embeds only {model.config.vocab_size}: they "
            "don't belong together; check `tokenizer`"
        )
    return model


@torch.no_grad()
def load_base(path: str | Path, config: GPT2Config | None = None) -> GPT2:
    """Build a GPT-2 from released weights, key by key and shape by shape.

    Args:
        path: a folder (`model.safetensors` or `pytorch_model.bin`, `config.json`) or a weights file.
        config: its shape. Default: what `config.json` beside the weights says (`base_config`).

    Returns:
        The model, fp32, on the CPU, in evaluation mode.

    Raises:
        InputError: no file, no shape, or any missing, unexpected or misshapen key; all of them are named.
    """
    file = find_weights(path)
    config = config or base_config(file)
    tensors = read_tensors(file)
    if any("lora_" in name for name in tensors):
        raise InputError(f"{file} holds LoRA weights, not a base; `lora-nlg inspect {file}` says what it is")
    named = canonical_names(tensors)
    model = empty_gpt2(config)
    if "lm_head.weight" in named:
        if _states_tied_head(file.parent):
            raise InputError(
                f"{file} has a head other than its token embedding, though a GPT-2's is tied; if it means it, its "
                'config.json must say "tie_word_embeddings": false'
            )
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.transformer.wte.weight))
    copy_strictly(model, named, str(file))
    return model.eval()


def _states_tied_head(folder: Path) -> bool:
    path = folder / "config.json"
    return bool(read_json(path).get("tie_word_embeddings", True)) if path.is_file() else True


def copy_strictly(model: GPT2, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy canonical tensors into a model, transposing the linear weights.

    Raises:
        InputError: missing, unexpected or misshapen keys, all named.
    """
    own = dict(model.named_parameters())
    problems = [f"missing {name}" for name in own if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in own]
    for name, parameter in own.items():
        if name in tensors:
            value = tensors[name]
            value = value.t() if _TRANSPOSED.search(name) and value.dim() == 2 else value
            if value.shape != parameter.shape:
                problems.append(
                    f"{name} is {tuple(tensors[name].shape)}, the model needs {_stored_shape(name, parameter)}"
                )
            elif not problems:
                with torch.no_grad():
                    parameter.copy_(value)
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise InputError(f"{source} doesn't fit this GPT-2 ({_sizes(model.config)}): {shown}")


def _stored_shape(name: str, parameter: Tensor) -> tuple[int, ...]:
    shape = tuple(parameter.shape)
    return shape[::-1] if _TRANSPOSED.search(name) else shape


def _sizes(config: GPT2Config) -> str:
    return (
        f"{config.n_layer} layers, width {config.n_embd}, {config.n_head} heads, "
        f"{config.vocab_size} tokens, {config.n_positions} positions"
    )


def released_tensors(model: GPT2, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The model's base weights under Hugging Face's names and layout, on the CPU.

    Args:
        model: a GPT-2 without LoRA layers, or folded (`lora.fold`).
        dtype: type to convert to. Default: as they are.
    """
    tensors = {}
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        value = value.t() if _TRANSPOSED.search(name) else value
        tensors[name] = value.to(device="cpu", dtype=dtype or value.dtype).contiguous()
    return tensors


def save_base(model: GPT2, folder: str | Path, dtype: torch.dtype | None = None, end_token: int | None = None) -> Path:
    """Write a folder that `load_base` and transformers' `GPT2LMHeadModel.from_pretrained` take.

    Args:
        model: a GPT-2 without LoRA layers, or folded.
        folder: made if absent.
        dtype: storage type. Default: the parameters' own.
        end_token: id that begins and ends texts, for `config.json`. Default: not said, which means 50256.

    Returns:
        The path of `model.safetensors`.
    """
    file = Path(folder) / "model.safetensors"
    save_tensors(file, released_tensors(model, dtype), {"format": "pt"})
    tied = model.lm_head.weight is model.transformer.wte.weight  # not so after LoRA on wte is folded
    stored = str(dtype or next(model.parameters()).dtype).removeprefix("torch.")
    values = {**model.config.to_hugging_face(), "tie_word_embeddings": tied, "dtype": stored}
    if end_token is not None:
        values |= {"bos_token_id": end_token, "eos_token_id": end_token}
    write_json(Path(folder) / "config.json", values)
    return file


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


def base_hash(model: GPT2) -> str:
    """SHA-256 over names, shapes and fp32 values of the base: what an adapter was trained on, whatever the file.

    A folded model gives another hash; LoRA layers that aren't merged don't count.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" not in name:
            digest.update(json.dumps([name, list(parameter.shape)]).encode())
            digest.update(parameter.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
