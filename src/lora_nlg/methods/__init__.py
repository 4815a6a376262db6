"""Tuning methods: one file each, named as `--method` names it, under one contract (`method.py`).

To add one, write `methods/NAME.py` with one subclass of `Method` whose `name` is NAME. Nothing else has to know it:
its fields become flags, its values go into adapter files and snapshots, and it trains, decodes, resumes and converts as
the others do. docs/methods.md has a complete example. Outside the package, the file may be in a folder that the
environment variable LORA_NLG_METHODS names.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

from lora_nlg.errors import InputError
from lora_nlg.methods.lora import LoRA, LoRASettings
from lora_nlg.methods.method import Method, differences, is_plain, own_state, prepare, without_method

__all__ = [
    "METHODS",
    "LoRA",
    "LoRASettings",
    "Method",
    "differences",
    "is_plain",
    "method_named",
    "own_state",
    "prepare",
    "without_method",
]

# Folders of methods that are not ours: their files are found as those here are.
__path__.extend(filter(None, os.environ.get("LORA_NLG_METHODS", "").split(os.pathsep)))


def _found() -> dict[str, type[Method]]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        content = vars(importlib.import_module(f"{__name__}.{module.name}"))
        for value in content.values():
            own = (
                isinstance(value, type)
                and issubclass(value, Method)
                and value.__module__ == f"{__name__}.{module.name}"
            )
            if own and value is not Method:
                found[value.name] = value
    return found


METHODS: dict[str, type[Method]] = _found()
"""Every method by name."""


def method_named(name: str) -> type[Method]:
    """A method by the name of its file.

    Raises:
        InputError: there is none of this name.
    """
    if name not in METHODS:
        raise InputError(f"`method` must be one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]
