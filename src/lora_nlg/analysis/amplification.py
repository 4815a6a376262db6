"""What an update amplifies: Hu et al. 2021, section 7.3 and appendix H.4.

How strong the base's weight W already is in the r directions of the update ΔW = U·S·Vᵀ:

    ‖UᵀWV‖_F with U, V the r strongest left and right singular vectors of ΔW (the paper writes V transposed),

beside the same with the r strongest of W itself, √(σ_1(W)² + … + σ_r(W)²), the most that r directions can hold, and
with random ones. For random orthonormal U (D_out, r) and V (D_in, r) the mean of ‖UᵀWV‖_F² is r²·‖W‖_F²/(D_out·D_in);
its root stands here, so that nothing needs to be drawn: for the paper's W (12288 × 12288, ‖W‖_F = 61.95) and r = 4 that
is 0.020, and for r = 64 0.323; its table 7 has 0.02 and 0.33. The amplification factor is

    ‖ΔW‖_F / ‖UᵀWV‖_F,

for an update of more than r directions with ‖ΔW‖_F over the r strongest alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_nlg.analysis.updates import Update


@dataclass(frozen=True)
class Amplification:
    """The row of the paper's table 7 for one update.

    Attributes:
        directions: r.
        update: ‖ΔW‖_F over the r strongest directions.
        own: ‖UᵀWV‖_F in the update's directions.
        weight: in W's.
        random: in random ones, the root of the mean square.
        factor: update / own; infinite where W has nothing in these directions, NaN where the update is zero, too.
    """

    directions: int
    update: float
    own: float
    weight: float
    random: float
    factor: float


@torch.no_grad()
def amplification_of(update: Update, weight_values: Tensor | None = None) -> Amplification:
    """What one update amplifies.

    Args:
        update: of one part.
        weight_values: the singular values of its W, if they are known. Default: computed.
    """
    r = update.directions
    W = update.weight.double()
    values = torch.linalg.svdvals(update.weight.float()).double() if weight_values is None else weight_values
    size = float(update.S[:r].norm())
    own = float((update.U[:, :r].t() @ W @ update.V[:, :r]).norm())
    if own > 0:
        factor = size / own
    else:
        factor = math.inf if size > 0 else math.nan
    return Amplification(
        directions=r,
        update=size,
        own=own,
        weight=float(values[:r].norm()),
        random=r * float(W.norm()) / math.sqrt(W.numel()),
        factor=factor,
    )
