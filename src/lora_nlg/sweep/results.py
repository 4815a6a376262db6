"""What a sweep found: a row a member, summaries over seeds, tables.

A member's row lies in its own run folder, `members/NAME/member.json`, so that processes that share a sweep never write
one file. `results.json` and `results.csv` are all rows together, for people and scripts.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, read_json, write_json
from lora_nlg.lora.spec import SCALING_RULES
from lora_nlg.run_folder import MEMBER

MEMBERS = "members"
RESULTS, RESULTS_TABLE, TABLE = "results.json", "results.csv", "table.md"
COLUMNS = (
    "name", "folder", "targets", "r", "alpha", "rule", "scaling", "dropout", "lr", "seed", "parameters", "diverged",
    "steps", "train_loss", "valid_loss", "best_loss", "best_step", "bleu", "update_norm", "relative_update", "seconds",
)  # fmt: skip
"""The keys of a row, in order; what a member has no value for (one that diverged a loss) is null."""
T_QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t at 97.5% for n values, n − 1 degrees of freedom; beyond ten, 1.96 + 2.4/(n−1) is close enough."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "targets": str, "r": int, "alpha": (int, float), "rule": str, "scaling": (int, float),
    "dropout": (int, float), "lr": (int, float), "diverged": bool, "bleu": (int, float, type(None)),
}  # fmt: skip
"""What a result must hold; one that didn't diverge has a loss and the size of its update, too."""
_MEASURED = {"valid_loss": (int, float), "relative_update": (int, float)}

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """The seeds of one setting together.

    Attributes:
        targets, dropout, r, alpha, rule, lr: the setting.
        losses: final validation losses of the seeds that didn't diverge.
        diverged: how many did.
        relative_update: mean over seeds.
        bleus: BLEU of the seeds that were decoded.
    """

    targets: str
    dropout: float
    r: int
    alpha: float
    rule: str
    lr: float
    losses: tuple[float, ...]
    diverged: int
    relative_update: float
    bleus: tuple[float, ...] = ()

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


def member_folder(folder: str | Path, name: str) -> Path:
    """A member's run folder in a sweep's."""
    return Path(folder) / MEMBERS / name


def write_row(folder: str | Path, row: Result) -> None:
    """Write a member's row: from now on the member is done. What it lacks is null."""
    row = {**row, "folder": f"{MEMBERS}/{row['name']}"}
    write_json(member_folder(folder, row["name"]) / MEMBER, {column: row.get(column) for column in COLUMNS})


def read_row(folder: str | Path, name: str) -> dict[str, Any] | None:
    """A member's row; None if it isn't done.

    Raises:
        InputError: the file holds something else.
    """
    path = member_folder(folder, name) / MEMBER
    if not path.is_file():
        return None
    value = read_json(path)
    if not _is_result(value) or value["name"] != name:
        raise InputError(f"{path}: not a member's result; delete the file to train the member again")
    return {column: value.get(column) for column in COLUMNS}


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """The finished members of a sweep, in the order of their names; none if it hasn't any yet.

    Raises:
        InputError: a file is not a member's result; the message names it.
    """
    names = sorted(path.parent.name for path in (Path(folder) / MEMBERS).glob(f"*/{MEMBER}"))
    return [row for name in names if (row := read_row(folder, name)) is not None]


def write_results(folder: str | Path, results: Sequence[Result]) -> None:
    """Write `results.json` and `results.csv`."""
    write_json(Path(folder) / RESULTS, results)
    with atomic_write(Path(folder) / RESULTS_TABLE) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)


