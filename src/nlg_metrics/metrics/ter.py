"""TER as pyter3 0.3 computes it for GenerationEval: edits and block shifts per reference word, the best
reference counts.

Snover et al. 2006 (https://aclanthology.org/2006.amta-papers.25) in pyter's simplification: each step tries
to move every block of the hypothesis that equals a block elsewhere in the reference, without limits on size
or distance, and takes the move that lowers the edit distance most (of equal ones the lexicographically
largest text), until none lowers it. The corpus score is the mean over segments of the lowest ratio. The
search is exact; it is fast because edit distances are bit-parallel (Hyyrö 2003), restart where the moved text
starts to differ and end where it ceases to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.tokenizers.nltk_words import default_tokenizer
from nlg_metrics.tokenizers.words import Words

WORK_LIMIT, WORK_OF_A_SEGMENT = 3_000_000, 2000
"""Words looked at: so many, and so many more a segment, before TER is given up, after about five seconds. DART's and
WebNLG's references need 200 a segment, and none of them 10,000."""


class Budget:
    """What a search may still look at."""

    def __init__(self, segments: int = 1) -> None:
        self.left = WORK_LIMIT + WORK_OF_A_SEGMENT * segments


class Ter(Metric):
    """pyter's TER: the mean over segments of the lowest edits per reference word; 0 is best, there is no
    upper end.

    An empty reference has TER 1, as in the tool, so padding with empty lines caps a segment's TER at 1
    (padding.py gives the figure without that). Statistics, K = 2: the segment's TER, and 1.
    """

    name = "TER"
    higher_is_better = False

    def __init__(self, tokenizer: Words | None = None) -> None:
        """
        Args:
            tokenizer: default: the one all metrics share.
        """
        self.tokenizer = tokenizer or default_tokenizer()

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        table = np.ones((len(hypotheses), 2))
        budget = Budget(len(hypotheses))
        for row, (text, group) in enumerate(zip(hypotheses, references, strict=True)):
            words = [self.tokenizer.tokens(reference) for reference in dict.fromkeys(group)]
            try:
                table[row, 0] = lowest_ter(self.tokenizer.tokens(text), words, budget)
            except InputError as error:
                raise InputError(f"segment {row + 1}: {error}") from None
        return table

    def aggregate(self, totals: Array) -> Array:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def settings(self) -> dict[str, Any]:
        return {
            "tool": "pyter3-0.3",
            "tok": self.tokenizer.signature,
            "case": "mixed",
            "refs_by": "lowest",
            "average": "segments",
            "empty_refs": "1",
        }


def lowest_ter(hypothesis: Sequence[str], references: Sequence[Sequence[str]], budget: Budget | None = None) -> float:
    """The lowest TER of a tokenized hypothesis over its references; an empty reference has TER 1.

    Raises:
        InputError: the search would take minutes (thousands of words on both sides, or hundreds that repeat).
    """
    budget = budget or Budget()
    best = float("inf")
    bounds = [_bound(hypothesis, reference) / max(1, len(reference)) for reference in references]
    for bound, reference in sorted(zip(bounds, references, strict=True), key=lambda pair: pair[0]):
        if not reference:
            best = min(best, 1.0)
        elif bound < best:
            best = min(best, ter(hypothesis, reference, best, budget))
    return best


def ter(
    hypothesis: Sequence[str],
    reference: Sequence[str],
    worth: float = float("inf"),
    budget: Budget | None = None,
) -> float:
    """pyter's TER of two lists of words; the reference has at least one.

    Args:
        hypothesis: the system's words.
        reference: the reference's words.
        worth: give up, returning infinity, once the result can't be below this.
        budget: what it may look at. Default: as for one segment.

    Raises:
        InputError: the search would take minutes.
    """
    # Ranks in sorted order compare as the words do, and faster.
    ranks = {word: rank for rank, word in enumerate(sorted({*hypothesis, *reference}))}
    words, target = [ranks[word] for word in hypothesis], [ranks[word] for word in reference]
    search = _Search(target, budget or Budget())
    # No shift changes which words there are, so no edit distance falls below this.
    bound = _bound(words, target)
    shifts = 0
    while (shifts + bound) / len(target) < worth:
        distance = search.read(words)
        moved = search.best_shift(words, distance, distance - bound) if distance > bound else None
        if moved is None:
            return (shifts + distance) / len(target)
        words = moved
        shifts += 1
    return float("inf")


