"""What is wrong with a command line, in words a person can act on: near flags, the predecessor's, allowed values."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

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
    "input": ["data"], "test_data": ["data"], "output": ["out"],
}  # fmt: skip
"""Flags that have another name here: where a command has none of the names, nothing is said."""
_NEEDLESS = {"platform", "local_rank", "rank", "world_size"}
"""The predecessor's flags on how processes are started; `torchrun` says that now."""
_IN_THE_RUN = {"lora_dim", "lora_alpha", "model_card"}
"""What the predecessor's decoder has to be told; here the run knows."""
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def explain(message: str, flags: Collection[str], positionals: Collection[str] = ()) -> str:
    """The parser's message, reworded where it speaks of Python types, bare names or unknown flags.

    Args:
        message: on one line.
        flags: the command's flags, without dashes.
        positionals: names of its other arguments.
    """

    def shown(name: str) -> str:
        return name if name in positionals else f"--{name}"

    if match := re.fullmatch(r"unrecognized arguments: (.*)", message):
        unknown = [word for word in match[1].split() if re.match(r"--?[A-Za-z]", word)]
        if not unknown:
            return f"{match[1]!r} is one word too many; a flag needs its dashes, a text with blanks its quotes"
        return "; ".join(_unknown(word.partition("=")[0], flags) for word in unknown)
    if match := re.fullmatch(r"Option '(\S+)' is not accepted", message):
        return f"in --config, {_unknown(f'--{match[1]}', flags)}"
    if match := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"the following arguments are required: {', '.join(shown(name) for name in match[1].split(', '))}"
    if match := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message):
        return _one_of(match[1], match[3], match[2])
    if match := re.fullmatch(r'Parser key "(\S+)": (.*)', message):
        name, problem = shown(match[1]), match[2]
        got = re.search(r"(?:Got|Given) value: (.*?)$", problem)
        if got and (literal := re.search(r"typing\.Literal\[([^]]*)\]", problem)):
            return _one_of(name, literal[1], got[1])
        if got and (kind := re.search(r"<class '(int|float|bool)'>", problem)):
            return f"{name} must be {_KINDS[kind[1]]}, got {got[1]}"
        return f"{name}: {problem}"
    return message


def _one_of(name: str, quoted: str, got: str) -> str:
    allowed = re.findall(r"'([^']*)'", quoted)
    return f"{name} must be one of {', '.join(allowed)}, got {got}{did_you_mean(got, allowed)}"


def _unknown(flag: str, flags: Collection[str]) -> str:
    name = flag.lstrip("-")
    for renamed in RENAMED.get(name.replace("-", "_"), []):
        if renamed.partition(" ")[0] in flags:
            return f"{flag} is --{renamed} here"
    if name.replace("-", "_") in flags:
        return f"{flag} is --{name.replace('-', '_')} here"
    if name in _NEEDLESS:
        return f"no flag {flag}: leave it out; start several processes with torchrun, and pick the device with --device"
    if name in _IN_THE_RUN and "checkpoint" in flags:
        return f"no flag {flag}: it is read from the run; leave it out"
    return f"no flag {flag}{did_you_mean(name, flags, '--')}"


def did_you_mean(word: str, words: Collection[str], prefix: str = "") -> str:
    """`; did you mean …?` where something is close, else nothing."""
    close = get_close_matches(word, words, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
