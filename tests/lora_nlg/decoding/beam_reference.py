"""Small random models, and a slow beam search that is easy to believe.

The search takes one context, has no cache and no batch, sorts every candidate and runs at full length; every beam's
whole sequence goes through the model in float64 at every step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from lora_nlg.decoding.settings import BeamSettings
from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2

Scored = tuple[float, float, tuple[int, ...]]  # score, sum of log-probabilities, tokens


def random_model(seed: int, vocab_size: int = 40, n_positions: int = 64, sharpness: float = 0.4) -> GPT2:
    """A 2-layer GPT-2; a larger `sharpness` gives more peaked distributions."""
    torch.manual_seed(seed)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=vocab_size, n_positions=n_positions))
    model.reset_parameters()
    with torch.no_grad():
        model.transformer.wte.weight.normal_(0, sharpness)
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and ".h." in name and "ln" not in name:
                parameter.mul_(6)
    return model.eval()


def next_logits(model: GPT2, tokens: Sequence[int]) -> list[float]:
    """Logits of the token after a sequence, in float64."""
    with torch.no_grad():
        hidden = model(torch.tensor(tokens), torch.arange(len(tokens)), FlatAttention([len(tokens)]))
        return model.logits(hidden[-1:])[0].tolist()


def log_softmax(logits: Sequence[float]) -> list[float]:
    greatest = max(logits)
    if greatest == -math.inf:
        return list(logits)
    log_sum = greatest + math.log(sum(math.exp(x - greatest) for x in logits))
    return [x - log_sum for x in logits]


def constrain(scores: list[float], history: Sequence[int], settings: BeamSettings) -> list[float]:
    """Repetition penalty, then bans of early ends and of repeated n-grams."""
    scores = list(scores)
    for token in set(history):
        scores[token] = (
            scores[token] * settings.repetition_penalty
            if scores[token] < 0
            else (scores[token] / settings.repetition_penalty)
        )
    if len(history) < settings.min_length:
        for token in settings.end_ids or ():
            scores[token] = -math.inf
    size = settings.no_repeat_ngram_size
    if size:
        for start in range(len(history) - size + 1):
            ngram = tuple(history[start : start + size])
            if ngram[:-1] == tuple(history[len(history) - size + 1 :]):
                scores[ngram[-1]] = -math.inf
    return scores


def reference_search(model: GPT2, prompt: Sequence[int], settings: BeamSettings) -> list[Scored]:
    """All finished hypotheses of a full-length search, best first; the earlier first among equals."""
    model = copy.deepcopy(model).double()
    n, E, ends = settings.beam, settings.eval_len, set(settings.end_ids or ())
    beams: list[tuple[tuple[int, ...], float] | None] = [((), 0.0)]
    finished: list[Scored] = []
    for length in range(1, E + 1):
        candidates = []
        for place, beam in enumerate(beams):
            if beam is None:
                continue
            tokens, total = beam
            logits = next_logits(model, [*prompt, *tokens])
            if settings.semantics == "lora":
                log_probs = log_softmax(constrain(logits, tokens, settings))
            elif n == 1:  # transformers' greedy search penalises raw logits
                penalty = replace(settings, min_length=0, no_repeat_ngram_size=0)
                penalised = log_softmax(constrain(logits, [*prompt, *tokens], penalty))
                log_probs = constrain(penalised, [*prompt, *tokens], replace(settings, repetition_penalty=1.0))
            else:
                log_probs = constrain(log_softmax(logits), [*prompt, *tokens], settings)
            candidates += [
                (-(total + log_prob), place, token) for token, log_prob in enumerate(log_probs) if log_prob > -math.inf
            ]
        candidates.sort()
        new: list[tuple[tuple[int, ...], float] | None] = []
        unfinished = []
        for rank, (negative, place, token) in enumerate(candidates[: settings.candidates]):
            tokens = (*beams[place][0], token)  # type: ignore[index]
            entry = (-negative / length**settings.length_penalty, -negative, tokens)
            if token in ends:
                if rank < n:
                    finished.append(entry)
                if settings.semantics == "lora" or n == 1:  # transformers is greedy with one beam
                    new.append(None)
                continue
            if rank < n:
                unfinished.append(entry)
            if len(new) < n:
                new.append((tokens, -negative))
        if length == E:
            finished += unfinished
        beams = new
    return sorted(finished, key=lambda entry: -entry[0])
