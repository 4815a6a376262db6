"""The members of a sweep: every combination of rank, alpha, learning rate, scaling rule and seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.lora import LoRASpec


@dataclass(frozen=True, order=True)
class Member:
    """One adapter of a sweep.

    Attributes:
        r: rank.
        alpha: numerator of the scaling.
        rule: `alpha/r`, `rslora` or `none`.
        lr: peak learning rate.
        seed: decides initialisation, order and dropout.
    """

    r: int
    alpha: float
    rule: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """A folder name that says everything, e.g. `r4-alpha128-alpha_r-lr0.001-seed1`."""
        return f"r{self.r}-alpha{self.alpha:g}-{self.rule.replace('/', '_')}-lr{self.lr:g}-seed{self.seed}"

    def spec(self, dropout: float = 0.0) -> LoRASpec:
        """How each target is adapted."""
        return LoRASpec(self.r, self.alpha, dropout, self.rule)

    def to_json(self) -> dict[str, Any]:
        """Its values and the scaling they give."""
        return {**asdict(self), "scaling": self.spec().scaling}


def expand_grid(
    ranks: Sequence[int], alphas: Sequence[str], rules: Sequence[str], rates: Sequence[float], seeds: Sequence[int]
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
    ):
        if not values:
            raise InputError(f"`{name}`: the grid needs at least one value")
    if bad := [rate for rate in rates if not 0 < rate < float("inf")]:
        raise InputError(f"`lr`: learning rates must be above 0, got {bad[0]}")
    if wrong := [seed for seed in seeds if not 0 <= seed < 2**63]:
        raise InputError(f"`random_seed`: seeds must be at least 0 and below 2^63, got {wrong[0]}")
    members = {
        Member(r, 1.0 if rule == "none" else _alpha(alpha, r), rule, rate, seed)
        for r, alpha, rule, rate, seed in itertools.product(ranks, alphas, rules, rates, seeds)
    }
    for member in members:
        member.spec()  # checks the values
    return sorted(members)


def _alpha(text: str, r: int) -> float:
    multiple = text.strip().removesuffix("r")
    try:
        value = float(multiple or 1)
    except ValueError:
        raise InputError(f"`lora_alpha`: {text!r} is neither a number nor a multiple of the rank such as 2r") from None
    return value * r if text.strip().endswith("r") else value
