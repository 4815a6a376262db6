"""What a host keeps of the searches at work: where each beam comes from, what has finished, and which are decided.

A step's candidates come in as arrays, for all contexts at once; the device is asked for nothing else. Shapes: P
places for contexts; n beams; E tokens generated at most; rows of a step are the places that it is about.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.errors import InputError

INFINITY = float("inf")


class SearchRecord:
    """The searches of a batch, each at a place.

    Args:
        settings: of the search.
        penalties: rankings wanted.
        places: contexts at work at a time, P.
        stops_early: whether a search ends as soon as nothing to come can change its outcome.

    Attributes:
        index: the prompt at each place, −1 where there is none, shape (P,).
        length: tokens generated at each place, shape (P,).
    """

    def __init__(
        self, settings: BeamSettings, penalties: Sequence[LengthPenalty], places: int, stops_early: bool = True
    ) -> None:
        self.settings, self.penalties, self.stops_early = settings, penalties, stops_early
        n, E = settings.beam, settings.eval_len
        self.end_ids = np.array(settings.end_ids or (), dtype=np.int64)
        self.index = np.full(places, -1)
        self.length = np.zeros(places, dtype=np.int64)
        self.sums = np.zeros((places, n), dtype=np.float32)  # of the living beams; −inf for others
        # The beam each beam continued, and the token it added, step by step.
        self.parents = np.zeros((places, E, n), dtype=np.int64)
        self.tokens = np.zeros((places, E, n), dtype=np.int64)
        self.best: list[list[list[Hypothesis]]] = [[] for _ in range(places)]  # one ranking a length penalty
        self.worst = np.zeros((len(penalties), places))  # score of the last of a full ranking, else −inf
        self.closed = np.zeros((len(penalties), places), dtype=bool)  # rankings that take no more in

    def admit(self, place: int, index: int, sums: NDArray[np.float32]) -> None:
        """Start the search of prompt `index`, whose beams have these sums at first, shape (n,)."""
        self.index[place], self.length[place], self.sums[place] = index, 0, sums
        self.best[place] = [[] for _ in self.penalties]
        self.worst[:, place] = -INFINITY
        self.closed[:, place] = False

    def move(self, source: int, target: int) -> None:
        """Take a search to another place."""
        for state in (self.index, self.length, self.sums, self.parents, self.tokens):
            state[target] = state[source]
        self.best[target] = self.best[source]
        self.worst[:, target] = self.worst[:, source]
        self.closed[:, target] = self.closed[:, source]

    def step(
        self,
        places: NDArray[np.int64],
        sums: NDArray[np.float32],
        parents: NDArray[np.int64],
        tokens: NDArray[np.int64],
    ) -> list[int]:
        """Take in a step's candidates, best first.

        Args:
            places: where the searches are, shape (R,).
            sums, parents, tokens: their candidates, as in `Candidates`, each (R, K).

        Returns:
            The places whose searches are done: their `best` is final.

        Raises:
            InputError: a sum is not a number.
        """
        n, E = self.settings.beam, self.settings.eval_len
        if np.isnan(sums).any():
            raise InputError("the model's scores are not numbers (NaN): its weights have diverged or are damaged")
        is_end = np.isin(tokens, self.end_ids)
        exists = sums > -INFINITY
        length = self.length[places]
        self._collect(places, sums[:, :n], parents, tokens, exists[:, :n], is_end[:, :n])
        if self.settings.refills:
            order = np.argsort(is_end, axis=1, kind="stable")[:, :n]  # the first n that go on
            rows = np.arange(len(places))[:, None]
            exists, is_end, sums = exists[rows, order], is_end[rows, order], sums[rows, order]
            parents, tokens = parents[rows, order], tokens[rows, order]
        sums = np.where(exists & ~is_end, sums, np.float32(-INFINITY))
        greatest = sums.max(1)
        ended = (greatest == -INFINITY) | (length + 1 == E)
        done = ended | self._is_decided(places, greatest, np.where(ended, 0, length + 1))
        for place in places[done].tolist():
            self._settle(place)
            self.best[place] = [ranking[: self.settings.n_best] for ranking in self.best[place]]
        self.parents[places, length] = parents
        self.tokens[places, length] = tokens
        self.sums[places] = sums
        self.length[places] += 1
        finished: list[int] = places[done].tolist()
        return finished

    def _is_decided(
        self, places: NDArray[np.int64], greatest: NDArray[np.float32], length: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether living beams of so many tokens can't reach the last of any ranking; see `LengthPenalty.bound`.

        Where `early_stopping` says otherwise: whether it has had enough of every ranking.
        """
        decided = np.full(len(places), self.stops_early)
        how = self.settings.early_stopping if self.settings.refills else "never"
        for number, penalty in enumerate(self.penalties):
            worst = self.worst[number, places]
            if how == "never":
                decided &= penalty.bound(greatest, length) <= worst
                continue
            # Full, and for False the best beam as if it ended here no better than the last.
            enough = (worst > -INFINITY) & (bool(how) | (greatest / penalty.divisors[length - 1] <= worst))
            self.closed[number, places] |= enough
            decided &= self.closed[number, places]
        return decided

    def _collect(
        self,
        places: NDArray[np.int64],
        sums: NDArray[np.float32],
        parents: NDArray[np.int64],
        tokens: NDArray[np.int64],
        exists: NDArray[np.bool_],
        is_end: NDArray[np.bool_],
    ) -> None:
        """Add the hypotheses that end in this step: among the n best, and all of those at the length limit."""
        is_last = self.length[places] + 1 == self.settings.eval_len
        ends = exists & (is_end | is_last[:, None])
        for row in np.flatnonzero(ends.any(1)).tolist():
            ranks = np.flatnonzero(ends[row])
            if is_last[row] and not self.settings.refills:  # finished ones first: of equal scores they win
                ranks = ranks[np.argsort(~is_end[row, ranks], kind="stable")]
            for rank in ranks.tolist():
                log_prob, finished = float(sums[row, rank]), bool(is_end[row, rank])
                self._add(int(places[row]), int(parents[row, rank]), int(tokens[row, rank]), log_prob, finished)

    def _add(self, place: int, beam: int, token: int, log_prob: float, finished: bool) -> None:
        tokens: tuple[int, ...] | None = None
        length = int(self.length[place]) + 1
        for number, penalty in enumerate(self.penalties):
            if self.closed[number, place]:
                continue
            score = penalty.score(log_prob, length)
            if score > self.worst[number, place] or len(self.best[place][number]) < self.settings.kept:
                tokens = tokens or (*self._generated(place, beam), token)
                self._insert(place, number, Hypothesis(tokens, log_prob, score, finished))

    def _insert(self, place: int, number: int, hypothesis: Hypothesis) -> None:
        """Keep it if it is among the best; of equal scores the earlier stays ahead."""
        ranking, N = self.best[place][number], self.settings.kept
        at = len(ranking)
        while at and ranking[at - 1].score < hypothesis.score:
            at -= 1
        ranking.insert(at, hypothesis)
        del ranking[N:]
        if len(ranking) == N:
            self.worst[number, place] = ranking[-1].score

    def _generated(self, place: int, beam: int) -> list[int]:
        """Tokens generated by a beam before this step."""
        tokens = []
        for step in range(int(self.length[place]) - 1, -1, -1):
            tokens.append(int(self.tokens[place, step, beam]))
            beam = int(self.parents[place, step, beam])
        return tokens[::-1]

    def _settle(self, place: int) -> None:
        """A search whose every continuation is banned gives its unfinished beams of the step before."""
        if self.best[place][0]:
            return
        length = int(self.length[place])
        for beam, log_prob in enumerate(self.sums[place].tolist()):
            if log_prob > -INFINITY:
                tokens = tuple(self._generated(place, beam))
                for number, penalty in enumerate(self.penalties):
                    score = penalty.score(log_prob, length) if length else -INFINITY
                    self._insert(place, number, Hypothesis(tokens, log_prob, score, False))
