"""METEOR 1.5's alignment: a beam search for the non-overlapping matches that cover most in the fewest chunks.

The search keeps 40 paths and breaks ties by order of insertion, and its coverage counts are truncated to integers,
so it is not an exact optimiser; scores depend on these details and they are kept. What is ours is the speed: matches
nothing competes with are settled beforehand, a stretch of the reference that offers no choice is one step for
all its words, and a path is five numbers.
Method: Denkowski & Lavie 2014 (https://aclanthology.org/W14-3348) and 2011 (https://aclanthology.org/W11-2107).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

BEAM = 40
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)


class Match(NamedTuple):
    """A span of the reference matched with a span of the hypothesis by one of the four modules."""

    ref_start: int
    ref_length: int
    hyp_start: int
    hyp_length: int
    module: int


class Span(NamedTuple):
    """A match without its start in the reference, which is its place in a list of candidates."""

    ref_length: int
    hyp_start: int
    hyp_length: int
    module: int


# A path of the beam. Paths are ranked by cost alone: covered words, then chunks, then distance, packed in one integer.
# `used` has a bit for each reference word and, above them, each hypothesis word; `last_end` is where the last
# match ended in the hypothesis if the previous reference word is matched, else -1; `position` is the reference word
# the path has reached; `chosen` is a linked list of the matches taken, last one first, with their starts.
_Path = tuple[int, int, int, int, "tuple | None"]
_cost = itemgetter(0)


def align(candidates: Sequence[Sequence[Span]], n_hyp: int) -> list[Match]:
    """Choose the alignment METEOR chooses.

    Args:
        candidates: for each reference word, the matches that start there, in the order the modules found them.
        n_hyp: number of hypothesis words.

    Returns:
        The chosen matches in the order of the reference.
    """
    n_ref = len(candidates)
    fixed, contested = _settle(candidates, n_hyp)
    settled = [Match(position, *span) for position, span in enumerate(fixed) if span is not None]
    if not contested:
        return settled
    # Widths: distance below, then chunks (no more than one a reference word), then coverage.
    chunk = 1 << (n_ref * (n_ref + n_hyp) * (1 + max(map(len, candidates)))).bit_length()
    covered = chunk << (n_ref + 2).bit_length()

    used = sum(_mask(position, span, n_ref) for position, span in enumerate(fixed) if span is not None)
    paths: list[_Path] = [(0, used, -1, 0, None)]
    inside_until = 0  # some path may be inside a contested match before this reference word
    position = 0
    while position < n_ref:
        if len(paths) > 1:
            paths.sort(key=_cost)
            del paths[BEAM:]
        if candidates[position] and fixed[position] is None:
            paths = _choose(paths, position, candidates[position], n_ref, chunk, covered)
            inside_until = max(inside_until, *(position + span.ref_length for span in candidates[position]))
            position += 1
        elif position < inside_until:
            paths = [
                path if path[3] > position else _skip(path, position, chunk)  # inside a match, or a gap
                for path in paths
            ]
            position += 1
        else:
            paths, position = _follow(paths, position, candidates, fixed, chunk, covered)
    paths.sort(key=_cost)
    del paths[BEAM:]
    best = min(paths, key=lambda path: path[0] + (chunk if path[2] != -1 else 0))  # the first of equals
    chosen, link = settled, best[4]
    while link is not None:
        link, position, span = link
        chosen.append(Match(position, *span))
    chosen.sort()
    return chosen


def _settle(candidates: Sequence[Sequence[Span]], n_hyp: int) -> tuple[list[Span | None], bool]:
    """The matches none of whose words any other match touches, by reference word; and whether others are left."""
    n_ref = len(candidates)
    ref_coverage, hyp_coverage = [0] * n_ref, [0] * n_hyp
    for position, spans in enumerate(candidates):
        for ref_length, hyp_start, hyp_length, _ in spans:
            ref_coverage[position] += 1
            hyp_coverage[hyp_start] += 1
            for index in range(position + 1, position + ref_length):
                ref_coverage[index] += 1
            for index in range(hyp_start + 1, hyp_start + hyp_length):
                hyp_coverage[index] += 1
    fixed: list[Span | None] = [None] * n_ref
    contested = False
    for position, spans in enumerate(candidates):
        if not spans:
            continue
        ref_length, hyp_start, hyp_length, _ = spans[0]
        if (
            len(spans) == 1
            and max(ref_coverage[position : position + ref_length]) == 1
            and max(hyp_coverage[hyp_start : hyp_start + hyp_length]) == 1
        ):
            fixed[position] = spans[0]
        else:
            contested = True
    return fixed, contested


def _mask(position: int, span: Span, n_ref: int) -> int:
    ref_length, hyp_start, hyp_length, _ = span
    return ((1 << ref_length) - 1) << position | ((1 << hyp_length) - 1) << (n_ref + hyp_start)


def _gain(span: Span) -> int:
    """Words covered on both sides; those not matched exactly count half, each side truncated to an integer."""
    ref_length, _, hyp_length, module = span
    return ref_length + hyp_length if module == EXACT else ref_length // 2 + hyp_length // 2


def _skip(path: _Path, position: int, chunk: int) -> _Path:
    cost, used, last_end, _, chosen = path
    return (cost + chunk if last_end != -1 else cost, used, -1, position + 1, chosen)


def _choose(
    paths: list[_Path], position: int, spans: Sequence[Span], n_ref: int, chunk: int, covered: int
) -> list[_Path]:
    """Extend each path by each match that still fits, and by leaving the reference word unmatched.

    The distance of a match is charged to the path it was taken from, that is to the later alternatives and not to
    the path that takes it. So it is in METEOR.
    """
    options = [
        (
            _mask(position, span, n_ref),
            covered * _gain(span),
            span.hyp_start,
            span.hyp_start + span.hyp_length,
            position + span.ref_length,
            abs(position - span.hyp_start),
            span,
        )
        for span in spans
    ]
    if len(spans) > BEAM:
        return _choose_of_many(paths, position, options, chunk)
    extended: list[_Path] = []
    append = extended.append
    for path in paths:
        cost, used, last_end, reached, chosen = path
        if reached > position:
            append(path)
            continue
        broken = chunk if last_end != -1 else 0
        for mask, gain, hyp_start, hyp_end, ref_end, distance, span in options:
            if not used & mask:
                start = cost - gain if hyp_start == last_end else cost - gain + broken
                append((start, used | mask, hyp_end, ref_end, (chosen, position, span)))
                cost += distance
        append((cost + broken, used, -1, position + 1, chosen))
    return extended


def _choose_of_many(
    paths: list[_Path], position: int, options: list[tuple[int, int, int, int, int, int, Span]], chunk: int
) -> list[_Path]:
    """`_choose` for very repetitive text, without the paths that the beam is certain to drop.

    A path's matches of the same gain that start a new chunk cost more and more in the order they are tried, so no
    more than the first `BEAM` of them can survive the next ranking.
    """
    extended: list[_Path] = []
    for path in paths:
        cost, used, last_end, reached, chosen = path
        if reached > position:
            extended.append(path)
            continue
        broken = chunk if last_end != -1 else 0
        room: dict[int, int] = {}
        for mask, gain, hyp_start, hyp_end, ref_end, distance, span in options:
            if not used & mask:
                if hyp_start == last_end:
                    extended.append((cost - gain, used | mask, hyp_end, ref_end, (chosen, position, span)))
                elif (left := room.get(gain, BEAM)) > 0:
                    room[gain] = left - 1
                    extended.append((cost - gain + broken, used | mask, hyp_end, ref_end, (chosen, position, span)))
                cost += distance
        extended.append((cost + broken, used, -1, position + 1, chosen))
    return extended


def _follow(
    paths: list[_Path],
    position: int,
    candidates: Sequence[Sequence[Span]],
    fixed: Sequence[Span | None],
    chunk: int,
    covered: int,
) -> tuple[list[_Path], int]:
    """Take all paths through the words up to the next choice, which are settled or match nothing.

    Only the first of them tells the paths apart (it may continue a path's chunk or end it); what follows costs every
    path the same, so ranking the paths word by word would not change their order.
    """
    n_ref = len(candidates)
    first = fixed[position]
    continued = -1 if first is None else first.hyp_start
    shared = 0
    last_end = None
    while position < n_ref and (not candidates[position] or fixed[position] is not None):
        span = fixed[position]
        if span is None:
            shared += chunk if last_end not in (None, -1) else 0
            last_end = -1
            position += 1
        else:
            shared += chunk if last_end not in (None, -1, span.hyp_start) else 0
            shared += abs(position - span.hyp_start) - covered * _gain(span)
            last_end = span.hyp_start + span.hyp_length
            position += span.ref_length
    end = -1 if last_end is None else last_end
    followed: list[_Path] = [
        (cost + shared + (0 if old_end in (-1, continued) else chunk), used, end, position, chosen)
        for cost, used, old_end, _, chosen in paths
    ]
    return followed, position
