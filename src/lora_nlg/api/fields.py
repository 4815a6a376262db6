"""Settings from the values a caller gives by name: unknown names, types, what may be None.

What a flag's text is read as by the command line is checked here for values that come from Python; both say the same.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lora_nlg.errors import InputError

RENAMED = {
    # microsoft/LoRA's examples/NLG
    "clip": ["grad_clip"], "adam_epislon": ["adam_epsilon"], "fp16": ["dtype fp16"], "output_file": ["out"],
    # transformers, PEFT and what people call these things elsewhere
    "num_beams": ["beam"], "beams": ["beam"], "beam_size": ["beam"], "beam_width": ["beam"],
    "num_return_sequences": ["n_best"], "do_sample": ["sample true"], "max_new_tokens": ["eval_len"],
    "max_length": ["eval_len", "seq_len"], "max_seq_length": ["seq_len"], "max_seq_len": ["seq_len"],
    "block_size": ["seq_len"], "min_new_tokens": ["min_length"], "no_repeat_ngram": ["no_repeat_ngram_size"],
    "seed": ["random_seed"], "learning_rate": ["lr"], "batch_size": ["train_batch_size"],
    "per_device_train_batch_size": ["train_batch_size"], "per_device_eval_batch_size": ["valid_batch_size"],
    "eval_batch_size": ["valid_batch_size", "batch_size"], "gradient_accumulation_steps": ["grad_acc"],
    "accumulation_steps": ["grad_acc"], "max_grad_norm": ["grad_clip"], "warmup_steps": ["warmup_step"],
    "warmup_ratio": ["warmup_step"], "max_steps": ["max_step"], "num_train_epochs": ["max_epoch"],
    "epochs": ["max_epoch"], "num_epochs": ["max_epoch"], "label_smoothing": ["label_smooth"],
    "label_smoothing_factor": ["label_smooth"], "lr_scheduler_type": ["scheduler"], "optim": ["optimizer"],
    "logging_steps": ["log_interval"], "eval_steps": ["eval_interval"], "save_steps": ["save_interval"],
    "save_total_limit": ["keep_last"], "bf16": ["dtype bf16"], "torch_compile": ["compile"],
    "output_dir": ["work_dir", "out"], "train_file": ["train_data"], "validation_file": ["valid_data"],
    "model_name_or_path": ["init_checkpoint"], "model": ["init_checkpoint"], "base": ["init_checkpoint"],
    "tokenizer_name": ["tokenizer"], "r": ["lora_dim"], "rank": ["lora_dim"], "lora_r": ["lora_dim"],
    "alpha": ["lora_alpha"], "target_modules": ["lora_targets"], "use_rslora": ["lora_scaling rslora"],
    "use_dora": ["lora_variant dora"], "adapter": ["checkpoint"], "adapter_path": ["checkpoint"], "run": ["checkpoint"],
    "tensorboard": ["report_to tensorboard (or none)"], "input": ["data"], "test_data": ["data"], "output": ["out"],
}  # fmt: skip
"""Fields that have another name here: where nothing given has that name either, nothing is said."""
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
_LARGEST = 2**53
_LONGEST_SHOWN = 60


def renamed(name: str, known: Collection[str]) -> str:
    """What a field with another name elsewhere is called here, such as `lr` or `dtype bf16`; empty if nothing."""
    targets = (target for target in RENAMED.get(name.replace("-", "_"), []) if target.partition(" ")[0] in known)
    return next(targets, "")


def did_you_mean(word: str, words: Collection[str], prefix: str = "", suffix: str = "") -> str:
    """`; did you mean …?` where something is close, else nothing."""
    close = get_close_matches(word, words, n=1)
    return f"; did you mean {prefix}{close[0]}{suffix}?" if close else ""


def one_of(shown: str, allowed: Collection[str], got: str) -> str:
    """The message about a word that is none of those allowed; `shown` is the field as the message spells it."""
    return f"{shown} must be one of {', '.join(allowed)}, got {got}{did_you_mean(got, allowed)}"


def settings_from(
    groups: Sequence[type], given: Mapping[str, Any], skip: Collection[str] = (), also: Collection[str] = ()
) -> list[Any]:
    """An instance of each dataclass, from values by field.

    Args:
        groups: dataclasses without a common field.
        given: field → value; `bool`, whole numbers, numbers, paths and lists where a flag takes their like.
        skip: fields that can't be given.
        also: names the caller takes besides, for what is said about unknown ones.

    Raises:
        InputError: an unknown or missing field, a value of another type, or a problem a dataclass found.
    """
    known = {field.name: field for group in groups for field in fields(group) if field.init and field.name not in skip}
    if unknown := [_unknown(name, [*known, *also]) for name in given if name not in known]:
        raise InputError("; ".join(unknown))
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [f"`{name}`" for name in required if name not in given]:
        raise InputError(f"the following fields are required: {', '.join(missing)}")
    instances = []
    for group in groups:
        hints = get_type_hints(group)
        values = {}
        for field in fields(group):
            if field.name in known and field.name in given:
                values[field.name] = _converted(field.name, given[field.name], hints[field.name])
                check_value(field, values[field.name])
        instances.append(group(**values))
    return instances


def signature_of(groups: Sequence[type], returns: object, *first: inspect.Parameter) -> inspect.Signature:
    """A signature with every field by name, which a notebook shows and completes.

    Args:
        groups: the dataclasses.
        returns: the return annotation.
        first: parameters before the fields; a field of such a name is left out.
    """
    taken = {parameter.name for parameter in first}
    parameters = list(first)
    for field in (field for group in groups for field in fields(group) if field.init and field.name not in taken):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        shown = inspect.Parameter.empty if default is MISSING else default
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=field.type)
        )
    return inspect.Signature(parameters, return_annotation=returns)


def check_value(field: Field[Any], value: Any) -> None:
    """Refuse whole numbers that no tensor's size and no counter is, before they overflow somewhere; and no number."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InputError(f"`{field.name}` {str(value)[:24]}… is out of range; whole numbers go up to {_LARGEST}")
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f"`{field.name}` must be a number, got nan")
    if value is None and "None" not in str(field.type):  # `lr: null` in --config
        raise InputError(f"`{field.name}` must have a value; leave it out for the default")


