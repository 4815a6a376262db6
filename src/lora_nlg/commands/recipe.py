"""`lora-nlg recipe CORPUS [PART …]`: a corpus's recipe, or parts of it, as the scripts pass them on.

`lora-nlg recipe methods` shows the tuning methods' presets alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.errors import InputError
from lora_nlg.recipes import DEFAULT, METHODS, Recipe, as_flags, load_methods, load_recipe


@dataclass(frozen=True)
class RecipeArguments:
    """Which way to run the corpus."""

    variant: str = DEFAULT
    """A variant of the recipe, such as paper or readme."""
    model: str | None = None
    """Model card of the base, for values that depend on it."""
    preset: str | None = None
    """A tuning method of scripts/recipes/methods.yaml in place of LoRA."""


def main(argv: Sequence[str]) -> int:
    """Print the recipe; returns the exit status."""
    parsed = parse_arguments(
        "recipe",
        "Show what the scripts do with a corpus: the whole recipe as YAML, sections as flags, or single values.",
        argv,
        RecipeArguments,
        positionals={
            "corpus": {"type": str, "help": "A file of scripts/recipes, without .yaml; or methods."},
            "part": {"nargs": "*", "help": "Sections (train) or values (global_batch, train.lr). Default: everything."},
        },
    )
    arguments: RecipeArguments = parsed.groups[0]
    corpus = parsed.positionals["corpus"]
    if corpus == METHODS:
        recipe = load_methods(arguments.model)
    else:
        recipe = load_recipe(corpus, arguments.variant, arguments.model, arguments.preset)
    parts = parsed.positionals["part"]
    if parts:
        print(" ".join(word for part in parts for word in _words(recipe, part)))
    else:
        print(yaml.safe_dump(recipe, sort_keys=False), end="")
    return 0


def _words(recipe: Recipe, part: str) -> list[str]:
    value: object = recipe
    for name in part.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"the recipe has no {part}; its parts are {', '.join(recipe)}, and SECTION.FLAG")
        value = value[name]
    if isinstance(value, list):
        return [str(one) for one in value]
    return as_flags(value) if isinstance(value, dict) else [str(value)]
