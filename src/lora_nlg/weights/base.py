"""GPT-2 base weights in and out, strictly, in Hugging Face's names and layout.

A released file stores the four linear weights of a block as (in, out) (transformers' Conv1D); the model keeps
(out, in). The translation happens here and nowhere else. Files may name the same weights with or without the
`transformer.` prefix, and may carry the causal-mask buffers of old releases; nothing else is tolerated.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, write_json
from lora_nlg.gpt2 import GPT2, GPT2Config, base_names, empty_gpt2, named_config
from lora_nlg.run_folder import MODEL_DESCRIPTION
from lora_nlg.weights.sealing import check_seal
from lora_nlg.weights.tensor_files import find_weights, read_any, save_tensors, unfit, unwrap, unwrapped_names

HEAD_NAMES = ("lm_head.weight", "lm_head.decoder.weight")
"""The tied head in Hugging Face's files and in the predecessor's."""
COMPUTED = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # one function under two names
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""What `config.json` may say of how a GPT-2 computes, besides its sizes; the first is Hugging Face's default."""
_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
_MASK_BUFFER = re.compile(r"^h\.\d+\.attn\.(bias|masked_bias)$")
_BLOCK = re.compile(r"transformer\.h\.(\d{1,9})\.")


def canonical_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released names -> the model's: `transformer.` in front, mask buffers left out.

    A head equal to the token embedding is left out (it is tied); another one stays as `lm_head.weight`.

    Raises:
        InputError: two tensors have one meaning, and not the same values.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix("transformer.")
        if _MASK_BUFFER.search(plain):
            continue
        own = "lm_head.weight" if plain in HEAD_NAMES else f"transformer.{plain}"
        if own in named and not _equal(named[own], tensor):
            raise InputError(f"{name} is there under two names, with other values under each")
        named[own] = tensor
    embedding = named.get("transformer.wte.weight")
    if "lm_head.weight" in named and embedding is not None and _equal(named["lm_head.weight"], embedding):
        del named["lm_head.weight"]
    return named


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def config_from_folder(folder: str | Path) -> GPT2Config | None:
    """The shape a folder's `config.json` states, or None without one.

    Raises:
        InputError: the file is there but isn't a GPT-2's, leaves a size out, or says it computes otherwise.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        return None
    values = read_json(path)
    if not isinstance(values, dict) or values.get("model_type") != "gpt2":
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise InputError(f"{path} describes {'no' if kind is None else f'a {kind!r}'} model, not gpt2")
    sizes = ("n_layer", "n_embd", "n_head", "vocab_size", "n_positions", "layer_norm_epsilon")
    if missing := [name for name in sizes if name not in values]:
        raise InputError(f"{path} lacks {', '.join(missing)}")
    for name, computed in COMPUTED.items():
        value = values.get(name, computed[0])
        if not any(value is one or (isinstance(one, str) and value == one) for one in computed):
            raise InputError(
                f"{path} says {name} is {value!r}; this model computes {' or '.join(map(str, computed))} only"
            )
    try:
        return GPT2Config(**{name: values[name] for name in sizes})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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
        InputError: no file, no shape, or any missing, unexpected or misshapen key; all of them are named. Or a
            model that lora-nlg trained and that was changed since.
    """
    file = find_weights(path)
    config = config or base_config(file)
    named = read_base_tensors(file)
    tied = _states_tied_head(file.parent)
    if tied and "lm_head.weight" in named and "transformer.wte.weight" not in named:
        named["transformer.wte.weight"] = named.pop("lm_head.weight")  # one tensor, of whose names the head's was kept
    _check_sizes(config, named, str(file))
    model = empty_gpt2(config)
    if "lm_head.weight" in named:
        if tied:
            raise InputError(
                f"{file} has a head other than its token embedding, though a GPT-2's is tied; if it means it, its "
                'config.json must say "tie_word_embeddings": false'
            )
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.transformer.wte.weight))
    copy_strictly(model, named, str(file))
    _check_trained_model(model, file)
    return model.eval()


