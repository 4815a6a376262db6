"""Batched beam search over a stream of contexts: exact, batch-invariant, with a lossless early stop.

The search of microsoft/LoRA's examples/NLG (`semantics="lora"`) or of transformers' `generate` (`"hf"`); the
settings say where they differ. Contexts wait in order of length; one that is done makes room for the next, whose
prompt rides along in the forward pass of the others' beams. Shapes: A contexts at work, n beams each, R rows of
logits (one a living beam), V vocabulary, E tokens generated at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lora_nlg.decoding.cache import BeamCache, CachedAttention
from lora_nlg.decoding.constraints import ban_ends_, ban_ngrams_, penalise_repetition_
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.decoding.selection import Candidates, best_continuations, log_normaliser
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2


def beam_search(
    model: InferenceGPT2, prompts: Sequence[Sequence[int]], settings: BeamSettings, batch_size: int = 32
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Search the best continuations of prompts.

    Args:
        model: the model, laid out for inference.
        prompts: token ids; none empty, none longer than the model's positions less `eval_len`.
        settings: of the search.
        batch_size: contexts at work at a time. The answers don't depend on it. Default: 32.

    Yields:
        (index of the prompt, its hypotheses, best first), in the order in which searches end.

    Raises:
        InputError: a prompt is empty, too long or holds ids outside the vocabulary, or the model's scores are not
            numbers.
    """
    for index, (hypotheses,) in beam_search_penalties(model, prompts, settings, [settings.length_penalty], batch_size):
        yield index, hypotheses


@torch.inference_mode()  # of a generator: on while it runs, and not in its caller between two results
def beam_search_penalties(
    model: InferenceGPT2,
    prompts: Sequence[Sequence[int]],
    settings: BeamSettings,
    length_penalties: Sequence[float],
    batch_size: int = 32,
) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
    """One search, ranked by several length penalties: for each, exactly what a search of its own would give.

    Beams are kept by their sums alone; a length penalty only ranks what has finished and says when to stop. A search
    for several goes on until all of them are decided. (Another beam size is another search: of its beams, not only
    of its ranking.)

    Args:
        model, prompts, settings, batch_size: as for `beam_search`; the settings' own penalty is not used.
        length_penalties: at least one.

    Yields:
        (index of the prompt, for each penalty its hypotheses, best first), in the order in which searches end.
    """
    check_prompts(model, prompts, settings, batch_size)
    if prompts:
        penalties = [LengthPenalty(penalty, settings.eval_len) for penalty in length_penalties]
        yield from Search(model, prompts, settings, penalties, min(batch_size, len(prompts))).run()


def check_prompts(
    model: InferenceGPT2, prompts: Sequence[Sequence[int]], settings: BeamSettings, batch_size: int
) -> None:
    """Refuse prompts that can't be searched; see `beam_search`."""
    V, window = model.config.vocab_size, model.config.n_positions
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, got {batch_size}")
    if settings.eval_len >= window:
        raise InputError(
            f"`eval_len` {settings.eval_len} leaves no room for a context: the model has {window} positions"
        )
    if outside := [token for token in settings.end_ids or () if token >= V]:
        raise InputError(f"end token {outside[0]} lies outside the model's vocabulary of {V}")
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"context {number} has no token; an empty context is the separator alone")
        if len(prompt) + settings.eval_len > window:
            raise InputError(
                f"context {number} has {len(prompt)} tokens; with `eval_len` {settings.eval_len} the model's {window} "
                f"positions leave room for {window - settings.eval_len}"
            )
        if not 0 <= min(prompt) <= max(prompt) < V:
            raise InputError(f"context {number} holds a token outside the model's vocabulary of {V}")


class _Context:
    """One search at work: which prompt, how far, and what has finished."""

    def __init__(self, index: int, prompt: Sequence[int], n_rankings: int) -> None:
        self.index, self.prompt = index, prompt
        self.length = 0
        self.best: list[list[Hypothesis]] = [[] for _ in range(n_rankings)]  # one ranking a length penalty


def _insert(ranking: list[Hypothesis], hypothesis: Hypothesis, n_best: int) -> None:
    """Keep it if it is among the n best; of equal scores the earlier stays ahead."""
    place = len(ranking)
    while place and ranking[place - 1].score < hypothesis.score:
        place -= 1
    ranking.insert(place, hypothesis)
    del ranking[n_best:]


