"""`--semantics hf` against transformers' `generate`, one context at a time: there, padding counts as text."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from beam_reference import random_model

from lora_nlg.decoding import BeamSettings, beam_search, beam_search_penalties
from lora_nlg.errors import InputError
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.weights.base import save_base

transformers = pytest.importorskip("transformers")

SETTINGS: list[dict[str, Any]] = [
    {},
    {"beam": 1},
    {"length_penalty": 0.0},
    {"length_penalty": 2.0, "no_repeat_ngram_size": 0},
    {"length_penalty": -1.0},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 1},
    {"repetition_penalty": 0.7, "beam": 3},
    {"min_length": 18},
    {"beam": 7, "n_best": 4, "eval_len": 9},
    {"beam": 1, "repetition_penalty": 1.6, "no_repeat_ngram_size": 0},
    {"beam": 1, "repetition_penalty": 0.6, "no_repeat_ngram_size": 3},
    *(
        {"early_stopping": how, "length_penalty": penalty, "beam": beam, "n_best": min(3, beam)}
        for how in (True, False)
        for penalty, beam in ((1.0, 4), (2.5, 3), (-1.0, 5), (0.0, 2))
    ),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[InferenceGPT2, Any]:
    model = random_model(17, vocab_size=30, n_positions=64, sharpness=0.5)
    folder: Path = tmp_path_factory.mktemp("hf")
    save_base(model, folder)
    return InferenceGPT2(model), transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_hf_semantics_equal_generate(pair: tuple[InferenceGPT2, Any], changes: dict[str, Any]) -> None:
    model, peer = pair
    settings = BeamSettings(**{"end_ids": (0, 1), "beam": 5, "eval_len": 20, "semantics": "hf", **changes})
    draw = random.Random(3)
    prompts = [[draw.randrange(2, 30) for _ in range(draw.randint(1, 14))] for _ in range(6)]
    found = dict(beam_search(model, prompts, settings, 4))
    ended = 0
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            rows = peer.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                num_beams=settings.beam,
                num_return_sequences=min(settings.n_best, settings.beam),
                length_penalty=settings.length_penalty,
                no_repeat_ngram_size=settings.no_repeat_ngram_size,
                repetition_penalty=settings.repetition_penalty,
                min_length=settings.min_length,
                max_new_tokens=settings.eval_len,
                early_stopping=settings.early_stopping if settings.beam > 1 else False,
                do_sample=False,
                eos_token_id=[0, 1],
                pad_token_id=0,
            )[:, len(prompt) :].tolist()
        expected = [row[: next((i + 1 for i, t in enumerate(row) if t in (0, 1)), len(row))] for row in rows]
        assert [list(h.tokens) for h in found[index]] == expected
        ended += found[index][0].finished
    if not changes:
        assert ended > 0, "no hypothesis ended: the test would not see how they are ranked"


def test_the_two_semantics_differ(pair: tuple[InferenceGPT2, Any]) -> None:
    prompts = [[5, 9, 5, 9, 5], [7, 7, 8], [20, 21, 22, 20, 21]]
    answers = [
        [
            h[0].tokens
            for _, h in sorted(beam_search(pair[0], prompts, BeamSettings((0, 1), 5, semantics=s, eval_len=20)))
        ]
        for s in ("lora", "hf")
    ]
    assert answers[0] != answers[1]


def test_how_a_search_stops_changes_what_it_finds(pair: tuple[InferenceGPT2, Any]) -> None:
    """And a search for several length penalties gives for each what a search of its own does."""
    draw = random.Random(5)
    prompts = [[draw.randrange(2, 30) for _ in range(draw.randint(1, 14))] for _ in range(12)]
    answers = {}
    for how in (True, False, "never"):
        settings = BeamSettings((0, 1), 3, semantics="hf", eval_len=20, early_stopping=how, n_best=3)
        alone = [dict(beam_search(pair[0], prompts, replace(settings, length_penalty=p), 5)) for p in (-0.5, 2.0)]
        together = dict(beam_search_penalties(pair[0], prompts, settings, [-0.5, 2.0], 5))
        assert together == {i: [alone[0][i], alone[1][i]] for i in range(len(prompts))}
        answers[how] = alone[1]
    assert answers[True] != answers["never"] and answers[True] != answers[False]


def test_greedy_search_penalises_logits_not_log_probabilities(pair: tuple[InferenceGPT2, Any]) -> None:
    greedy = BeamSettings((0, 1), 1, semantics="hf", eval_len=20, repetition_penalty=1.6, no_repeat_ngram_size=0)
    prompts = [[5, 9, 5, 9, 5], [7, 7, 8], [20, 21, 22, 20, 21], [3], [4, 4, 4, 4]]
    found = dict(beam_search(pair[0], prompts, greedy))
    assert all(hypotheses[0].log_prob <= 0 for hypotheses in found.values())
    with pytest.raises(InputError, match="`early_stopping` is of `semantics` hf"):
        BeamSettings(early_stopping=True)
