"""Beam search against a slow reference, across settings, batches and threads; its early stop; its limits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from beam_reference import random_model, reference_search
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lora_nlg.decoding import BeamSettings, beam_search
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2

END, BLANK = 0, 1


def prompts_of(count: int, seed: int, vocab_size: int = 40, longest: int = 12) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(2, vocab_size) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def search(model, prompts, settings, batch_size=4):
    found = dict(beam_search(InferenceGPT2(model), prompts, settings, batch_size))
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


def strategy_settings():
    return st.builds(
        lambda **values: BeamSettings(**{**values, "min_length": min(values["min_length"], values["eval_len"])}),
        end_ids=st.sampled_from([(END,), (END, BLANK), (END, BLANK, 2, 3)]),
        beam=st.integers(1, 6),
        length_penalty=st.sampled_from([0.0, 0.8, 1.0, 2.5, -0.7, -2.0]),
        no_repeat_ngram_size=st.integers(0, 4),
        repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
        min_length=st.sampled_from([0, 0, 3]),
        eval_len=st.sampled_from([1, 2, 9]),
        semantics=st.sampled_from(["lora", "hf"]),
        n_best=st.integers(1, 4),
    )


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(model_seed=st.integers(0, 5), settings=strategy_settings(), sharpness=st.sampled_from([0.4, 0.9]))
def test_equals_the_full_length_reference_with_early_stop_on(model_seed, settings, sharpness):
    model = random_model(model_seed, vocab_size=24, sharpness=sharpness)
    prompts = prompts_of(3, seed=model_seed, vocab_size=24)
    for prompt, found in zip(prompts, search(model, prompts, settings), strict=True):
        expected = reference_search(model, prompt, settings)[: settings.n_best]
        assert [h.tokens for h in found] == [tokens for _, _, tokens in expected]
        for hypothesis, (_, log_prob, tokens) in zip(found, expected, strict=True):
            assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-4)  # fp32 against float64
            assert hypothesis.score == pytest.approx(hypothesis.log_prob / len(tokens) ** settings.length_penalty)


def test_early_stop_saves_steps_and_waits_where_the_penalty_rewards_length():
    prompts = prompts_of(12, seed=1)
    rows = {}
    for penalty in (0.0, 0.8, 4.0):
        inference, counts = InferenceGPT2(random_model(3, sharpness=0.9)), []

        def forward(tokens, *rest, counts=counts, original=inference.forward):
            counts.append(len(tokens))
            return original(tokens, *rest)

        inference.forward = forward
        settings = BeamSettings((END, BLANK), beam=4, eval_len=40, length_penalty=penalty)
        dict(beam_search(inference, prompts, settings, batch_size=12))
        rows[penalty] = sum(counts)
    assert rows[0.0] < rows[0.8] < rows[4.0]


@pytest.mark.parametrize("semantics", ["lora", "hf"])
def test_answers_and_scores_are_the_same_bits_in_every_batch(semantics):
    model = random_model(2, vocab_size=300, sharpness=0.3)
    prompts = prompts_of(23, seed=2, vocab_size=300, longest=20)
    settings = BeamSettings((END, BLANK), beam=5, eval_len=24, semantics=semantics, n_best=5)
    alone = search(model, prompts, settings, batch_size=1)
    for batch_size in (2, 7, 64):
        assert search(model, prompts, settings, batch_size) == alone
    assert search(model, prompts[::-1], settings, batch_size=7)[::-1] == alone
    assert len({h.tokens for found in alone for h in found}) > 23


def test_ties_go_to_the_lower_beam_then_the_lower_token():
    model = random_model(0, vocab_size=200)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # every token is equally likely everywhere
    (found,) = search(model, [[5]], BeamSettings((199,), beam=3, eval_len=2, no_repeat_ngram_size=0, n_best=3))
    assert [h.tokens for h in found] == [(0, 0), (0, 1), (0, 2)]


def test_a_beam_larger_than_the_vocabulary_leaves_places_empty():
    model = random_model(1, vocab_size=6)
    settings = BeamSettings((END,), beam=50, eval_len=3, n_best=50, no_repeat_ngram_size=0)
    (found,) = search(model, [[3, 4]], settings)
    expected = reference_search(model, [3, 4], settings)[:50]
    assert [h.tokens for h in found] == [tokens for _, _, tokens in expected]


def test_a_search_with_nothing_left_to_say_gives_what_it_said():
    model = random_model(1, vocab_size=4)
    settings = BeamSettings((END,), beam=2, eval_len=9, no_repeat_ngram_size=1, min_length=9)
    (found,) = search(model, [[3]], settings)
    assert sorted(found[0].tokens) == [1, 2, 3]
    assert not found[0].finished
    (found,) = search(model, [[3]], BeamSettings((0, 1, 2, 3), beam=2, eval_len=9, min_length=1))
    assert found[0].tokens == () and found[0].score == float("-inf")


def test_prompts_that_cannot_be_searched_are_refused():
    model = InferenceGPT2(random_model(0))
    settings = BeamSettings((END,), eval_len=60)
    for prompts, message in [
        ([[2], []], "context 1 has no token"),
        ([[2] * 5], "leave room for 4"),
        ([[40]], "outside the model's vocabulary of 40"),
        ([[-1]], "outside the model's vocabulary"),
    ]:
        with pytest.raises(InputError, match=message):
            list(beam_search(model, prompts, settings))
    with pytest.raises(InputError, match="leaves no room"):
        list(beam_search(model, [[2]], replace(settings, eval_len=64)))
    with pytest.raises(InputError, match="end token 77"):
        list(beam_search(model, [[2]], replace(settings, end_ids=(77,))))
    assert list(beam_search(model, [], settings)) == []


def test_settings_out_of_range_are_named_together():
    with pytest.raises(InputError, match=r"`beam` .*`repetition_penalty` .*`semantics`"):
        BeamSettings(beam=0, repetition_penalty=0.0, semantics="other")


def test_damaged_weights_are_said_so():
    model = random_model(0)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="not numbers"):
        search(model, [[3]], BeamSettings((END,), eval_len=8))


def test_slots_grow_when_beams_stay_apart():
    # A uniform model with distinct continuations keeps all beams alive in different branches for long.
    model = random_model(4, vocab_size=30, sharpness=0.02)
    prompts = prompts_of(2, seed=9, vocab_size=30)
    settings = BeamSettings((END,), beam=40, eval_len=12, n_best=3)
    for prompt, found in zip(prompts, search(model, prompts, settings), strict=True):
        expected = reference_search(model, prompt, settings)[:3]
        assert [h.tokens for h in found] == [tokens for _, _, tokens in expected]
