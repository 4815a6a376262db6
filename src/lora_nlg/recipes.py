"""Recipes: one YAML file a corpus, `scripts/recipes/CORPUS.yaml`, with every value its scripts pass on.

A file holds sections (`train`, `decode`, …: flag → value), single values, and two kinds of overlay on them: `models`,
for the base they name, and `variants`, other ways to run the corpus, with overlays for models of their own. The variant
`paper` is the row of Hu et al. 2021 (https://arxiv.org/abs/2106.09685), table 11, that a run is compared with.

`methods.yaml` holds the tuning methods that scripts/methods.sh compares: a preset each, put into a corpus's recipe in
place of LoRA's flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.files import read_yaml

VALUES = ("scorer", "checkpoint", "global_batch")
"""What is no flag: the script that scores, the adapter to decode, the examples of one optimiser step."""
SECTIONS = ("prepare", "train", "run", "decode", "eval")
"""Flags of a command; `run` goes to train as `train` does, but is not compared with the paper."""
DEFAULT = "default"
"""The variant that is none: the file's own values."""
METHODS = "methods"
"""The file of the methods' presets."""
PRESET = {"title": str, "published": list, "train": dict, "grid": list}
"""What a preset holds, beside overlays for models: what it is called, the published rows of the same method, the flags
that choose and size it, and the learning rates tried."""
_PLACE = Path("scripts", "recipes")

Recipe = dict[str, Any]


def recipe_folder() -> Path:
    """Where the recipes are: under the working directory, else in the repository this package is part of.

    Raises:
        InputError: neither is lora-nlg's repository, as where the package is installed alone.
    """
    for root in (Path(), Path(__file__).parents[2]):
        if (root / _PLACE).is_dir():
            return root / _PLACE
    raise InputError(f"no folder {_PLACE} here: the recipes are part of lora-nlg's repository; run this from a clone")