def _check_trained_model(model: GPT2, file: Path) -> None:
    """Compare a model that lora-nlg trained as a whole with the shape and the hash it recorded.

    Raises:
        InputError: the weights, `config.json` or the record itself aren't as they were written.
    """
    record = file.parent / MODEL_DESCRIPTION
    if not record.is_file() or find_weights(file.parent) != file:
        return
    value = read_json(record)
    if not isinstance(value, dict):
        raise InputError(f"{record} is damaged: it is no JSON object")
    check_seal(value, str(record))
    base = value.get("base")
    shape = base.get("config") if isinstance(base, dict) else None
    if shape not in (None, asdict(model.config)):
        differ = f"a config.json of another shape than {record.name} recorded"
    elif "sha256" in value and value["sha256"] != base_hash(model):
        differ = f"weights that don't have the hash {record.name} recorded"
    else:
        return
    raise InputError(
        f"{file.parent} has {differ}: it was changed after it was trained; copy it again, or delete {record.name} "
        "to use it as it is"
    )


def read_base_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a base by the model's names, whatever program's state dict they are from.

    Raises:
        InputError: unreadable, LoRA weights, or no state dict; or its config.json says it has a head that isn't there.
    """
    value = read_any(file)
    try:
        tensors = unwrapped_names(unwrap(value)[0])
        named = canonical_names(tensors)
    except InputError as error:
        raise InputError(f"{file}: {error}; `lora-nlg inspect {file}` says what it is") from None
    if any("lora_" in name for name in tensors):
        raise InputError(f"{file} holds LoRA weights, not a base; `lora-nlg inspect {file}` says what it is")
    if not _states_tied_head(file.parent) and not tensors.keys() & set(HEAD_NAMES):
        raise InputError(
            f'{file} has no head, though its config.json says "tie_word_embeddings": false; if the head is the token '
            "embedding, it must say true"
        )
    return named


def _states_tied_head(folder: Path) -> bool:
    path = folder / "config.json"
    if not path.is_file():
        return True
    values = read_json(path)
    stated = values.get("tie_word_embeddings", True) if isinstance(values, dict) else True
    if not isinstance(stated, bool):
        raise InputError(f"{path} says tie_word_embeddings is {stated!r}; it must be true or false")
    return stated


def _check_sizes(config: GPT2Config, tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse a shape the tensors don't have, before a model of that shape is made: it may be a billion times as large.

    Raises:
        InputError: another number of blocks, or embeddings of another size.
    """
    blocks = {int(match[1]) for name in tensors if (match := _BLOCK.match(name))}
    differ = []
    if (n_layer := max(blocks, default=-1) + 1) != config.n_layer:
        differ.append(f"n_layer is {n_layer}, the model needs {config.n_layer}")
    for name, rows in (("wte", config.vocab_size), ("wpe", config.n_positions)):
        tensor = tensors.get(f"transformer.{name}.weight")
        if tensor is None or tensor.shape != (rows, config.n_embd):
            found = "absent" if tensor is None else tuple(tensor.shape)
            differ.append(f"{name} is {found}, the model needs {(rows, config.n_embd)}")
    if differ:
        raise InputError(f"{source} doesn't fit this GPT-2 ({_sizes(config)}): {'; '.join(differ)}")


def copy_strictly(model: GPT2, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy canonical tensors into a model, transposing the linear weights.

    Raises:
        InputError: missing, unexpected or misshapen keys, and values that are no weights, all named.
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
            elif reason := unfit(name, value):
                problems.append(reason)
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


def base_hash(model: GPT2) -> str:
    """SHA-256 over names, shapes and fp32 values of the base: what an adapter was trained on, whatever the file.

    A folded model gives another hash; what a tuning method put in doesn't count.
    """
    digest, own = hashlib.sha256(), base_names(model.config)
    for name, parameter in sorted(model.named_parameters()):
        if name in own:
            digest.update(json.dumps([name, list(parameter.shape)]).encode())
            digest.update(parameter.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
