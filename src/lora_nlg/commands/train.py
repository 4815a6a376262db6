"""`lora-nlg train`: fine-tune GPT-2 with LoRA, or with another `--method`.

Turns flags into settings and hands them to `api.training`, as `lora_nlg.train` does with its arguments. Under
`torchrun` every rank runs this; rank 0 prints and writes. Flags are the predecessor's (microsoft/LoRA, examples/NLG)
where it had them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lora_nlg.api.train_settings import GROUPS, TrainSettings
from lora_nlg.api.training import run_training
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.recipes import recipe_diff, render_diff


@dataclass(frozen=True)
class RecipeArguments:
    """The paper's row."""

    print_recipe_diff: str | None = None
    """e2e, webnlg or dart: only print how this run differs from the paper's row for that corpus."""


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Train. Returns 0 when finished, 130 or 143 after a snapshot on SIGINT or SIGTERM."""
    title = "Fine-tune GPT-2 with LoRA, or another method, on prepared records."
    parsed = parse_arguments("train", title, argv, *GROUPS, RecipeArguments)
    *groups, recipe = parsed.groups
    settings = TrainSettings.of(*groups)
    if corpus := recipe.print_recipe_diff:
        if os.environ.get("RANK", "0") == "0":
            print(render_diff(corpus, recipe_diff(corpus, settings.recipe(int(os.environ.get("WORLD_SIZE", "1"))))))
        return 0
    return run_training(settings).exit_code
