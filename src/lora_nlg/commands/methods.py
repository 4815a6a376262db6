"""`lora-nlg methods`: what every tuning method trains on a base of a size, by its flags or by the presets compared.

Nothing of the base's size is made; only its shape is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from lora_nlg.api.train_settings import METHOD_SETTINGS
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.files import write_json
from lora_nlg.gpt2 import GPT2, GPT2Config, named_config
from lora_nlg.methods import METHODS, Method, method_named
from lora_nlg.recipes import load_methods, load_recipe
from lora_nlg.weights.base import base_config
from lora_nlg.weights.tensor_files import find_weights


@dataclass(frozen=True)
class MethodsArguments:
    """What to count on, and what to list."""

    model_card: str | None = None
    """Size of the base. Default: gpt2.md, or what --init_checkpoint says."""
    init_checkpoint: str | None = None
    """Count on these GPT-2 weights, which may have another vocabulary than the card."""
    presets: str | None = None
    """e2e, webnlg or dart: list the presets of scripts/recipes/methods.yaml in that corpus's recipe, rather than every
    method with the flags given."""
    json: str | None = None
    """Also write the list to this file."""

    def config(self) -> GPT2Config:
        """The base's shape."""
        if self.init_checkpoint is not None:
            return base_config(find_weights(self.init_checkpoint), self.model_card)
        return named_config(self.model_card or "gpt2.md")


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Print the list; returns the exit status."""
    title = "List the tuning methods: what each trains and keeps on a base of a size. Their flags are train's."
    parsed = parse_arguments("methods", title, argv, MethodsArguments, *METHOD_SETTINGS)
    arguments: MethodsArguments = parsed.groups[0]
    config = arguments.config()
    if arguments.presets is None:
        listed = [
            {"name": name, "title": one.title, **_counts(_set(one, parsed.groups), config)}
            for name, one in METHODS.items()
        ]
    else:
        listed = list(_presets(arguments.presets, arguments.model_card, config))
    base = arguments.model_card or f"{config.n_layer} layers of {config.n_embd}"
    print(f"{base}: {config.n_parameters():,} parameters\n{_table(listed, config)}")
    if arguments.json is not None:
        write_json(arguments.json, {"base": base, "parameters": config.n_parameters(), "methods": listed})
    return 0


def _presets(corpus: str, model: str | None, config: GPT2Config) -> Iterator[dict[str, Any]]:
    for name, preset in load_methods(model)["presets"].items():
        flags = dict(load_recipe(corpus, "paper", model, name)["train"])
        method = method_named(flags.pop("method"))
        own = {key: value for key, value in flags.items() if key in _fields(method)}
        said = {"name": name, "title": preset["title"], "method": method.name, "published": preset["published"]}
        yield {**said, "settings": own, **_counts(method.settings()(**own).method(), config)}


def _fields(method: type[Method]) -> set[str]:
    return {field.name for field in fields(method.settings())}


def _set(method: type[Method], groups: Sequence[Any]) -> Method:
    """The method as its flags describe it."""
    own = method.settings()
    given: Any = next((one for one in groups if isinstance(one, own)), own())
    method_of_flags: Method = given.method()
    return method_of_flags


def _counts(method: Method, config: GPT2Config) -> dict[str, int]:
    """How many parameters train, and how many of what is kept do: a network that only shapes them is dropped."""
    with torch.device("meta"):
        model = GPT2(config)
        method.put_into(model, initialise=False)
    names, kept = method.trained(model), method.stored(model)[0]
    trained = sum(value.numel() for name, value in model.named_parameters() if name in names)
    return {"trained": trained, "kept": trained if kept == method else kept.count(config)}


def _table(listed: Sequence[dict[str, Any]], config: GPT2Config) -> str:
    """A line a method: trained parameters and their share of the base; kept ones where they are fewer."""
    rows = [("method", "trained", "of the base", "kept", "")]
    for one in listed:
        kept = "" if one["kept"] == one["trained"] else f"{one['kept']:,}"
        share = f"{one['trained'] / config.n_parameters():.3%}"
        settings = " ".join(f"--{name} {value}" for name, value in one.get("settings", {}).items())
        rows.append((one["name"], f"{one['trained']:,}", share, kept, f"{one['title']}  {settings}".rstrip()))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    )
