"""Sampling from the model instead of searching: temperature and nucleus (Holtzman et al. 2020, section 3.1).

The n "beams" of a context are n independent samples that share its prompt's keys and values. Each context has a
random generator of its own, seeded with the seed and its prompt: its samples don't depend on the batch, on the
order of contexts or on the number of ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lora_nlg.decoding.beam_search import BATCH_SIZE, Search, check_prompts
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.decoding.selection import Candidates
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2


@dataclass(frozen=True)
class SamplingSettings:
    """Sampling instead of searching.

    Raises:
        InputError: a setting out of range.
    """

    temperature: float = 1.0
    """Of sampling: logits are divided by it; below 1 is more careful."""
    top_p: float = 1.0
    """Of sampling: from the fewest most likely tokens whose probabilities reach this sum."""
    random_seed: int = 0
    """Of sampling."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"`temperature` must be above 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"`top_p` must be above 0 and at most 1, got {self.top_p}")


@torch.inference_mode()
def sample(
    model: InferenceGPT2,
    prompts: Sequence[Sequence[int]],
    settings: BeamSettings,
    sampling: SamplingSettings,
    batch_size: int | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Draw `n_best` samples for each prompt.

    Args:
        model, prompts, batch_size: as for `beam_search`.
        settings: constraints, lengths and end tokens, as for `beam_search`; the beam is not used. Bans act before the
            softmax, as with `semantics="lora"`.
        sampling: temperature, nucleus and seed.

    Yields:
        (index of the prompt, its samples, the best score first), in the order in which they end. Scores are by the
        model's own distribution, bans included, at temperature 1.

    Raises:
        InputError: as `beam_search`.
    """
    check_prompts(model, prompts, settings, batch_size)
    if prompts:
        settings = replace(settings, beam=settings.n_best, semantics="lora")
        penalty = LengthPenalty(settings.length_penalty, settings.eval_len)
        for index, (hypotheses,) in _Sampling(model, prompts, settings, sampling, penalty, batch_size).run():
            yield index, hypotheses


def nucleus_(logits: Tensor, top_p: float) -> None:
    """Set to −inf all but the fewest most likely tokens of each row whose probabilities reach `top_p`, (R, V)."""
    if top_p == 1.0:
        return
    ordered, index = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
    # A token stays if those before it do not reach top_p; the first always does.
    outside = ordered.cumsum(-1) - ordered >= top_p
    logits.masked_fill_(torch.zeros_like(outside).scatter(-1, index, outside), float("-inf"))


class _Sampling(Search):
    stops_early = False

    def __init__(
        self,
        model: InferenceGPT2,
        prompts: Sequence[Sequence[int]],
        settings: BeamSettings,
        sampling: SamplingSettings,
        penalty: LengthPenalty,
        batch_size: int | None,
    ) -> None:
        super().__init__(model, prompts, settings, [penalty], min(batch_size or BATCH_SIZE, len(prompts)))
        self.sampling = sampling
        self.first_sums.fill_(0.0)  # all samples are there from the start
        self.generators: dict[int, torch.Generator] = {}

    def _choose(self, logits: Tensor, normaliser: Tensor, sums: Tensor, row_of: Tensor) -> Candidates:
        A, n = sums.shape
        sampled = logits / self.sampling.temperature
        nucleus_(sampled, self.sampling.top_p)
        # float64, so that a uniform number below 1 times the last sum stays below it.
        cumulative = sampled.softmax(-1, dtype=torch.float64).cumsum(-1)  # (R, V)
        uniform = torch.stack([self._uniform(place) for place in range(A)]).to(logits.device)  # (A, n)
        cumulative = cumulative[row_of]  # (A, n, V)
        threshold = uniform[..., None] * cumulative[..., -1:]
        tokens = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp_(max=logits.shape[1] - 1)
        log_prob = (logits[row_of, tokens] - normaliser[row_of]).clamp_(max=0.0)
        return Candidates(sums + log_prob, torch.arange(n, device=sums.device).expand(A, n), tokens)

    def _uniform(self, place: int) -> Tensor:
        """n uniform numbers for a context's next tokens."""
        index = int(self.record.index[place])
        if self.record.length[place] == 0:
            text = f"{self.sampling.random_seed} {list(self.prompts[index])}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
            self.generators[index] = torch.Generator().manual_seed(seed)
        return torch.rand(self.settings.beam, generator=self.generators[index])
