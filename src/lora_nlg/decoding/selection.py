"""The best continuations of each context's beams, without a beam × vocabulary array of scores.

Scores of a beam with sum s are s + (x − logsumexp x) over its logits x. Rounding is monotone, so the order within
a row is the logits' own, and a maximum over a block of logits gives the block's best score. The K best
continuations lie in the K best blocks: one pass over the logits for the blocks' maxima, then a top-k over K small
blocks.

Ties: of equal scores the one of the lower beam, then of the lower token id, comes first. The K blocks are chosen by
(maximum, position) in the same order; a continuation outside them has K continuations before it, one in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lora_nlg.decoding.settings import BeamSettings

BLOCK = 128


@dataclass(frozen=True)
class Candidates:
    """K continuations of each of A contexts, best first; those that do not exist have the sum −inf.

    Attributes:
        sums: sum of log-probabilities with the new token, shape (A, K).
        parents: beam that is continued, shape (A, K).
        tokens: the new token, shape (A, K).
    """

    sums: Tensor
    parents: Tensor
    tokens: Tensor


def best_continuations(logits: Tensor, normaliser: Tensor, sums: Tensor, row_of: Tensor, K: int) -> Candidates:
    """The K best continuations of each context.

    Args:
        logits: one row a live beam, shape (R, V), V a multiple of `BLOCK`; banned tokens hold −inf.
        normaliser: what a row's logits exceed its log-probabilities by, shape (R,).
        sums: each beam's sum so far, shape (A, n); −inf for beams that are not there.
        row_of: the row of `logits` of each beam, shape (A, n); any row for beams that are not there.
        K: continuations wanted.
    """
    A, n = sums.shape
    blocks = logits.view(len(logits), -1, BLOCK)  # (R, V/BLOCK, BLOCK)
    best = _score(blocks.amax(-1), normaliser)[row_of] + sums[..., None]  # (A, n, V/BLOCK)
    n_blocks = best.shape[-1]
    chosen = top(best.view(A, -1), min(K, n * n_blocks))[1].sort(-1).values  # (A, K), by beam, then token
    beam, block = chosen // n_blocks, chosen % n_blocks
    row = row_of.gather(1, beam)
    values = _score(blocks[row, block], normaliser[row]) + sums.gather(1, beam)[..., None]  # (A, K, BLOCK)
    score, place = top(values.view(A, -1), min(K, values.shape[1] * BLOCK))
    index = place // BLOCK
    tokens = block.gather(1, index) * BLOCK + place % BLOCK
    return Candidates(score, beam.gather(1, index), tokens)


@dataclass(frozen=True)
class Beams:
    """The beams that go on after a step; those that are not there have the sum −inf and token 0.

    Attributes:
        sums, parents, tokens: as in `Candidates`, each (A, n).
        alive: which are there, shape (A, n).
    """

    sums: Tensor
    parents: Tensor
    tokens: Tensor
    alive: Tensor


def next_beams(candidates: Candidates, end_ids: Tensor, settings: BeamSettings) -> Beams:
    """The candidates that don't end, in their order.

    Args:
        candidates: of A contexts.
        end_ids: shape (number of end tokens,).
        settings: of the search.
    """
    is_end = (candidates.tokens[..., None] == end_ids).any(-1)
    sums, parents, tokens = candidates.sums, candidates.parents, candidates.tokens
    if settings.refills:
        order = is_end.to(torch.uint8).sort(dim=1, stable=True).indices[:, : settings.beam]  # the first n that go on
        is_end, sums, parents, tokens = (state.gather(1, order) for state in (is_end, sums, parents, tokens))
    alive = (sums > float("-inf")) & ~is_end
    return Beams(sums.masked_fill(~alive, float("-inf")), parents, tokens.masked_fill(~alive, 0), alive)


def _score(logits: Tensor, normaliser: Tensor) -> Tensor:
    # Clamped so that sums never rise: the proof of the early stop rests on it.
    return (logits - normaliser[..., None]).clamp_(max=0.0)


def top(values: Tensor, K: int) -> tuple[Tensor, Tensor]:
    """The K largest of each row, largest first, of equal ones the first first.

    Args:
        values: shape (A, N).
        K: at most N.

    Returns:
        Values and indices, each (A, K).
    """
    if values.device.type != "cpu":  # a stable sort needs no look at the values, so no synchronisation
        ordered = values.sort(dim=-1, descending=True, stable=True)
        return ordered.values[:, :K], ordered.indices[:, :K]
    # torch.topk leaves open which of equal values it takes: look for ties with the first one left out.
    N = values.shape[1]
    largest = values.topk(min(K + 1, N))
    if N > K:
        tied = (largest.values[:, K - 1] == largest.values[:, K]) & (largest.values[:, K] > float("-inf"))
        if tied.any():
            ordered = values.sort(dim=-1, descending=True, stable=True)
            return ordered.values[:, :K], ordered.indices[:, :K]
    index = largest.indices[:, :K].sort(-1).values
    ordered = values.gather(1, index).sort(dim=-1, descending=True, stable=True)
    return ordered.values, index.gather(1, ordered.indices)


def log_normaliser(logits: Tensor) -> Tensor:
    """logsumexp of each row, (R, V) -> (R,); 0 for a row of nothing but −inf, so that −inf it stays.

    It is read off torch's log-softmax, whose greatest entry is minus the logarithm of the sum of exp(x − max x): the
    one kernel that goes over a row without a temporary of its size. A few rows at a time keep its output in cache.
    """
    greatest = logits.amax(-1)
    rows = 4 if logits.device.type == "cpu" else len(logits)
    log_sums = torch.cat([-torch.log_softmax(part, -1).amax(-1) for part in logits.split(rows)])
    return (greatest + log_sums).masked_fill_(greatest == float("-inf"), 0.0)
