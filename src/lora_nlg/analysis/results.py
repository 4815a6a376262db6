"""A study of one run or several, as it stands in `analysis.json`: numbers and names, nothing that needs torch to read.

`runs`: for each its label and description, `parts` (shape and amplification of every layer and part) and `dial`.
`similarity`: the first run against every other on its base. `notes`: what was left out and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from lora_nlg.analysis.amplification import amplification_of
from lora_nlg.analysis.shape import shape_of
from lora_nlg.analysis.similarity import MATRICES, chance, directions_of, subspace_similarity
from lora_nlg.analysis.updates import Update

FORMAT = "lora-nlg analysis 1"
RESULTS, TABLE = "analysis.json", "analysis.md"
_DIGITS = 6

Place = tuple[int | None, str]
"""Layer and part."""


def parts_of(updates: Sequence[Update], weight_values: dict[Place, Tensor] | None = None) -> list[dict[str, Any]]:
    """Shape and amplification of every update.

    Args:
        updates: of one run.
        weight_values: singular values of its base's weights; those that lack are computed and added. Runs of one
            base share them. Default: none are known.
    """
    known = {} if weight_values is None else weight_values
    found = []
    for update in updates:
        place = (update.layer, update.part)
        if place not in known:
            known[place] = torch.linalg.svdvals(update.weight.detach().float()).double()
        amplification = asdict(amplification_of(update, known[place]))
        found.append(
            {"layer": update.layer, "part": update.part, **asdict(shape_of(update)), "amplification": amplification}
        )
    return found


def whole_norm(parts: Sequence[Mapping[str, Any]], name: str = "norm") -> float:
    """The norm of all parts together."""
    return math.sqrt(sum(part[name] ** 2 for part in parts))


def compared(first: Sequence[Update], second: Sequence[Update], drawn: int | None = None) -> dict[str, Any]:
    """Subspace similarity of two runs' updates, for every layer, part and matrix that both have.

    Args:
        first, second: the updates of two runs on one base.
        drawn: the layer whose φ(i, j) is given for all i and j. Default: the middle one, as in the paper.

    Returns:
        `layer`, the drawn one; `grids`, its φ; `diagonals`, φ(k, k) of every layer.
    """
    others = {(update.layer, update.part): update for update in second}
    pairs = [(own, others[own.layer, own.part]) for own in first if (own.layer, own.part) in others]
    layers = sorted({own.layer for own, _ in pairs if own.layer is not None})
    if drawn is None:
        drawn = layers[len(layers) // 2] if layers else None
    grids, diagonals = [], []
    for own, other in pairs:
        ours, theirs = directions_of(own), directions_of(other)
        for matrix in next(pair for pair in MATRICES if all(name in ours and name in theirs for name in pair)):
            phi = subspace_similarity(ours[matrix], theirs[matrix])
            width = len(ours[matrix])
            place = {"layer": own.layer, "part": own.part, "matrix": matrix, "width": width}
            diagonals.append({**place, "phi": _rounded(phi.diagonal())})
            if own.layer == drawn:
                corner = chance(len(phi), phi.shape[1], width)
                grids.append({**place, "phi": [_rounded(row) for row in phi], "chance": round(corner, _DIGITS)})
    return {"layer": drawn, "grids": grids, "diagonals": diagonals}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, _DIGITS) for value in values.tolist()]


def as_json(value: Any) -> Any:
    """The value with null for what JSON has no number for: infinity and NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return value
