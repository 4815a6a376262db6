"""What a method says of its counterpart in PEFT: every option of `adapter_config.json` as data, typed values of them.

PEFT's configurations have options that change what an adapter computes without a trace in its tensors. So nothing is
ignored: an option is read, is known to leave the arithmetic alone, or stands at its default. Any other is refused by
name, one of a newer PEFT too. Patterns over module names are matched in bounded time or refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2.targets import C_ATTN, LAYERS

READ = ("peft_type", "task_type", "base_model_name_or_path")
"""Options of every PEFT adapter that are read."""
HARMLESS = ("auto_mapping", "peft_version", "revision", "inference_mode")
"""Options of every PEFT adapter that only say where it is from."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of the base's modules in its files."""
MERGE = "merge it in PEFT (merge_and_unload)"
_LONGEST_PATTERN, _MOST_BRANCHES = 200, 4
_ATOM = r"(?:\\[.dw_/-]|[\w.-]|\[[\w^-]+\])"
_SIMPLE_PATTERN = re.compile(rf"\^?(?:{_ATOM}[*+?]?\??|\((?:\?:)?{_ATOM}+(?:\|{_ATOM}+)*\))*\$?")


@dataclass(frozen=True)
class PeftOptions:
    """How the options of one kind of PEFT adapter are taken.

    Attributes:
        peft_type: the kind, as `adapter_config.json` names it.
        title: what computes the adapter here, for messages.
        read: its options that are read, beside `READ`.
        harmless: its options of no effect on what a saved adapter computes, beside `HARMLESS`.
        defaults: options that change what is computed, and PEFT's default: nothing else is taken.
        advice: what to do about another value.
    """

    peft_type: str
    title: str
    read: Sequence[str]
    harmless: Sequence[str]
    defaults: Mapping[str, Any]
    advice: str = MERGE

    def reader(self, config: Any, source: str) -> OptionReader:
        """Typed values of a configuration of this kind.

        Args:
            config: the value of `adapter_config.json`.
            source: where it is from, for messages.

        Raises:
            InputError: it is of another kind.
        """
        if not isinstance(config, dict):
            raise InputError(f"{source} is not a PEFT adapter's configuration: it is no JSON object")
        if config.get("peft_type") != self.peft_type:
            raise InputError(f"{source} is a PEFT adapter of type {config.get('peft_type')}, not {self.peft_type}")
        return OptionReader(config, source, self)


class OptionReader:
    """Typed values of a configuration; see `PeftOptions.reader`."""

    def __init__(self, config: Mapping[str, Any], source: str, options: PeftOptions) -> None:
        self.config, self.source, self.options = config, source, options

    def other_arithmetic(self) -> list[str]:
        """Options with which something else is computed, and their values."""
        wrong, defaults = [], self.options.defaults
        known = {*READ, *HARMLESS, *self.options.read, *self.options.harmless}
        for name, value in self.config.items():
            if name in defaults:
                off = value is None or (type(value) is type(defaults[name]) and value == defaults[name])
                off = off or (name == "modules_to_save" and value == [])
            else:  # an option of a newer PEFT is off where it says nothing
                off = name in known or value is None or value is False or value in ([], {}, "")
            if not off:
                wrong.append(f"{name} = {shown(value)}")
        if (task := self.config.get("task_type")) not in (None, "CAUSAL_LM"):
            wrong.append(f"task_type = {shown(task)}")
        return wrong

    def stop_at(self, wrong: Sequence[str], advice: str = "") -> None:
        """Stop if there are options with which something else is computed.

        Raises:
            InputError: there are; they are named.
        """
        if wrong:
            raise InputError(
                f"{self.source} says {'; '.join(wrong[:6])}{'; …' if len(wrong) > 6 else ''}, which "
                f"{self.options.title} doesn't compute; {advice or self.options.advice}"
            )

    def refuse(self, name: str, value: Any, wanted: str) -> InputError:
        """The error for an option that must be something else than it is."""
        return InputError(f"{self.source}: {name} must be {wanted}, got {shown(value)}")

    def rank(self, name: str, value: Any) -> int:
        """The value of an option, if it is a rank."""
        if type(value) is not int or value < 1:
            raise self.refuse(name, value, "a whole number of at least 1")
        return int(value)

    def positive(self, name: str, value: Any) -> float:
        """The value of an option, if it is a positive number."""
        if type(value) not in (int, float) or not 0 < value < 1e30:
            raise self.refuse(name, value, "a positive number")
        return float(value)

    def dropout(self, name: str) -> float:
        """A dropout. Default: 0."""
        value = self.config.get(name, 0.0)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self.refuse(name, value, "a number from 0 to below 1")
        return float(value)

    def truth(self, name: str) -> bool:
        """An option that is true or false. Default: false."""
        value = self.config.get(name, False)
        if not isinstance(value, bool):
            raise self.refuse(name, value, "true or false")
        return value

    def patterns(self, name: str) -> dict[str, Any]:
        """An option of patterns of module names, each checked. Default: none."""
        value = self.config.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(name, value, "an object of patterns")
        for pattern in value:
            self.check_pattern(name, pattern)
        return value

    def names(self, name: str) -> Sequence[str] | str | None:
        """An option that names modules, by a checked pattern or in a list."""
        value = self.config.get(name)
        if isinstance(value, str) and value != "all-linear":
            self.check_pattern(name, value)
        elif isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise self.refuse(name, value, "a list of module names")
        elif value is not None and not isinstance(value, str):
            raise self.refuse(name, value, "a list of module names or a pattern")
        return value

    def check_pattern(self, name: str, pattern: str) -> None:
        """Refuse a pattern that could take long: what backtracks is bounded by its length and number of branches."""
        branches = len(re.findall(r"(?<!\\)[*+?(]", pattern.replace("(?:", "(")))
        fits = len(pattern) <= _LONGEST_PATTERN and branches <= _MOST_BRANCHES
        try:
            if fits and _SIMPLE_PATTERN.fullmatch(pattern):
                re.compile(pattern)
                return
        except re.error:
            pass
        raise self.refuse(
            name,
            pattern,
            f"of names and simple patterns (at most {_MOST_BRANCHES} of *, + and groups; none in another)",
        )


