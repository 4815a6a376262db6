"""Batched beam search over a stream of contexts: exact, batch-invariant, with a lossless early stop.

The search of microsoft/LoRA's examples/NLG (`semantics="lora"`) or of transformers' `generate` (`"hf"`); the
settings say where they differ. Contexts wait in order of length; one that is done makes room for the next, whose
prompt rides along in the forward pass of the others' beams. On CUDA the same search runs in steps of fixed shape
(graph_search.py). Shapes: A contexts at work, n beams each, R rows of
logits (one a living beam), V vocabulary, E tokens generated at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lora_nlg.decoding.cache import BeamCache, CachedAttention
from lora_nlg.decoding.constraints import constrain_
from lora_nlg.decoding.graph_search import GraphSearch, places_that_fit
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.decoding.record import SearchRecord
from lora_nlg.decoding.selection import Candidates, best_continuations, next_beams
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2

BATCH_SIZE = 32  # contexts at work at a time where steps have no fixed shape


def beam_search(
    model: InferenceGPT2, prompts: Sequence[Sequence[int]], settings: BeamSettings, batch_size: int | None = None
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Search the best continuations of prompts.

    Args:
        model: the model, laid out for inference.
        prompts: token ids; none empty, none longer than the model's `window` less `eval_len`.
        settings: of the search.
        batch_size: contexts at work at a time. The answers don't depend on it. Default: 32 on the CPU, on CUDA what
            its memory holds.

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
    batch_size: int | None = None,
    cuda_graph: bool = True,
) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
    """One search, ranked by several length penalties: for each, exactly what a search of its own would give.

    Beams are kept by their sums alone; a length penalty only ranks what has finished and says when to stop. A search
    for several goes on until all of them are decided. (Another beam size is another search: of its beams, not only
    of its ranking.)

    Args:
        model, prompts, settings, batch_size: as for `beam_search`; the settings' own penalty is not used.
        length_penalties: at least one.
        cuda_graph: record steps on CUDA as graphs. Default: True.

    Yields:
        (index of the prompt, for each penalty its hypotheses, best first), in the order in which searches end.
    """
    check_prompts(model, prompts, settings, batch_size)
    if not prompts:
        return
    penalties = [LengthPenalty(penalty, settings.eval_len) for penalty in length_penalties]
    if model.device.type == "cuda":
        places = batch_size or places_that_fit(model, settings, max(map(len, prompts)))
        yield from GraphSearch(model, prompts, settings, penalties, min(places, len(prompts)), cuda_graph).run()
    else:
        yield from Search(model, prompts, settings, penalties, min(batch_size or BATCH_SIZE, len(prompts))).run()


def check_prompts(
    model: InferenceGPT2, prompts: Sequence[Sequence[int]], settings: BeamSettings, batch_size: int | None
) -> None:
    """Refuse prompts that can't be searched; see `beam_search`.

    Raises:
        InputError: a prompt that is empty, too long or of other ids than the model's; settings that leave it no room.
    """
    V, window = model.config.vocab_size, model.window
    if batch_size is not None and batch_size < 1:
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


class Search:
    """A batch of searches at work.

    Args:
        model, prompts, settings: as for `beam_search`, checked.
        penalties: rankings wanted.
        places: contexts at work at a time.
    """

    stops_early = True

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
        self.record = SearchRecord(settings, penalties, places, self.stops_early)
        self.end_ids = torch.tensor(settings.end_ids or (), dtype=torch.long, device=device)
        self.active = 0  # places in use, A
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
        while self.active:
            candidates = self._step(new)
            done = self._advance(candidates)
            for place in done:
                yield int(self.record.index[place]), self.record.best[place]
            new = self._fill(done)

    def _fill(self, done: list[int]) -> list[int]:
        """Give the places of contexts that are done to waiting ones, close the gaps left. Returns the new places."""
        new = []
        free = min(len(self.waiting), self.capacity - self.active)
        done = [*done, *range(self.active, self.active + free)]
        self.active += free
        for place in sorted(done, reverse=True):
            if self.waiting:
                self._admit(place, self.waiting.pop())
                new.append(place)
                continue
            last = self.active - 1
            if place != last:
                self._move(last, place)
                new = [place if at == last else at for at in new]
            self.active -= 1
        return sorted(new)

    def _prompt(self, place: int) -> Sequence[int]:
        return self.prompts[int(self.record.index[place])]

    def _admit(self, place: int, index: int) -> None:
        prompt = self.prompts[index]
        self.record.admit(place, index, self.first_sums.cpu().numpy())
        self.cache.admit(place, len(prompt))
        self.sums[place] = self.first_sums
        counted = len(prompt) if self.prompt_counts else 0
        self.history[place, :, :counted] = torch.tensor(prompt[:counted], device=self.history.device)
        self.history_length[place] = counted

    def _move(self, source: int, target: int) -> None:
        self.record.move(source, target)
        self.cache.move(source, target)
        for state in (self.sums, self.history, self.history_length):
            state[target] = state[source]

    def _step(self, new: list[int]) -> Candidates:
        """One forward pass: the newest token of every living beam, and the prompts of new contexts."""
        A, n = self.active, self.settings.beam
        device = self.sums.device
        sums = self.sums[:A]
        alive = sums > float("-inf")
        beams = alive.clone()
        beams[new] = False
        rows = beams.flatten().nonzero().flatten()  # (R,) place * n + beam
        last = (self.history_length[:A] - 1).clamp_(min=0)
        newest = self.history[:A].gather(2, last[:, None, None].expand(-1, n, 1)).flatten()[rows]
        lengths = self.record.length[:A].tolist()
        position = torch.tensor([len(self._prompt(place)) + lengths[place] - 1 for place in range(A)], device=device)
        prompts = [self._prompt(place) for place in new]
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
        logits = self.model.logits(hidden)
        length = self.history_length[rows // n]
        history = self.history.view(-1, self.history.shape[2])[rows][:, : int(length.max())]
        normaliser = constrain_(logits, history, length, self.end_ids, self.settings)
        return self._choose(logits, normaliser, sums, row_of)

    def _choose(self, logits: Tensor, normaliser: Tensor, sums: Tensor, row_of: Tensor) -> Candidates:
        return best_continuations(logits, normaliser, sums, row_of, self.settings.candidates)

    def _advance(self, candidates: Candidates) -> list[int]:
        """Split candidates into finished hypotheses and the next beams. Returns the places that are done."""
        A, n = self.active, self.settings.beam
        found = (candidates.sums, candidates.parents, candidates.tokens)
        done = self.record.step(np.arange(A), *(values.cpu().numpy() for values in found))
        beams = next_beams(candidates, self.end_ids, self.settings)
        self.cache.advance(beams.parents, beams.alive)
        self.sums[:A] = beams.sums
        length = self.history_length[:A]
        history = self.history[:A].gather(1, beams.parents[..., None].expand(-1, -1, self.history.shape[2]))
        self.history[:A] = history.scatter_(2, length[:, None, None].expand(-1, n, 1), beams.tokens[..., None])
        length += 1
        return done
