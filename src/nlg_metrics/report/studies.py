"""A study's members as `lora-nlg sweep` and the scorers leave them, those that differ in the seed alone together.

The folder of a sweep: results.json, one object a member, and for each that was decoded FOLDER/scores.json.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.files import read_json
from nlg_metrics.report.published import COLUMNS, column_score, unit
from nlg_metrics.scores_file import caveats, read_scores

RESULTS = "results.json"
LOSS = "validation loss"
_NEEDED = ("name", "folder", "targets", "r", "alpha", "rule", "scaling", "lr", "seed", "diverged")


def lowest_is_best(column: str) -> bool:
    """Whether a smaller number is better: losses and TER."""
    return column == LOSS or column.startswith("TER")


@dataclass(frozen=True)
class Cell:
    """The seeds of one setting together.

    Attributes:
        targets, r, alpha, rule, scaling, lr: the setting.
        measures: LOSS and the corpus' columns, in the papers' units -> a value for each seed that has one.
        relative_update: mean of ‖ΔW‖/‖W‖; NaN if unknown.
        seeds, diverged: how many seeds, and how many of them diverged.
    """

    targets: str
    r: int
    alpha: float
    rule: str
    scaling: float
    lr: float
    measures: Mapping[str, tuple[float, ...]]
    relative_update: float
    seeds: int
    diverged: int

    @property
    def loss(self) -> float:
        """Mean validation loss; infinite where a seed diverged: such a setting is none to choose."""
        losses = self.measures[LOSS]
        return math.inf if self.diverged or not losses else statistics.fmean(losses)

    @property
    def unscored(self) -> int:
        """How many seeds were trained but have no scores."""
        scored = [len(values) for name, values in self.measures.items() if name != LOSS]
        return self.seeds - self.diverged - max(scored, default=0)


def read_cells(folder: Path, corpus: str) -> tuple[list[Cell], list[str]]:
    """The members of a sweep, those that differ in the seed alone together, in the order of their setting.

    Returns:
        The cells, and what the scores' files warn of.

    Raises:
        InputError: no results, or a member or scores that can't be read.
    """
    rows = read_json(folder / RESULTS)
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(map(row.__contains__, _NEEDED)) for row in rows
    ):
        raise InputError(f"{folder / RESULTS} is not a list of a sweep's members; `lora-nlg sweep` writes it")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("targets", "r", "alpha", "rule", "scaling", "lr"))
        groups.setdefault(key, []).append(row)
    if not groups:
        raise InputError(f"{folder / RESULTS} holds no member yet")
    said: list[str] = []
    return [_cell(folder, corpus, key, groups[key], said) for key in sorted(groups, key=_order)], said


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    targets, r, alpha, rule, _, lr = key
    return (rule, targets.count("+"), [_PARTS.find(part) for part in targets.split("+")], r, alpha, lr)


_PARTS = "q k v o fc proj"


def _cell(
    folder: Path, corpus: str, key: tuple[Any, ...], members: Sequence[Mapping[str, Any]], said: list[str]
) -> Cell:
    kept = [member for member in members if not member["diverged"]]
    measures: dict[str, list[float]] = {LOSS: [member["valid_loss"] for member in kept]}
    for member in kept:
        path = folder / member["folder"] / "scores.json"
        if not path.is_file():
            continue
        record = read_scores(path)
        said += [caveat for caveat in caveats(path, record) if caveat not in said]
        for column in COLUMNS[corpus]:
            if entry := column_score(corpus, column, record):
                measures.setdefault(column, []).append(entry["value"] * unit(corpus, column))
    updates = [member["relative_update"] for member in kept if member.get("relative_update") is not None]
    targets, r, alpha, rule, scaling, lr = key
    return Cell(
        targets, r, alpha, rule, scaling, lr,
        measures={name: tuple(values) for name, values in measures.items()},
        relative_update=statistics.fmean(updates) if updates else math.nan,
        seeds=len(members), diverged=len(members) - len(kept),
    )  # fmt: skip


def best_rates(cells: Iterable[Cell]) -> list[Cell]:
    """Of cells that differ in the rate alone, the one with the lowest mean loss; the first where all diverged."""
    best: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        key = (cell.targets, cell.r, cell.alpha, cell.rule)
        if key not in best or cell.loss < best[key].loss:
            best[key] = cell
    return list(best.values())


def families(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells by how their scaling is chosen: α/√r, a fixed α, a multiple of the rank, or none.

    A cell may be in two: alpha = 32 at rank 16 belongs to `α = 32` and to `α = 2r`. A choice of one rank alone is no
    family where there are larger ones.
    """
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.rule == "none":
            names = ["no scaling"]
        else:
            rule = "α/√r" if cell.rule == "rslora" else "α/r"
            names = [f"{rule}, α = {cell.alpha:g}", f"{rule}, α = {cell.alpha / cell.r:g}r"]
        for name in names:
            found.setdefault(name, []).append(cell)
    most = max(len({cell.r for cell in group}) for group in found.values())
    return {name: group for name, group in found.items() if len({cell.r for cell in group}) == most}
