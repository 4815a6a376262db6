"""What two updates share: Hu et al. 2021, section 7.2 and appendices G and H.1.

    φ(i, j) = ‖U_iᵀ·U'_j‖_F² / min(i, j), between 0 (orthogonal) and 1 (one lies in the other),

where U_i are the i strongest singular vectors of a matrix of one run, U'_j the j strongest of the other's: of A the
right ones, of B the left ones, as in the paper. Where ΔW is no B·A (DoRA, PiSSA, models trained as a whole) it has the
place of both: its right singular vectors V stand for A's, its left ones U for B's.

For two subspaces drawn at random in D dimensions the mean of ‖U_iᵀ·U'_j‖_F² is i·j/D, hence that of φ max(i, j)/D: the
baseline, where the paper draws Gaussian matrices.
"""

from __future__ import annotations

from torch import Tensor

from lora_nlg.analysis.updates import Update

MATRICES = (("A", "B"), ("V", "U"))
"""What is compared: the factors where both runs have them, else ΔW from the right and from the left."""


def subspace_similarity(first: Tensor, second: Tensor) -> Tensor:
    """φ for every i and j.

    Args:
        first: orthonormal columns, strongest first, shape (D, n).
        second: of the other, shape (D, m).

    Returns:
        φ(i, j) at [i − 1, j − 1], shape (n, m).
    """
    # ‖U_iᵀ·U'_j‖² is the sum over the upper left corner of the squared products.
    overlap = (first.t() @ second).square().cumsum(0).cumsum(1)
    counts = overlap.new_ones(overlap.shape).cumsum(0).minimum(overlap.new_ones(overlap.shape).cumsum(1))
    return overlap / counts


def chance(i: int, j: int, width: int) -> float:
    """The mean of φ(i, j) for random subspaces of so many dimensions."""
    return max(i, j) / width


def directions_of(update: Update) -> dict[str, Tensor]:
    """Name of a matrix (see `MATRICES`) -> its strongest directions, shape (D, n)."""
    n = update.directions
    return {**update.factors, "V": update.V[:, :n], "U": update.U[:, :n]}