def adapts(
    module: str, targets: Sequence[str] | str | None, excluded: Sequence[str] | str | None, default: Sequence[str]
) -> bool:
    """Whether PEFT gives a module of a GPT-2 an adapter.

    Args:
        module: its name.
        targets, excluded: `target_modules` and `exclude_modules`, as `OptionReader.names` gives them.
        default: what PEFT takes where `targets` is None.
    """
    if excluded and names_module(excluded, module):
        return False
    if targets == "all-linear":
        return module.endswith((C_ATTN, *LAYERS.values()))
    return names_module(default if targets is None else targets, module)


def names_module(names: Sequence[str] | str, module: str) -> bool:
    """Whether an option names a module: by the end of its name in a list, or by a pattern over whole names."""
    # PEFT's own rule (peft.tuners.tuners_utils.check_target_module_exists)
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def check_modules(held: Collection[str], is_adapted: Callable[[str], bool], source: str) -> None:
    """Compare what PEFT would adapt with what a file holds.

    Args:
        held: modules a file has tensors of.
        is_adapted: whether PEFT would adapt a module; see `adapts`.
        source: where both are from, for messages.

    Raises:
        InputError: PEFT would ignore a tensor of the file, or draw one it lacks.
    """
    for module in held:
        if not is_adapted(module):
            raise InputError(f"{source} holds an update of {module}, which its target_modules don't name")
    blocks = sorted({match[1] for module in held if (match := re.match(r"transformer\.h\.(\d+)\.", module))})
    possible = ["transformer.wte", "transformer.wpe", "lm_head"]
    possible += [f"transformer.h.{block}.{leaf}" for block in blocks for leaf in (C_ATTN, *LAYERS.values())]
    if absent := [module for module in possible if module not in held and is_adapted(module)]:
        raise InputError(f"{source} lacks {absent[0]}, which its target_modules name")


def module_tensors(tensors: Mapping[str, Tensor], leaves: Sequence[str], source: str) -> dict[str, list[Tensor]]:
    """The tensors of a PEFT file by module of the base: for each the leaves asked for, in their order.

    Raises:
        InputError: another name, or a module that lacks one of them.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.removeprefix(PREFIX).rpartition(".")
        if not name.startswith(PREFIX) or leaf not in leaves:
            raise InputError(f"{source}: {name} is no tensor of such an adapter")
        found.setdefault(module, {})[leaf] = tensor
    for module, own in found.items():
        if absent := [leaf for leaf in leaves if leaf not in own]:
            raise InputError(f"{source}: {absent[0]} of {module} is missing")
    return {module: [own[leaf] for leaf in leaves] for module, own in found.items()}


def shown(value: Any) -> str:
    """A value, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
