"""Decoding on CUDA: the answers of the CPU, a graph a shape, and one wait of the host a step, for a step gone by."""

from __future__ import annotations

import random

import pytest
import torch

import pretend_cuda
from lora_nlg.decoding import BeamSettings, SamplingSettings, beam_search_penalties, sample
from lora_nlg.decoding.graph_search import MOST_PLACES, GraphSearch, places_that_fit
from lora_nlg.gpt2 import GPT2, Bottleneck, GPT2Config, KeyValuePrefix, PromptPrefix, empty_gpt2
from lora_nlg.gpt2.inference import InferenceGPT2

PENALTIES = [0.8, 0.0]
SETTINGS = {
    "lora": BeamSettings((0, 1), beam=3, eval_len=12, n_best=2, min_length=3),
    "hf": BeamSettings((0, 1), beam=3, eval_len=12, n_best=2, semantics="hf", repetition_penalty=1.2),
    "greedy": BeamSettings((0,), beam=1, eval_len=12, semantics="hf", no_repeat_ngram_size=0),
}


def random_model(device: str, tuned: str = "") -> GPT2:
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(vocab_size=40, n_positions=64, n_embd=16, n_layer=2, n_head=2))
    model.reset_parameters()
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    if tuned == "prefix":
        model.prefix = KeyValuePrefix.random(model.config, 5)
    if tuned == "prompt":
        model.prefix = PromptPrefix.of_tokens(model.transformer, [3, 9, 27])
    if tuned == "bottlenecks":
        for block in model.transformer.h:
            block.after_mlp, block.after_block = Bottleneck(16, 3), Bottleneck(16, 3, "gelu", layer_norm=1e-5)
    return model.to(device).eval()


def prompts_of(count: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(2, 40) for _ in range(draw.randint(1, 12))] for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "graphs", "tuned"),
    [
        *((name, graphs, "") for name in SETTINGS for graphs in (True, False)),
        *(("lora", True, tuned) for tuned in ("prefix", "prompt", "bottlenecks")),
    ],
)
def test_gives_the_cpus_answers(name: str, graphs: bool, tuned: str) -> None:
    settings, prompts = SETTINGS[name], prompts_of(30)
    expected = dict(beam_search_penalties(InferenceGPT2(random_model("cpu", tuned)), prompts, settings, PENALTIES))
    on_cuda = InferenceGPT2(random_model("cuda", tuned))
    found = dict(beam_search_penalties(on_cuda, prompts, settings, PENALTIES, 8, graphs))
    assert sorted(found) == sorted(expected)
    for index, rankings in expected.items():
        for ranking, expected_ranking in zip(found[index], rankings, strict=True):
            assert [h.tokens for h in ranking] == [h.tokens for h in expected_ranking]
            for one, other in zip(ranking, expected_ranking, strict=True):
                assert one.score == pytest.approx(other.score, rel=1e-6, abs=1e-5)


def test_samples_behind_a_prefix_are_the_cpus() -> None:
    settings, prompts = BeamSettings((0,), eval_len=8, n_best=3), prompts_of(6)
    here, there = (
        dict(sample(InferenceGPT2(random_model(device, "prefix")), prompts, settings, SamplingSettings(), 4))
        for device in ("cpu", "cuda")
    )
    for index, expected in here.items():
        assert [h.tokens for h in there[index]] == [h.tokens for h in expected]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_waits_once_a_step_and_only_for_steps_gone_by(name: str, dtype: torch.dtype, monkeypatch) -> None:
    model = InferenceGPT2(random_model("cuda"), dtype)
    steps = []
    launch = GraphSearch._launch
    monkeypatch.setattr(GraphSearch, "_launch", lambda self: steps.append(self.graphs) or launch(self))
    pretend_cuda.reset()
    assert len(dict(beam_search_penalties(model, prompts_of(30), SETTINGS[name], PENALTIES, 8))) == 30
    counts, summary = pretend_cuda.counts(), pretend_cuda.summary()
    # Two constants are uploaded at the start; recording a graph waits for the device.
    recorded = sum(graph is not None for graph in steps[-1].graphs.values())
    assert recorded >= 1
    assert summary.waits <= len(steps)
    assert summary.syncs <= 2 + recorded + 2, counts  # and twice at the end there is nothing left to go ahead with
    assert sum(number for kind, number in counts.items() if kind.startswith("replay")) >= len(steps) // 2


def test_takes_as_many_places_as_memory_holds() -> None:
    model, settings = InferenceGPT2(random_model("cuda")), SETTINGS["lora"]
    assert 1 <= places_that_fit(model, settings, 12) <= MOST_PLACES
    prompts = prompts_of(10)
    assert dict(beam_search_penalties(model, prompts, settings, PENALTIES)) == dict(
        beam_search_penalties(model, prompts, settings, PENALTIES, 10)
    )


def test_a_step_that_cannot_be_recorded_is_run_as_it_is(monkeypatch, caplog) -> None:
    model, prompts, settings = InferenceGPT2(random_model("cuda")), prompts_of(10), SETTINGS["lora"]
    expected = dict(beam_search_penalties(model, prompts, settings, PENALTIES, 8))

    def refuse(*_args, **_named):
        raise RuntimeError("operation not permitted\nand more")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    assert dict(beam_search_penalties(model, prompts, settings, PENALTIES, 8)) == expected
    assert [record.message for record in caplog.records] == [
        "decoding without CUDA graphs, which is slower: operation not permitted"
    ]
