"""The members of a sweep: every combination of targets, rank, alpha, scaling rule, dropout, learning rate and seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import parse_targets
from lora_nlg.lora import LoRASpec

TARGETS = "q+v"
"""What a member adapts unless told otherwise."""


@dataclass(frozen=True, order=True)
class Member:
    """One adapter of a sweep.

    Attributes:
        r: rank.
        alpha: numerator of the scaling.
        rule: `alpha/r`, `rslora` or `none`.
        lr: peak learning rate.
        seed: decides initialisation, order and dropout.
        targets: what it adapts, such as `q+v`; in the order of `gpt2.targets.TARGETS`.
        dropout: on the input of the low-rank branch.
    """

    r: int
    alpha: float
    rule: str
    lr: float
    seed: int
    targets: str = TARGETS
    dropout: float = 0.0

    @property
    def name(self) -> str:
        """A folder name that says everything, e.g. `q+v-r4-alpha128-alpha_r-lr0.001-seed1`."""
        dropout = f"-dropout{_exact(self.dropout)}" if self.dropout else ""
        update = f"{self.targets}-r{self.r}-alpha{_exact(self.alpha)}-{self.rule.replace('/', '_')}"
        return f"{update}{dropout}-lr{_exact(self.lr)}-seed{self.seed}"

    def specs(self) -> dict[str, LoRASpec]:
        """Target name -> how it is adapted."""
        return dict.fromkeys(self.targets.split("+"), self.spec())

    def spec(self) -> LoRASpec:
        """How each target is adapted."""
        return LoRASpec(self.r, self.alpha, self.dropout, self.rule)

    def to_json(self) -> dict[str, Any]:
        """Its values and the scaling they give."""
        names = ("targets", "r", "alpha", "rule", "dropout", "lr", "seed")
        return {**{name: getattr(self, name) for name in names}, "scaling": self.spec().scaling}


def parse_target_lists(text: str) -> list[str]:
    """The values of `lora_targets` in a sweep: lists separated by commas, the targets of each joined by `+`.

    Example: `q+v,q,v+q` is [`q+v`, `q`]: the third is the first again, in the order of the model.

    Raises:
        InputError: an unknown target, one with a rank of its own, `wte`, or single names alone: `q,v` is one list to
            `train`, and two here.
    """
    lists = [part.strip() for part in text.split(",") if part.strip()]
    if len(lists) > 1 and not any("+" in part for part in lists):
        raise InputError(
            f"`lora_targets` {text}: a sweep's commas separate members; write {'+'.join(lists)} to adapt these "
            "together, or sweep each alone into the same `work_dir`"
        )
    found = []
    for part in lists:
        specs = parse_targets(part.replace("+", ","), LoRASpec())
        if any(spec != LoRASpec() for spec in specs.values()):
            raise InputError("`lora_targets`: in a sweep the grid sets r and alpha; name the targets alone")
        if "wte" in specs:
            raise InputError("a sweep adapts linear layers; leave wte out of `lora_targets`")
        found.append("+".join(specs))
    return list(dict.fromkeys(found))


def expand_grid(
    ranks: Sequence[int],
    alphas: Sequence[str],
    rules: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    targets: Sequence[str] = (TARGETS,),
    dropouts: Sequence[float] = (0.0,),
) -> list[Member]:
    """Every combination, each distinct update once.

    Example: alphas `16` and `2r` with ranks 4 and 8: (4, 16), (4, 8), (8, 16). `none` has no alpha, so its members
    have alpha 1.

    Args:
        ranks: values of r.
        alphas: numbers, or multiples of the rank such as `2r`.
        rules: of `alpha/r`, `rslora`, `none`.
        rates: peak learning rates.
        seeds: random seeds.
        targets: see `parse_target_lists`. Default: `q+v`.
        dropouts: probabilities. Default: none.

    Returns:
        The members, those of equal rank together.

    Raises:
        InputError: an empty list, an alpha that is neither, or a value out of range.
    """
    for name, values in (
        ("lora_dim", ranks),
        ("lora_alpha", alphas),
        ("lora_scaling", rules),
        ("lr", rates),
        ("random_seed", seeds),
        ("lora_targets", targets),
        ("lora_dropout", dropouts),
    ):
        if not values:
            raise InputError(f"`{name}`: the grid needs at least one value")
    if bad := [rate for rate in rates if not 0 < rate < float("inf")]:
        raise InputError(f"`lr`: learning rates must be above 0, got {bad[0]}")
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**63]:
        raise InputError(f"`random_seed`: seeds must be at least 0 and below 2^63, got {wrong[0]}")
    members = {
        Member(r, 1.0 if rule == "none" else _alpha(alpha, r), rule, rate, seed, chosen, dropout)
        for r, alpha, rule, rate, seed, chosen, dropout in itertools.product(
            ranks, alphas, rules, rates, seeds, targets, dropouts
        )
    }
    for member in members:
        member.spec()  # checks the values
    return sorted(members)


def groups_of(members: Sequence[Member], size: int) -> list[list[Member]]:
    """Members that can be trained in one forward pass: at most `size`, of equal targets and dropout.

    Those of the largest rank together, for a group costs what its largest rank does.
    """
    alike: dict[tuple[str, float], list[Member]] = {}
    for member in sorted(members):
        alike.setdefault((member.targets, member.dropout), []).append(member)
    return [group[first : first + size] for group in alike.values() for first in range(0, len(group), size)]


def _exact(value: float) -> str:
    """The shortest text that is this number and no other."""
    return short if float(short := f"{value:g}") == value else repr(value)


def _alpha(text: str, r: int) -> float:
    multiple = text.strip().removesuffix("r")
    try:
        value = float(multiple or 1)
    except ValueError:
        raise InputError(f"`lora_alpha`: {text!r} is neither a number nor a multiple of the rank such as 2r") from None
    return value * r if text.strip().endswith("r") else value
