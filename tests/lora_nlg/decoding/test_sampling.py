"""Sampling: frequencies against the model's own probabilities, nucleus by hand, limits."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from beam_reference import log_softmax, next_logits, random_model

from lora_nlg.decoding import BeamSettings, SamplingSettings, beam_search, beam_search_penalties, sample
from lora_nlg.decoding.sampling import nucleus_
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_come_as_often_as_the_model_says(temperature: float) -> None:
    model = random_model(3, vocab_size=12, sharpness=0.2)
    settings = BeamSettings((0,), eval_len=1, n_best=4000, no_repeat_ngram_size=0)
    ((_, found),) = sample(InferenceGPT2(model), [[4, 5]], settings, SamplingSettings(temperature))
    counts = Counter(h.tokens[0] for h in found)
    log_probs = log_softmax([logit / temperature for logit in next_logits(model, [4, 5])])
    for token, log_prob in enumerate(log_probs):
        p = torch.tensor(log_prob).exp().item()
        assert counts[token] / 4000 == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5 + 1e-9)


def test_samples_end_obey_bans_and_are_scored_by_the_model() -> None:
    model = random_model(3, vocab_size=12, sharpness=0.2)
    settings = BeamSettings((0,), eval_len=30, n_best=20, no_repeat_ngram_size=2, min_length=3)
    ((_, found),) = sample(InferenceGPT2(model), [[4, 5]], settings, SamplingSettings(random_seed=5))
    assert len(found) == 20 and any(h.finished for h in found)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    for hypothesis in found:
        pairs = list(zip(hypothesis.tokens, hypothesis.tokens[1:], strict=False))
        assert len(set(pairs)) == len(pairs) and 0 not in hypothesis.tokens[:3]
        assert hypothesis.finished == (hypothesis.tokens[-1] == 0)
        assert hypothesis.score == pytest.approx(hypothesis.log_prob / len(hypothesis.tokens) ** 0.8)


def test_nucleus_keeps_the_fewest_tokens_that_reach_top_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    for top_p, kept in ((0.4, 1), (0.5, 1), (0.7, 2), (0.9, 3), (1.0, 4)):
        rows = logits.clone()
        nucleus_(rows, top_p)
        assert (rows > float("-inf")).sum(1).tolist() == [kept, kept]
        assert rows[0, 0] > float("-inf") and rows[1, 3] > float("-inf")


def test_a_tiny_nucleus_is_greedy_search() -> None:
    model = InferenceGPT2(random_model(5))
    prompts = [[3, 4], [9], [7, 7, 7]]
    settings = BeamSettings((0, 1), beam=1, eval_len=12)
    drawn = dict(sample(model, prompts, settings, SamplingSettings(top_p=1e-9)))
    assert drawn == dict(beam_search(model, prompts, settings))


def test_the_caller_is_not_in_inference_mode_between_results() -> None:
    model, settings = InferenceGPT2(random_model(5)), BeamSettings((0, 1), beam=2, eval_len=6)
    prompts = [[3, 4], [9], [7, 7, 7]]
    for results in (beam_search(model, prompts, settings, 1), sample(model, prompts, settings, SamplingSettings(), 1)):
        for _ in results:
            assert not torch.is_inference_mode_enabled() and torch.ones(1, requires_grad=True).mul(2).requires_grad


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(values))}`"):
        SamplingSettings(**values)


@pytest.mark.parametrize("semantics", ["lora", "hf"])
def test_one_search_ranked_by_several_penalties_is_each_search(semantics: str) -> None:
    model = InferenceGPT2(random_model(17, vocab_size=30, sharpness=0.5))
    prompts = [[3, 4, 5], [9], [7, 7, 7, 8]]
    settings = BeamSettings((0, 1), beam=5, eval_len=16, semantics=semantics, n_best=3)
    penalties = [-1.0, 0.0, 0.8, 3.0]
    together = dict(beam_search_penalties(model, prompts, settings, penalties))
    for position, penalty in enumerate(penalties):
        alone = BeamSettings((0, 1), 5, penalty, eval_len=16, semantics=semantics, n_best=3)
        assert {i: rankings[position] for i, rankings in together.items()} == dict(beam_search(model, prompts, alone))