def _is_result(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kinds = _KINDS if value.get("diverged") else {**_KINDS, **_MEASURED}
    whole = all(isinstance(value.get(name), kind) for name, kind in kinds.items())
    return whole and value["rule"] in SCALING_RULES and value["r"] >= 1


def cells(results: Iterable[Result]) -> list[Cell]:
    """Results of equal setting together, in the order of targets, dropout, rule, alpha, rank and rate."""
    groups: dict[tuple[str, float, str, float, int, float], list[Result]] = {}
    for result in results:
        key = tuple(result[name] for name in ("targets", "dropout", "rule", "alpha", "r", "lr"))
        groups.setdefault(key, []).append(result)
    found = []
    for (targets, dropout, rule, alpha, r, lr), members in sorted(groups.items()):
        kept = [member for member in members if not member["diverged"]]
        update = sum(member["relative_update"] for member in kept) / len(kept) if kept else math.nan
        losses = tuple(member["valid_loss"] for member in kept)
        bleus = tuple(member["bleu"] for member in kept if member.get("bleu") is not None)
        found.append(Cell(targets, dropout, r, alpha, rule, lr, losses, len(members) - len(kept), update, bleus))
    return found


def families(found: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by targets, dropout and how their scaling is chosen: a fixed alpha, a multiple of the rank, or none.

    A cell may be in two: with ranks 4 and 16, alpha = 32 at rank 16 belongs to `α = 32` and to `α = 2r`. A choice
    that doesn't cover all ranks of its targets is left out, unless it would leave a cell without a family. Targets and
    dropout are named where a sweep has several.
    """
    settings = sorted({(cell.targets, cell.dropout) for cell in found})
    several = [len({setting[i] for setting in settings}) > 1 for i in (0, 1)]
    named: dict[str, list[Cell]] = {}
    for targets, dropout in settings:
        label = (f"{targets}: " if several[0] else "") + (f"dropout {dropout:g}, " if several[1] else "")
        own = [cell for cell in found if (cell.targets, cell.dropout) == (targets, dropout)]
        named |= {label + scaling: group for scaling, group in _scalings(own).items()}
    return named


def _scalings(found: Sequence[Cell]) -> dict[str, list[Cell]]:
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


def table(results: Sequence[Result]) -> str:
    """Markdown: for each family and rank the best rate, its loss with a 95% interval, and the size of its update.

    BLEU, in percent and with its interval, stands beside the loss where members were decoded.
    """
    decoded = any(result.get("bleu") is not None for result in results)
    bleu = (" BLEU (95%) |", " ---: |") if decoded else ("", "")
    lines = [
        f"| scaling | rank | α | scale | best lr | validation loss (95%) |{bleu[0]} seeds | ‖ΔW‖/‖W‖ | "
        "loss at the other rates |",
        f"| --- | ---: | ---: | ---: | ---: | ---: |{bleu[1]} ---: | ---: | --- |",
    ]
    scales = {(result["rule"], result["alpha"], result["r"]): result["scaling"] for result in results}
    for label, group in families(cells(results)).items():
        for r, cell in best_rates(group).items():
            others = [other for other in group if other.r == r and other is not cell]
            rest = ", ".join(f"{other.lr:g}: {other.mean:.3f}" for other in sorted(others, key=lambda c: c.lr))
            score = f" {_mean([100 * value for value in cell.bleus], 1)} |" if decoded else ""
            lines.append(
                f"| {label} | {r} | {cell.alpha:g} | {scales[cell.rule, cell.alpha, r]:.3g} | {cell.lr:g} | "
                f"{_mean(cell.losses, 3)} |{score} {len(cell.losses)} | {cell.relative_update:.3f} | {rest} |"
            )
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float], digits: int) -> str:
    """A mean with its 95% interval; a dash for none."""
    if not values:
        return "–"
    half = interval(values)
    spread = f" ± {half:.{digits}f}" if math.isfinite(half) else ""
    return f"{sum(values) / len(values):.{digits}f}{spread}"


def write_table(folder: str | Path, results: Sequence[Result]) -> Path:
    """Write `table.md`. Returns its path."""
    path = Path(folder) / TABLE
    with atomic_write(path) as file:
        file.write(table(results))
    return path