def _unknown(name: str, known: Collection[str]) -> str:
    if target := renamed(name, known):
        field, _, value = target.partition(" ")
        return f"{name} is `{field}`{f' {value}' if value else ''} here"
    return f"no field {name}{did_you_mean(name, known, '`', '`')}"


def _converted(name: str, value: Any, hint: Any) -> Any:
    """A value as a field of that type holds it.

    Raises:
        InputError: it is of another kind.
    """
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = [word for option in options if get_origin(option) is Literal for word in get_args(option)]
    plain = [get_origin(option) or option for option in options if get_origin(option) is not Literal]
    if value is None or any(isinstance(value, str) and value == word for word in words):
        return value
    if isinstance(value, bool):
        if bool in plain:
            return value
        if str(value).lower() in words:
            return str(value).lower()
    elif isinstance(value, Integral) and (int in plain or float in plain):
        return int(value) if int in plain else float(value)
    elif isinstance(value, Real) and float in plain:
        return float(value)
    elif bool in plain and value in ("true", "false"):
        return value == "true"
    elif isinstance(value, str | os.PathLike) and str in plain:
        return os.fspath(value)
    elif str in plain and isinstance(value, list | tuple):  # as the command line has it: separated by commas
        return ",".join(str(part) for part in value)
    got = str(value)[:_LONGEST_SHOWN]
    if words and bool not in plain:
        raise InputError(one_of(f"`{name}`", words, got))
    kinds = [KINDS.get(option.__name__, option.__name__) for option in plain if option is not NoneType]
    raise InputError(f"`{name}` must be {kinds[-1] if kinds else 'another'}, got {got}")
