"""The search in steps of fixed shape against the search on the CPU: one search, two ways to run it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from beam_reference import random_model
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lora_nlg.batching import prompt_tokens
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings, Hypothesis, beam_search_penalties
from lora_nlg.decoding.fixed_step import SLOT_MULTIPLE
from lora_nlg.decoding.graph_search import GraphSearch
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.base import load_base

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"
END, BLANK = 0, 1


def prompts_of(count: int, seed: int, vocab_size: int, longest: int = 12) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(2, vocab_size) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def fixed_search(model, prompts, settings, penalties=None, places=4):
    rankings = [LengthPenalty(penalty, settings.eval_len) for penalty in penalties or [settings.length_penalty]]
    with torch.inference_mode():
        found = dict(GraphSearch(model, prompts, settings, rankings, min(places, len(prompts))).run())
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


def ragged_search(model, prompts, settings, penalties=None):
    found = dict(beam_search_penalties(model, prompts, settings, penalties or [settings.length_penalty]))
    return [found[i] for i in range(len(prompts))]


def assert_same(found: list[list[list[Hypothesis]]], expected: list[list[list[Hypothesis]]]) -> None:
    for rankings, expected_rankings in zip(found, expected, strict=True):
        for ranking, expected_ranking in zip(rankings, expected_rankings, strict=True):
            assert [(h.tokens, h.finished) for h in ranking] == [(h.tokens, h.finished) for h in expected_ranking]
            for one, other in zip(ranking, expected_ranking, strict=True):
                assert one.log_prob == pytest.approx(other.log_prob, rel=1e-6, abs=2e-5)
                assert one.score == pytest.approx(other.score, rel=1e-6, abs=2e-5)


def strategy_settings():
    return st.builds(
        lambda **values: BeamSettings(**{**values, "min_length": min(values["min_length"], values["eval_len"])}),
        end_ids=st.sampled_from([(), (END,), (END, BLANK), (END, BLANK, 2, 3)]),
        beam=st.integers(1, 6),
        no_repeat_ngram_size=st.integers(0, 4),
        repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
        min_length=st.sampled_from([0, 0, 3]),
        eval_len=st.sampled_from([1, 2, 9, 20]),
        semantics=st.sampled_from(["lora", "hf"]),
        n_best=st.integers(1, 4),
    )


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(
    model_seed=st.integers(0, 5),
    settings=strategy_settings(),
    sharpness=st.sampled_from([0.05, 0.4, 0.9]),
    places=st.integers(1, 11),
    penalties=st.lists(st.sampled_from([0.0, 0.8, 1.0, 2.5, -0.7, -2.0]), min_size=1, max_size=3),
)
def test_gives_the_answers_of_the_search_on_the_cpu(model_seed, settings, sharpness, places, penalties):
    model = InferenceGPT2(random_model(model_seed, vocab_size=24, sharpness=sharpness))
    prompts = prompts_of(11, seed=model_seed, vocab_size=24)
    expected = ragged_search(model, prompts, settings, penalties)
    assert_same(fixed_search(model, prompts, settings, penalties, places), expected)


def test_reproduces_every_recorded_output(shared_golden: Path):
    recorded = json.loads((shared_golden / "beam.json").read_text())
    model = InferenceGPT2(load_base(shared_golden / "base.safetensors"))
    for result in recorded["results"]:
        settings = dict(result["settings"])
        settings = BeamSettings(end_ids=tuple(settings.pop("eos_token_id")), **settings)
        found = fixed_search(model, recorded["contexts"], settings, places=16)
        assert [list(ranking[0].tokens) for (ranking,) in found] == result["outputs"], settings


@pytest.mark.parametrize("semantics", ["lora", "hf"])
def test_agrees_on_real_contexts(semantics):
    model = InferenceGPT2(load_base(SAMPLE / "base"))
    tokenizer = load_tokenizer(str(SAMPLE / "base"))
    contexts = list(dict.fromkeys(record.context for record in read_records(SAMPLE / "test.jsonl")))[:12]
    prompts = [prompt_tokens(tokenizer, context) for context in contexts]
    settings = BeamSettings(end_ids=tokenizer.end_ids, eval_len=24, beam=5, n_best=3, semantics=semantics)
    assert_same(fixed_search(model, prompts, settings, places=5), ragged_search(model, prompts, settings))


def test_slots_grow_when_beams_stay_apart():
    # A uniform model with distinct continuations keeps all beams alive in different branches for long.
    model = InferenceGPT2(random_model(4, vocab_size=30, sharpness=0.02))
    prompts = prompts_of(5, seed=9, vocab_size=30)
    settings = BeamSettings((END,), beam=40, eval_len=12, n_best=3)
    rankings = [LengthPenalty(settings.length_penalty, settings.eval_len)]
    search = GraphSearch(model, prompts, settings, rankings, 2)
    before = search.step.n_slots
    with torch.inference_mode():
        found = dict(search.run())
    assert search.step.n_slots > before and search.step.n_slots % SLOT_MULTIPLE == 0
    assert_same([found[i] for i in range(5)], ragged_search(model, prompts, settings))


def test_what_a_step_reads_and_writes_stays_where_it_is():
    # What makes a step fit to be recorded: every tensor of its state is changed in place, whoever comes and goes.
    model = InferenceGPT2(random_model(3, vocab_size=40, sharpness=0.9))
    settings = BeamSettings((END, BLANK), beam=4, eval_len=40)
    search = GraphSearch(model, prompts_of(18, 1, 40), settings, [LengthPenalty(0.8, 40)], 16)
    search.step.grow(256)  # room enough from the start
    tensors = {name: value for name, value in vars(search.step).items() if isinstance(value, torch.Tensor)}
    shapes = set()

    def step(*shape, original=search.graphs.step):
        shapes.add(shape)
        original(*shape)

    search.graphs.step = step
    with torch.inference_mode():
        assert len(dict(search.run())) == 18
    assert {name: value.data_ptr() for name, value in tensors.items()} == {
        name: getattr(search.step, name).data_ptr() for name in tensors
    }
    assert {16, 4} <= {places for places, _ in shapes} <= {16, 4, 1}  # at the end fewer places are computed
    assert all(slots % SLOT_MULTIPLE == 0 for _, slots in shapes)


def test_damaged_weights_are_said_so():
    model = random_model(0)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="not numbers"):
        fixed_search(InferenceGPT2(model), [[3]], BeamSettings((END,), eval_len=8))


def test_a_search_with_nothing_left_to_say_gives_what_it_said():
    model = InferenceGPT2(random_model(1, vocab_size=4))
    settings = BeamSettings((END,), beam=2, eval_len=9, no_repeat_ngram_size=1, min_length=9)
    prompts = [[3], [2, 3]]
    assert_same(fixed_search(model, prompts, settings), ragged_search(model, prompts, settings))
    settings = replace(settings, end_ids=(0, 1, 2, 3), no_repeat_ngram_size=4, min_length=1)
    ((found,),) = fixed_search(model, [[3]], settings)
    assert found[0].tokens == () and found[0].score == float("-inf")