class Search:
    """The state of a batch of searches.

    Args:
        model, prompts, settings: as for `beam_search`, checked.
        penalties: rankings wanted.
        places: contexts at work at a time.
    """

    def __init__(
        self,
        model: InferenceGPT2,
        prompts: Sequence[Sequence[int]],
        settings: BeamSettings,
        penalties: Sequence[LengthPenalty],
        places: int,
    ) -> None:
        self.model, self.prompts, self.settings = model, prompts, settings
        n, E, device = settings.beam, settings.eval_len, model.device
        # Longest first: the cache has its final size from the start. Taken from the end.
        self.waiting = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), -i))
        longest = len(prompts[self.waiting[-1]])
        self.cache = BeamCache(model.config, places, n, longest + E + 2 * n, model.dtype, device)
        self.penalties = penalties
        self.end_ids = torch.tensor(settings.end_ids or (), dtype=torch.long, device=device)
        self.places: list[_Context] = []
        # A prompt is one beam at first.
        self.first_sums = torch.full((n,), float("-inf"), device=device)
        self.first_sums[0] = 0.0
        self.sums = torch.full((places, n), float("-inf"), device=device)
        # What bans and penalties look at: generated tokens, behind the prompt's if semantics say so.
        self.prompt_counts = settings.semantics == "hf"
        width = E + (longest if self.prompt_counts else 0)
        self.history = torch.zeros(places, n, width, dtype=torch.long, device=device)
        self.history_length = torch.zeros(places, dtype=torch.long, device=device)
        self.capacity = places

    def run(self) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
        """Search all prompts; yields (index, a list of hypotheses for each penalty) as searches end."""
        new = self._fill([])
        while self.places:
            candidates = self._step(new)
            done = self._advance(candidates)
            for place in done:
                context = self.places[place]
                yield context.index, context.best
            new = self._fill(done)

    def _fill(self, done: list[int]) -> list[int]:
        """Give the places of contexts that are done to waiting ones, close the gaps left. Returns the new places."""
        new = []
        while self.waiting and len(self.places) < self.capacity:
            done = [*done, len(self.places)]
            self.places.append(_Context(-1, (), 0))
        for place in sorted(done, reverse=True):
            if self.waiting:
                self._admit(place, self.waiting.pop())
                new.append(place)
                continue
            last = len(self.places) - 1
            if place != last:
                self._move(last, place)
                new = [place if at == last else at for at in new]
            self.places.pop()
        return sorted(new)

    def _admit(self, place: int, index: int) -> None:
        prompt = self.prompts[index]
        self.places[place] = _Context(index, prompt, len(self.penalties))
        self.cache.admit(place, len(prompt))
        self.sums[place] = self.first_sums
        counted = len(prompt) if self.prompt_counts else 0
        self.history[place, :, :counted] = torch.tensor(prompt[:counted], device=self.history.device)
        self.history_length[place] = counted

    def _move(self, source: int, target: int) -> None:
        self.places[target] = self.places[source]
        self.cache.move(source, target)
        for state in (self.sums, self.history, self.history_length):
            state[target] = state[source]

    def _step(self, new: list[int]) -> Candidates:
        """One forward pass: the newest token of every living beam, and the prompts of new contexts."""
        A, n = len(self.places), self.settings.beam
        device = self.sums.device
        sums = self.sums[:A]
        alive = sums > float("-inf")
        beams = alive.clone()
        beams[new] = False
        rows = beams.flatten().nonzero().flatten()  # (R,) place * n + beam
        last = (self.history_length[:A] - 1).clamp_(min=0)
        newest = self.history[:A].gather(2, last[:, None, None].expand(-1, n, 1)).flatten()[rows]
        position = torch.tensor([len(c.prompt) + c.length - 1 for c in self.places], device=device)
        prompts = [self.places[place].prompt for place in new]
        flat = [token for prompt in prompts for token in prompt]
        tokens = torch.cat([newest, torch.tensor(flat, dtype=torch.long, device=device)])
        ranges = [torch.arange(len(prompt), device=device) for prompt in prompts]
        positions = torch.cat([position[rows // n], *ranges])
        attention = CachedAttention(self.cache, A, rows, list(zip(new, map(len, prompts), strict=True)))
        hidden = self.model.forward(tokens, positions, attention)
        ends = len(rows) + np.cumsum([len(prompt) for prompt in prompts]) - 1  # each prompt's last row
        if new:
            last_rows = torch.from_numpy(ends.astype(np.int64)).to(device)
            hidden = torch.cat([hidden[: len(rows)], hidden.index_select(0, last_rows)])
            rows = torch.cat([rows, torch.tensor(new, device=device) * n])
        row_of = torch.zeros(A * n, dtype=torch.long, device=device)
        row_of[rows] = torch.arange(len(rows), device=device)
        row_of = row_of.view(A, n)
        row_of[new] = row_of[new, :1]  # all beams of a new context start from its prompt's row
        logits, normaliser = self._scores(hidden, rows)
        return self._choose(logits, normaliser, sums, row_of)

    def _choose(self, logits: Tensor, normaliser: Tensor, sums: Tensor, row_of: Tensor) -> Candidates:
        return best_continuations(logits, normaliser, sums, row_of, self.settings.candidates)

    def _scores(self, hidden: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Constrained logits of each row and what they exceed its log-probabilities by."""
        settings, n = self.settings, self.settings.beam
        logits = self.model.logits(hidden)
        length = self.history_length[rows // n]
        history = self.history.view(-1, self.history.shape[2])[rows][:, : int(length.max())]
        if settings.semantics == "hf":
            normaliser = log_normaliser(logits)
            if settings.repetition_penalty != 1.0:  # acts on log-probabilities here
                logits -= normaliser[:, None]
                normaliser = torch.zeros_like(normaliser)
        penalise_repetition_(logits, history, length, settings.repetition_penalty)
        ban_ends_(logits, self.end_ids, length, settings.min_length)
        ban_ngrams_(logits, history, length, settings.no_repeat_ngram_size)
        if settings.semantics == "lora":
            normaliser = log_normaliser(logits)
        return logits, normaliser

    def _advance(self, candidates: Candidates) -> list[int]:
        """Split candidates into finished hypotheses and the next beams. Returns the places that are done."""
        A, n, E = len(self.places), self.settings.beam, self.settings.eval_len
        is_end = (candidates.tokens[..., None] == self.end_ids).any(-1)
        exists = candidates.sums > float("-inf")
        self._collect(candidates, is_end)
        if self.settings.refills:
            order = is_end.sort(dim=1, stable=True).indices[:, :n]  # the first n that go on
        else:
            order = torch.arange(n, device=is_end.device).expand(A, n)
        alive = (exists & ~is_end).gather(1, order)
        parents = candidates.parents.gather(1, order)
        tokens = candidates.tokens.gather(1, order).masked_fill(~alive, 0)
        sums = candidates.sums.gather(1, order).masked_fill(~alive, float("-inf"))
        greatest = sums.amax(1).tolist()
        done = []
        for place, context in enumerate(self.places):
            context.length += 1
            if greatest[place] == float("-inf") or context.length == E or self._is_decided(context, greatest[place]):
                self._settle(place, context)
                done.append(place)
        self.cache.advance(parents, alive)
        self.sums[:A] = sums
        length = self.history_length[:A]
        history = self.history[:A].gather(1, parents[..., None].expand(-1, -1, self.history.shape[2]))
        self.history[:A] = history.scatter_(2, length[:, None, None].expand(-1, n, 1), tokens[..., None])
        length += 1
        return done

    def _is_decided(self, context: _Context, greatest: float) -> bool:
        N = self.settings.n_best
        return all(
            len(best) == N and penalty.bound(greatest, context.length) <= best[-1].score
            for best, penalty in zip(context.best, self.penalties, strict=True)
        )

    def _collect(self, candidates: Candidates, is_end: Tensor) -> None:
        """Add the hypotheses that end in this step: among the n best, and all of those at the length limit."""
        n, E = self.settings.beam, self.settings.eval_len
        sums = candidates.sums[:, :n].cpu().numpy()
        if np.isnan(sums).any():
            raise InputError("the model's scores are not numbers (NaN): its weights have diverged or are damaged")
        ends = is_end[:, :n].cpu().numpy()
        parents = tokens = None
        for place, context in enumerate(self.places):
            is_last = context.length + 1 == E
            if not (is_last or ends[place].any()):
                continue
            if parents is None or tokens is None:
                parents, tokens = candidates.parents.cpu().numpy(), candidates.tokens.cpu().numpy()
            ranks = range(n)
            if is_last and not self.settings.refills:  # finished ones first: of equal scores they win
                ranks = sorted(ranks, key=lambda rank: not ends[place][rank])  # type: ignore[assignment]
            for rank in ranks:
                if sums[place, rank] > float("-inf") and (is_last or ends[place, rank]):
                    self._add(
                        place, parents[place, rank], int(tokens[place, rank]), sums[place, rank], ends[place, rank]
                    )

    def _add(self, place: int, beam: int, token: int, log_prob: float, finished: bool) -> None:
        context, N = self.places[place], self.settings.n_best
        tokens = None
        for best, penalty in zip(context.best, self.penalties, strict=True):
            score = penalty.score(log_prob, context.length + 1)
            if len(best) < N or score > best[-1].score:
                tokens = tokens or (*self._generated(place, beam), token)
                _insert(best, Hypothesis(tokens, float(log_prob), score, bool(finished)), N)

    def _generated(self, place: int, beam: int) -> list[int]:
        """Tokens generated by a beam before this step."""
        context = self.places[place]
        start = len(context.prompt) if self.prompt_counts else 0
        tokens: list[int] = self.history[place, beam, start : start + context.length].tolist()
        return tokens

    def _settle(self, place: int, context: _Context) -> None:
        """A search whose every continuation is banned gives its unfinished beams of the step before."""
        if context.best[0]:
            return
        context.length -= 1
        for beam, log_prob in enumerate(self.sums[place].tolist()):
            if log_prob > float("-inf"):
                tokens = tuple(self._generated(place, beam))
                for best, penalty in zip(context.best, self.penalties, strict=True):
                    score = penalty.score(log_prob, context.length) if context.length else float("-inf")
                    _insert(best, Hypothesis(tokens, log_prob, score, False), self.settings.n_best)
