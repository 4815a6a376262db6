"""What a sweep found: one JSON line a member, summaries over seeds, a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, read_jsonl
from lora_nlg.lora.spec import SCALING_RULES

RESULTS, TABLE = "results.jsonl", "table.md"
T_QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t at 97.5% for n values, n − 1 degrees of freedom; beyond ten, 1.96 + 2.4/(n−1) is close enough."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "r": int, "alpha": (int, float), "rule": str, "lr": (int, float), "scaling": (int, float),
    "diverged": bool,
}  # fmt: skip
"""What a result must hold; one that didn't diverge has a loss and the size of its update, too."""
_MEASURED = {"valid_loss": (int, float), "relative_update": (int, float)}

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """The seeds of one setting together.

    Attributes:
        r, alpha, rule, lr: the setting.
        losses: final validation losses of the seeds that didn't diverge.
        diverged: how many did.
        relative_update: mean over seeds.
    """

    r: int
    alpha: float
    rule: str
    lr: float
    losses: tuple[float, ...]
    diverged: int
    relative_update: float

    @property
    def mean(self) -> float:
        """Mean loss; infinite if a seed diverged: such a rate isn't one to choose."""
        return math.inf if self.diverged or not self.losses else sum(self.losses) / len(self.losses)

    @property
    def half_width(self) -> float:
        """Half of the 95% interval of the mean by Student's t; infinite for one seed."""
        return interval(self.losses)


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95% confidence interval of a mean; infinite for fewer than two values."""
    n = len(values)
    if n < 2:
        return math.inf
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return T_QUANTILES.get(n, 1.96 + 2.4 / (n - 1)) * deviation / math.sqrt(n)


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """The finished members of a sweep; none if it hasn't any yet.

    Raises:
        InputError: a line is not a member's result; the message names it.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        return []
    results = []
    for number, value in read_jsonl(path):
        if not _is_result(value):
            raise InputError(f"{path}, line {number}: not a member's result; take the line out to train it again")
        results.append(value)
    return results


def _is_result(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kinds = _KINDS if value.get("diverged") else {**_KINDS, **_MEASURED}
    whole = all(isinstance(value.get(name), kind) for name, kind in kinds.items())
    return whole and value["rule"] in SCALING_RULES and value["r"] >= 1


def cells(results: Iterable[Result]) -> list[Cell]:
    """Results of equal setting together, in the order of rule, alpha, rank and rate."""
    groups: dict[tuple[str, float, int, float], list[Result]] = {}
    for result in results:
        groups.setdefault((result["rule"], result["alpha"], result["r"], result["lr"]), []).append(result)
    found = []
    for (rule, alpha, r, lr), members in sorted(groups.items()):
        kept = [member for member in members if not member["diverged"]]
        update = sum(member["relative_update"] for member in kept) / len(kept) if kept else math.nan
        losses = tuple(member["valid_loss"] for member in kept)
        found.append(Cell(r, alpha, rule, lr, losses, len(members) - len(kept), update))
    return found


def families(found: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by how their scaling is chosen: a fixed alpha, a multiple of the rank, or none.

    A cell may be in two: with ranks 4 and 16, alpha = 32 at rank 16 belongs to `α = 32` and to `α = 2r`. A choice
    that doesn't cover all ranks of the sweep is left out, unless it would leave a cell without a family.
    """
    ranks = {cell.r for cell in found}
    choices: dict[str, list[Cell]] = {}
    for cell in found:
        if cell.rule == "none":
            choices.setdefault("no scaling", []).append(cell)
            continue
        choices.setdefault(f"{_symbol(cell.rule)}, α = {cell.alpha:g}", []).append(cell)
        if len(ranks) > 1:
            choices.setdefault(f"{_symbol(cell.rule)}, α = {cell.alpha / cell.r:g}r", []).append(cell)
    whole = {label: group for label, group in choices.items() if {cell.r for cell in group} == ranks}
    placed = {id(cell) for group in whole.values() for cell in group}
    for label, group in choices.items():
        if label not in whole and any(id(cell) not in placed for cell in group):
            whole[label] = group
            placed |= {id(cell) for cell in group}
    return whole


def _symbol(rule: str) -> str:
    return {"alpha/r": "α/r", "rslora": "α/√r"}[rule]


def best_rates(group: Sequence[Cell]) -> dict[int, Cell]:
    """For each rank of a family, the rate with the lowest mean loss."""
    best: dict[int, Cell] = {}
    for cell in sorted(group, key=lambda cell: (cell.r, cell.lr)):
        if math.isfinite(cell.mean) and (cell.r not in best or cell.mean < best[cell.r].mean):
            best[cell.r] = cell
    return best


def table(results: Iterable[Result]) -> str:
    """Markdown: for each family and rank the best rate, its loss with a 95% interval, and the size of its update."""
    lines = [
        "| scaling | rank | α | scale | best lr | validation loss (95%) | seeds | ‖ΔW‖/‖W‖ | loss at the other rates |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    found = cells(results)
    scales = {(result["rule"], result["alpha"], result["r"]): result["scaling"] for result in results}
    for label, group in families(found).items():
        for r, cell in best_rates(group).items():
            others = [other for other in group if other.r == r and other is not cell]
            rest = ", ".join(f"{other.lr:g}: {other.mean:.3f}" for other in sorted(others, key=lambda c: c.lr))
            spread = f" ± {cell.half_width:.3f}" if math.isfinite(cell.half_width) else ""
            lines.append(
                f"| {label} | {r} | {cell.alpha:g} | {scales[cell.rule, cell.alpha, r]:.3g} | {cell.lr:g} | "
                f"{cell.mean:.3f}{spread} | {len(cell.losses)} | {cell.relative_update:.3f} | {rest} |"
            )
    return "\n".join(lines) + "\n"


def write_table(folder: str | Path, results: Sequence[Result]) -> Path:
    """Write `table.md`. Returns its path."""
    path = Path(folder) / TABLE
    with atomic_write(path) as file:
        file.write(table(results))
    return path