def recipe_names() -> list[str]:
    """The corpora that have a recipe."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml") if path.stem != METHODS)


def load_methods(model: str | None = None) -> Recipe:
    """The methods to compare, with their overlays for a model applied.

    Args:
        model: model card of the base; one without an overlay changes nothing. Default: none.

    Returns:
        `compared`: the presets' names that are compared unless told otherwise; `rate_search` and `short`: flags of
        `train`; `presets`: name → what `PRESET` lists.

    Raises:
        InputError: the file is not what the module's docstring says.
    """
    path = recipe_folder() / f"{METHODS}.yaml"
    content = _mapping(read_yaml(path), path, "the file")
    if content.keys() != {"compared", "rate_search", "short", "presets"}:
        raise InputError(f"{path} must hold compared, rate_search, short, presets and nothing else")
    for name, preset in _mapping(content["presets"], path, "presets").items():
        _mapping(preset, path, name)
        models = _mapping(preset.pop("models", {}), path, f"the models of {name}")
        kinds = {key: type(value) for key, value in preset.items()}
        if kinds != PRESET or "method" not in preset["train"]:
            raise InputError(f"{path}: {name} must hold {', '.join(PRESET)}, with the method in its train")
        _apply(_mapping(models.get(model, {}), path, f"the overlay for {model}"), preset, path)
    return dict(content)


def load_recipe(corpus: str, variant: str = DEFAULT, model: str | None = None, preset: str | None = None) -> Recipe:
    """A corpus's recipe with its overlays applied: the model's, the variant's, the variant's for the model.

    Args:
        corpus: a recipe's name.
        variant: one of the file's, or `default`.
        model: model card of the base; one without an overlay changes nothing. Default: none.
        preset: a tuning method of `methods.yaml`, which takes LoRA's place. Default: none.

    Returns:
        Each of `VALUES` → its value, each of `SECTIONS` → its flags.

    Raises:
        InputError: no such recipe, variant or preset, or the file is not what the module's docstring says.
    """
    if corpus not in recipe_names():
        raise InputError(f"no recipe {corpus!r} in {recipe_folder()}; choose from {', '.join(recipe_names())}")
    path = recipe_folder() / f"{corpus}.yaml"
    content = read_yaml(path)
    expected = {*VALUES, *SECTIONS, "models", "variants"}
    if not isinstance(content, dict) or content.keys() != expected:
        raise InputError(f"{path} must hold {', '.join(sorted(expected))} and nothing else")
    for section in SECTIONS:
        _mapping(content[section], path, section)
    models, variants = (_mapping(content.pop(name), path, name) for name in ("models", "variants"))
    if variant not in (DEFAULT, *variants):
        raise InputError(f"{path} has no variant {variant!r}; choose from {', '.join([DEFAULT, *variants])}")
    chosen = dict(_mapping(variants.get(variant, {}), path, variant))
    variant_models = _mapping(chosen.pop("models", {}), path, f"the models of {variant}")
    for overlay in (models.get(model, {}), chosen, variant_models.get(model, {})):
        _apply(_mapping(overlay, path, f"the overlay for {model}"), content, path)
    if preset is not None:
        content["train"] = _with_preset(content["train"], preset, model)
    return content


def _with_preset(train: Mapping[str, Any], name: str, model: str | None) -> dict[str, Any]:
    """A recipe's flags for train with a preset's in them; those of LoRA are left out where it is another method."""
    presets = load_methods(model)["presets"]
    if name not in presets:
        raise InputError(f"no preset {name!r} in {METHODS}.yaml; choose from {', '.join(presets)}")
    flags = presets[name]["train"]
    kept = {flag: value for flag, value in train.items() if flags["method"] == "lora" or not flag.startswith("lora_")}
    return {**kept, **flags}


def _mapping(value: Any, path: Path, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: {what} must hold lines of `name: value`, not {value!r:.60}")
    return value


def _apply(overlay: Mapping[str, Any], values: dict[str, Any], path: Path) -> None:
    """Replace values in place; an overlay replaces what the recipe has and adds nothing, so a slip doesn't pass."""
    for name, value in overlay.items():
        if name not in values or isinstance(value, Mapping) != isinstance(values[name], Mapping):
            raise InputError(f"{path}: an overlay sets {name}, which the recipe itself doesn't have")
        if isinstance(value, Mapping):
            _apply(value, values[name], path)
        else:
            values[name] = value


def as_flags(section: Mapping[str, object]) -> list[str]:
    """A section as words of a command line."""
    words = []
    for name, value in section.items():
        words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def recipe_diff(corpus: str, run: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Where a run departs from the paper's row.

    Args:
        corpus: a recipe's name.
        run: flag → value, as the run resolved them; flags the paper says nothing of are ignored.

    Returns:
        (flag, the paper's value, the run's value) for each difference, in the recipe's order.

    Raises:
        InputError: no such recipe, or the run lacks a flag the paper's row has.
    """
    recipe = load_recipe(corpus, "paper")
    row = {"global_batch": recipe["global_batch"], **recipe["train"]}
    if missing := [name for name in row if name not in run]:
        raise InputError(f"can't compare with the paper's row: the run doesn't say {', '.join(missing)}")
    return [(name, value, run[name]) for name, value in row.items() if not _equal(value, run[name])]


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return abs(one - other) <= 1e-12 * max(abs(one), abs(other))
    return one == other


def render_diff(corpus: str, differences: list[tuple[str, object, object]]) -> str:
    """The difference as lines for a terminal."""
    if not differences:
        return f"This run follows the paper's {corpus} row (Hu et al. 2021, table 11)."
    width = max(len(name) for name, _, _ in differences)
    lines = [f"  {name:<{width}}  paper {paper}  here {here}" for name, paper, here in differences]
    return "\n".join([f"This run differs from the paper's {corpus} row (Hu et al. 2021, table 11):", *lines])
