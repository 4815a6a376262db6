"""Dataclasses become flags: one flat `--name` a field, help from the field's docstring, `--config FILE` to replay.

Every command is a module of this package with `main(argv)`. It calls `parse_arguments` with its dataclasses and
gets their instances back (library: jsonargparse). A room's own settings class can be such a dataclass.

Rooms below `commands/` know no flags: in what they raise, a field or parameter is a word in backticks, "`beam` must be
at least 1". `naming_flags`, around a command's `main`, turns it into `--beam`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader, set_parsing_settings

from lora_nlg.api.fields import check_value
from lora_nlg.commands.usage_errors import explain
from lora_nlg.errors import InputError
from lora_nlg.files import LONGEST_VALUE, check_yaml

set_parsing_settings(docstring_parse_attribute_docstrings=True)
_load_yaml = get_loader("yaml")


def _bounded_yaml(text: str) -> Any:
    """jsonargparse's own reading of a `--config` file, made harmless.

    A flag's value is YAML to it as well, read by another way; its length is bounded, so the depth is.
    """
    check_yaml(text, "this")
    return _load_yaml(text)


set_loader("yaml", _bounded_yaml, (yaml.YAMLError, ValueError))
_FLAGS = {"base": "init_checkpoint", "tokenize": "tokenise"}
"""Fields whose flag has another name."""


def with_flags(text: str) -> str:
    """A message of the rooms below with `field` turned into --field."""
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda match: f"--{_FLAGS.get(match[1], match[1])}", text)


@contextmanager
def naming_flags() -> Iterator[None]:
    """Within it, also as a decorator, `with_flags` is applied to the message of an `InputError` on its way out."""
    try:
        yield
    except InputError as error:
        error.args = (with_flags(str(error)),)
        raise


class Parsed(NamedTuple):
    """What a command line said: an instance of each dataclass asked for, in order; the positional arguments by name."""

    groups: list[Any]
    positionals: dict[str, Any]


def parse_arguments(
    command: str,
    description: str,
    argv: Sequence[str],
    *groups: type,
    positionals: dict[str, dict[str, Any]] | None = None,
    skip: Collection[str] = (),
) -> Parsed:
    """Parse a command line into dataclass instances.

    Args:
        command: the command's name, for usage and errors.
        description: what `--help` says first.
        argv: the arguments after the command's name.
        groups: dataclasses; each becomes a titled group of flags (its docstring's first line).
        positionals: name → keyword arguments of `add_argument`.
        skip: fields that get no flag, such as those the command works out; they are left at their defaults.

    Raises:
        InputError: an unknown flag, a missing or malformed value, or a problem a dataclass's
            `__post_init__` found; one line that points to `--help`.
        SystemExit: after `--help` or `--print_config`.
    """
    parser = ArgumentParser(prog=f"lora-nlg {command}", description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of arguments to start from; flags override it.")
    for name, options in (positionals or {}).items():
        parser.add_argument(name, **options)
    for group in groups:
        parser.add_class_arguments(group, skip=set(skip) & {field.name for field in fields(group)})
    hint = f"(see: lora-nlg {command} --help)"
    if long := next((word for word in argv if len(word) > LONGEST_VALUE), None):
        raise InputError(f"{long[:40]}… has {len(long):,} characters; a word may have {LONGEST_VALUE:,} {hint}")
    try:
        spelled = _spell_out_booleans(argv, groups, stray=bool(positionals))
        namespace = parser.parse_args(_gather_lists(spelled, groups))
    except Exception as error:  # jsonargparse raises several kinds, all of them about the command line
        flags = ["config", *(name for group in groups for name in _flags(group, skip))]
        problem = explain(" ".join(str(error).split()), flags, positionals or {})
        raise InputError(f"{problem} {hint}") from None
    instances = []
    for group in groups:
        with naming_flags():
            for field in fields(group):
                if field.init and field.name not in skip:
                    check_value(field, namespace[field.name])
            instances.append(group(**{name: namespace[name] for name in _flags(group, skip)}))
    return Parsed(instances, {name: namespace[name] for name in positionals or {}})


def _flags(group: type, skip: Collection[str]) -> list[str]:
    return [field.name for field in fields(group) if field.init and field.name not in skip]


def _gather_lists(argv: Sequence[str], groups: Sequence[type]) -> list[str]:
    """Turn `--input a b` and `--input a,b` into `--input=["a", "b"]`, as jsonargparse wants lists of strings."""
    lists = [field for group in groups for field in fields(group) if str(field.type) == "list[str]"]
    flags = {f"--{field.name}" for field in lists}
    gathered: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        values: list[str] = []
        while argument in flags and rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        is_json = len(values) == 1 and values[0].startswith("[")
        parts = [part for value in values for part in value.split(",") if part]
        gathered.append(f"{argument}={values[0] if is_json else json.dumps(parts)}" if values else argument)
    return gathered


def _spell_out_booleans(argv: Sequence[str], groups: Sequence[type], stray: bool) -> list[str]:
    """A bare `--flag` of a boolean field, as people type it, becomes `--flag=true`.

    Args:
        argv: the arguments.
        groups: the dataclasses.
        stray: whether a word that is neither true nor false may stand behind it: a positional argument.
    """
    booleans = {f"--{field.name}" for group in groups for field in fields(group) if field.type in (bool, "bool")}
    spelled = []
    for index, word in enumerate(argv):
        value = argv[index + 1].lower() if index + 1 < len(argv) else ""
        bare = value not in {"true", "false"} if stray else not value or value.startswith("--")
        spelled.append(f"{word}=true" if word in booleans and bare else word)
    return spelled
