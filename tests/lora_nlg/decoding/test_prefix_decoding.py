"""Decoding behind a prefix and through bottlenecks: the slow reference's answers, and the same bits in every batch."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from beam_reference import random_model, reference_search

from lora_nlg.decoding import BeamSettings, SamplingSettings, beam_search, sample
from lora_nlg.decoding.cache import BeamCache, CachedAttention
from lora_nlg.decoding.graph_search import GraphSearch
from lora_nlg.decoding.length_penalty import LengthPenalty
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, Bottleneck, FlatAttention, HiddenPrefix, KeyValuePrefix, MLPPrefix, PromptPrefix
from lora_nlg.gpt2.inference import InferenceGPT2

END, BLANK = 0, 1


def bottlenecks(model: GPT2) -> None:
    for block in model.transformer.h:
        block.after_attn, block.after_mlp = Bottleneck(32, 5), Bottleneck(32, 5, "gelu")
        block.after_block = Bottleneck(32, 3, layer_norm=1e-5)


def prefix(kind: str, length: int) -> Callable[[GPT2], None]:
    def put_in(model: GPT2) -> None:
        config, tokens = model.config, list(range(2, 2 + length))
        model.prefix = {
            "kv": lambda: KeyValuePrefix.random(config, length),
            "mlp": lambda: MLPPrefix(config, length, 7),
            "hidden": lambda: HiddenPrefix(torch.randn(config.n_layer, length, config.n_embd)),
            "prompt": lambda: PromptPrefix.of_tokens(model.transformer, tokens),
        }[kind]()

    return put_in


KINDS = {
    "kv5": prefix("kv", 5),
    "kv33": prefix("kv", 33),
    "mlp1": prefix("mlp", 1),
    "hidden5": prefix("hidden", 5),
    "prompt8": prefix("prompt", 8),
    "bottlenecks": bottlenecks,
}


def tuned(kind: str, seed: int, vocab_size: int = 40, sharpness: float = 0.4) -> GPT2:
    model = random_model(seed, vocab_size, n_positions=100, sharpness=sharpness)
    torch.manual_seed(seed + 100)
    KINDS[kind](model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "after_" in name and ".ln." not in name:
                parameter.normal_(0, 0.3)
    return model.eval()


def prompts_of(count: int, seed: int, vocab_size: int = 40, longest: int = 12) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(2, vocab_size) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def search(model: GPT2, prompts: list[list[int]], settings: BeamSettings, batch_size: int = 4) -> list:
    found = dict(beam_search(InferenceGPT2(model), prompts, settings, batch_size))
    return [found[i] for i in range(len(prompts))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("semantics", ["lora", "hf"])
def test_equals_the_reference_that_computes_everything_anew(kind: str, semantics: str) -> None:
    settings = BeamSettings((END, BLANK), beam=3, eval_len=6, n_best=3, semantics=semantics)
    model = tuned(kind, seed=3, vocab_size=24, sharpness=0.5)
    prompts = prompts_of(2, seed=1, vocab_size=24)
    for prompt, found in zip(prompts, search(model, prompts, settings), strict=True):
        expected = reference_search(model, prompt, settings)[:3]
        assert [h.tokens for h in found] == [tokens for _, _, tokens in expected]
        for hypothesis, (_, log_prob, _) in zip(found, expected, strict=True):
            assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("kind", ["kv33", "mlp1", "bottlenecks"])
def test_answers_and_scores_are_the_same_bits_in_every_batch(kind: str) -> None:
    model = tuned(kind, seed=2, vocab_size=300, sharpness=0.3)
    prompts = prompts_of(9, seed=2, vocab_size=300, longest=50)  # slots of several widths
    settings = BeamSettings((END, BLANK), beam=4, eval_len=8, n_best=4)
    alone = search(model, prompts, settings, batch_size=1)
    assert search(model, prompts, settings, batch_size=64) == alone
    assert search(model, prompts[::-1], settings, batch_size=4)[::-1] == alone
    assert len({h.tokens for found in alone for h in found}) > 9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_token_by_token_equals_one_pass(kind: str, dtype: torch.dtype) -> None:
    inference = InferenceGPT2(tuned(kind, seed=4), dtype)
    tokens = torch.tensor(prompts_of(1, seed=4)[0] * 2)
    with torch.inference_mode():
        expected = inference.forward(tokens, torch.arange(len(tokens)), FlatAttention([len(tokens)]))
        cache = BeamCache(inference.config, 1, 1, 1, dtype, inference.device)
        cache.admit(0, 2)
        rows = torch.tensor([], dtype=torch.long)
        parts = [inference.forward(tokens[:2], torch.arange(2), CachedAttention(cache, 1, rows, [(0, 2)]))]
        for position in range(2, len(tokens)):
            cache.advance(torch.tensor([[0]]), torch.tensor([[True]]))
            attention = CachedAttention(cache, 1, torch.tensor([0]), [])
            parts.append(inference.forward(tokens[position : position + 1], torch.tensor([position]), attention))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(torch.cat(parts), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["kv5", "kv33", "prompt8", "bottlenecks"])
@pytest.mark.parametrize("semantics", ["lora", "hf"])
def test_steps_of_fixed_shape_give_the_same_answers(kind: str, semantics: str) -> None:
    """With the prefix in each place's slots; more contexts than places, so that places come and go."""
    model = InferenceGPT2(tuned(kind, seed=5, vocab_size=24, sharpness=0.6))
    prompts = prompts_of(19, seed=5, vocab_size=24)
    settings = BeamSettings((END, BLANK), beam=3, eval_len=9, n_best=2, semantics=semantics)
    rankings = [LengthPenalty(settings.length_penalty, settings.eval_len)]
    graph_search = GraphSearch(model, prompts, settings, rankings, 16)
    with torch.inference_mode():
        found = dict(graph_search.run())
        graph_search.step.grow(512)
    for index, expected in dict(beam_search(model, prompts, settings)).items():
        (ranking,) = found[index]
        assert [h.tokens for h in ranking] == [h.tokens for h in expected]
        for one, other in zip(ranking, expected, strict=True):
            assert one.score == pytest.approx(other.score, rel=1e-6, abs=2e-5)
    if model.prefix is not None:  # nothing was written over it, in no place
        kept = graph_search.step.keys_values[:, :, : model.prefix_length].unflatten(-1, (2, -1))
        assert torch.equal(kept, model.prefix.transpose(1, 2)[:, None].expand_as(kept))


def test_samples_do_not_depend_on_the_batch() -> None:
    model = InferenceGPT2(tuned("kv5", seed=6, vocab_size=60))
    prompts = prompts_of(9, seed=6, vocab_size=60)
    settings = BeamSettings((END,), eval_len=10, n_best=3)
    alone = dict(sample(model, prompts, settings, SamplingSettings(), batch_size=1))
    assert dict(sample(model, prompts, settings, SamplingSettings(), batch_size=4)) == alone


def test_a_prefix_takes_positions_from_the_longest_prompt() -> None:
    model = tuned("kv5", seed=1)  # of 100 positions
    settings = BeamSettings((END,), beam=2, eval_len=60)
    assert search(model, [[2] * 35], settings)
    with pytest.raises(InputError, match="95 positions leave room for 35"):
        search(model, [[2] * 36], settings)
