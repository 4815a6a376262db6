"""The paper's GPT-2 hyper-parameters for each corpus, and how a run differs from them.

Source: Hu et al. 2021 (https://arxiv.org/abs/2106.09685), table 11; Adam's ε, β₂ and the sequence length from the code
the authors released with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_nlg.errors import InputError

COMMON = {
    "lora_dim": 4,
    "lora_alpha": 32.0,
    "lora_targets": "q,v",
    "optimizer": "adamw",
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-6,
    "lr": 2e-4,
    "scheduler": "linear",
    "warmup_step": 500,
    "max_epoch": 5,
    "seq_len": 512,
    "global_batch": 8,
    "grad_clip": 0.0,
    "obj": "clm",
}

PAPER: dict[str, dict[str, object]] = {
    "e2e": {**COMMON, "weight_decay": 0.01, "lora_dropout": 0.1, "label_smooth": 0.1},
    "webnlg": {**COMMON, "weight_decay": 0.01, "lora_dropout": 0.1, "label_smooth": 0.1},
    "dart": {**COMMON, "weight_decay": 0.0, "lora_dropout": 0.0, "label_smooth": 0.0},
}
"""Corpus → training flag → the paper's value."""


def recipe_diff(corpus: str, run: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Where a run departs from the paper's row.

    Args:
        corpus: `e2e`, `webnlg` or `dart`.
        run: flag → value, as the run resolved them; flags the paper says nothing of are ignored.

    Returns:
        (flag, the paper's value, the run's value) for each difference, in the paper's order.

    Raises:
        InputError: another corpus, or the run lacks a flag the paper's row has.
    """
    if corpus not in PAPER:
        raise InputError(f"the paper has no row for {corpus!r}; choose from {', '.join(PAPER)}")
    row = PAPER[corpus]
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
