"""What a search may not or should rather not generate: n-gram bans, the repetition penalty, the shortest length.

All functions change scores in place, for all rows at once, without leaving the device. Shapes: R rows (one a live
beam), V scores a row, W the width of the history buffer. A row's history is its first `length` entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lora_nlg.decoding.selection import log_normaliser
from lora_nlg.decoding.settings import BeamSettings


def constrain_(logits: Tensor, history: Tensor, length: Tensor, end_ids: Tensor, settings: BeamSettings) -> Tensor:
    """Apply a search's bans and penalties.

    Args:
        logits: shape (R, V).
        history: token ids that bans and penalties look at, shape (R, W); entries from `length` on are ignored.
        length: shape (R,).
        end_ids: shape (number of end tokens,).
        settings: of the search.

    Returns:
        What the rows' scores exceed log-probabilities by, shape (R,).
    """
    is_hf = settings.semantics == "hf"
    normaliser = log_normaliser(logits) if is_hf else None
    if normaliser is not None and settings.repetition_penalty != 1.0 and settings.refills:
        logits -= normaliser[:, None]  # acts on log-probabilities here
        normaliser = torch.zeros_like(normaliser)
    penalise_repetition_(logits, history, length, settings.repetition_penalty)
    if normaliser is not None and settings.repetition_penalty != 1.0 and not settings.refills:
        normaliser = log_normaliser(logits)  # and on logits in `generate`'s greedy search
    ban_ends_(logits, end_ids, length, settings.min_length)
    ban_ngrams_(logits, history, length, settings.no_repeat_ngram_size)
    return log_normaliser(logits) if normaliser is None else normaliser


def ban_ngrams_(scores: Tensor, history: Tensor, length: Tensor, size: int) -> None:
    """Set to −inf every token that would complete an n-gram its row's history holds already.

    Example: size 3, history (a b c a b): c is banned, since "a b" was followed by it before. Size 1 bans every
    token of the history.

    Args:
        scores: shape (R, V).
        history: token ids, shape (R, W); entries from `length` on are ignored.
        length: shape (R,).
        size: n of the n-grams; 0 bans nothing.
    """
    W = history.shape[1]
    if size == 0 or size > W:
        return
    windows = history.unfold(1, size, 1)  # (R, W-size+1, size)
    inside = torch.arange(size, W + 1, device=history.device) <= length[:, None]
    last = torch.arange(1 - size, 0, device=history.device) + length[:, None]  # the size-1 newest, (R, size-1)
    newest = history.gather(1, last.clamp_(min=0))
    repeats = (windows[..., :-1] == newest[:, None, :]).all(-1) & inside
    ban = torch.full_like(repeats, float("inf"), dtype=scores.dtype).masked_fill_(repeats, float("-inf"))
    scores.scatter_reduce_(1, windows[..., -1], ban, "amin")


def penalise_repetition_(scores: Tensor, history: Tensor, length: Tensor, penalty: float) -> None:
    """Multiply negative and divide other scores of the history's tokens by `penalty`, each token's once.

    The rule of CTRL (Keskar et al. 2019, section 4.1) in the form common implementations give it.

    Args:
        scores: shape (R, V).
        history: token ids, shape (R, W); entries from `length` on are ignored.
        length: shape (R,).
        penalty: above 1 makes repetition less likely; 1 changes nothing.
    """
    if penalty == 1.0 or history.shape[1] == 0:
        return
    inside = torch.arange(history.shape[1], device=history.device) < length[:, None]
    # Entries that don't count repeat the first that does, so that equal indices carry equal values.
    tokens = torch.where(inside, history, history[:, :1])
    old = scores.gather(1, tokens)
    new = torch.where(old < 0, old * penalty, old / penalty)
    scores.scatter_(1, tokens, torch.where(length[:, None] > 0, new, old))


def ban_ends_(scores: Tensor, end_ids: Tensor, length: Tensor, min_length: int) -> None:
    """Set end tokens to −inf in rows shorter than `min_length`.

    Args:
        scores: shape (R, V).
        end_ids: shape (number of end tokens,).
        length: tokens so far, shape (R,).
        min_length: tokens before an end is allowed; 0 bans nothing.
    """
    if min_length > 0 and len(end_ids):
        early = (length < min_length)[:, None]
        scores.index_copy_(1, end_ids, scores.index_select(1, end_ids).masked_fill_(early, float("-inf")))