def _bound(hypothesis: Sequence[Any], reference: Sequence[Any]) -> int:
    """What the edit distance can't fall below in any order of the words: those one side has too many of."""
    common = (Counter(hypothesis) & Counter(reference)).total()
    return max(len(hypothesis), len(reference)) - common


class _Search:
    """Edit distances to one reference, column by column: a column is the bits (rises, falls) and the last value."""

    def __init__(self, target: list[int], budget: Budget) -> None:
        self.length = len(target)
        self.full = (1 << self.length) - 1
        self.top = 1 << (self.length - 1)
        self.masks: dict[int, int] = {}
        self.places: dict[int, list[int]] = {}
        for place, word in enumerate(target):
            self.masks[word] = self.masks.get(word, 0) | 1 << place
            self.places.setdefault(word, []).append(place)
        self.target = target
        self.columns: list[tuple[int, int, int]] = []
        self.budget = budget

    def read(self, words: list[int]) -> int:
        """The edit distance of `words`; keeps the column before each word and after the last, for `_moved_distance`."""
        column = (self.full, 0, self.length)
        self.columns = [column]
        for word in words:
            column = self._step(column, word)
            self.columns.append(column)
        self._spend(len(words))
        return column[2]

    def _step(self, column: tuple[int, int, int], word: int) -> tuple[int, int, int]:
        """One column of the Levenshtein matrix from the one before (Hyyrö 2003, algorithm for the whole text)."""
        rises, falls, value = column
        full, mask = self.full, self.masks.get(word, 0)
        diagonal = ((((mask & rises) + rises) ^ rises) | mask | falls) & full
        right = falls | (full & ~(diagonal | rises))
        left = diagonal & rises
        if right & self.top:
            value += 1
        elif left & self.top:
            value -= 1
        right = (right << 1 | 1) & full
        return ((left << 1) | ~(diagonal | right)) & full, right & diagonal, value

    def best_shift(self, words: list[int], distance: int, most: int) -> list[int] | None:
        """The words after the best shift, or None where none lowers the edit distance.

        Args:
            words: as given to `read`.
            distance: their edit distance.
            most: what a shift can gain at most.
        """
        gain, best = 0, None
        # A block of L words moved past D others costs at most 2 min(L, D) edits either way: the promising
        # first.
        moves = sorted(self._moves(words, most), reverse=True)
        for cap, start, size, goal in moves:
            if cap < gain or cap == 0:
                break
            self._spend(1 + len(words) // 64)
            block, rest = words[start : start + size], words[:start] + words[start + size :]
            moved = rest[:goal] + block + rest[goal:]
            if cap == gain and best is not None and moved <= best:
                continue
            gained = distance - self._moved_distance(moved, min(start, goal), max(start, goal) + size)
            if gained > gain or (gained == gain and best is not None and moved > best):
                gain, best = gained, moved
        return best

    def _moves(self, words: list[int], most: int) -> list[tuple[int, int, int, int]]:
        """Every `(largest possible gain, block start, block size, place among the other words)`."""
        moves = []
        count = len(words)
        self._spend(sum(len(self.places.get(word, ())) for word in words))
        sizes: dict[int, int] = {}  # place -> how far the words from the next one on equal the target from there on
        for start in reversed(range(count)):
            sizes = {place: sizes.get(place + 1, 0) + 1 for place in self.places.get(words[start], ())}
            for place, size in sizes.items():
                if place != start:
                    goal = min(place, count - size)
                    moves.append((min(most, 2 * min(size, abs(goal - start))), start, size, goal))
        return moves

    def _moved_distance(self, moved: list[int], start: int, end: int) -> int:
        """The edit distance of `moved`, which differs from the words last read within [start, end) only."""
        columns, step = self.columns, self._step
        column = columns[start]
        for place in range(start, end):
            column = step(column, moved[place])
        for place in range(end, len(moved)):
            known = columns[place]
            if column[0] == known[0] and column[1] == known[1]:
                self._spend(place - start)
                return columns[-1][2] + column[2] - known[2]
            column = step(column, moved[place])
        self._spend(len(moved) - start)
        return column[2]

    def _spend(self, words: int) -> None:
        # A step on long references handles numbers of many machine words.
        self.budget.left -= words * (1 + self.length // 1000)
        if self.budget.left < 0:
            raise InputError(
                f"TER of this hypothesis and a reference of {self.length} words would take minutes (pyter tries every "
                "shift of every block); shorten the texts, or leave out ter with -m"
            )
