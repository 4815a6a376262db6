"""Several factors of the dial in one forward pass are what each is when folded into plain weights."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tests.lora_nlg.training.conftest import random_examples, tiny_model

from lora_nlg.analysis.dial import AT_ONCE, at_factors, is_plain_lora, turn, turn_together
from lora_nlg.batching import validation_batches
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, lora_targets
from lora_nlg.lora import LoRASpec, inject, lora_state_dict, strip
from lora_nlg.methods.vera import VeRA
from lora_nlg.training import LossValidation, TargetLoss
from lora_nlg.training.together import validate_together


def of_parts(**ranks: int) -> GPT2:
    """A base with plain LoRA on parts of their own ranks, both matrices drawn."""
    model = strip(tiny_model())
    inject(model, lora_targets(model.config, {part: LoRASpec(r, 8.0) for part, r in ranks.items()}))
    for value in lora_state_dict(model).values():
        torch.nn.init.normal_(value, std=0.05)
    return model


@pytest.mark.parametrize("rule", ["alpha/r", "rslora"])
def test_together_is_folded_one_by_one(rule: str) -> None:
    """Within 1e-5, factor by factor, in two passes of the layers; of parts of unequal rank and of whole layers, too."""
    factors = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 1.0]
    assert len(set(factors)) > AT_ONCE
    batches = validation_batches(random_examples(11), 4)
    world = World(device=torch.device("cpu"))
    for model in (tiny_model(r=2, rule=rule), of_parts(q=1, v=4, o=2, fc=3, proj=2)):
        before = {name: value.clone() for name, value in model.named_parameters()}
        sizes: list[int] = []

        def measure(own, rows, n, sizes=sizes):
            sizes.append(n)
            assert not own.training
            return [{"loss": loss} for loss in validate_together(own, rows, n, batches)]

        ours = turn_together(model, factors, measure)
        folded = turn(model, factors, lambda own: LossValidation(own, batches, "fp32", world, TargetLoss())()[0])
        assert sizes == [AT_ONCE, 2]
        assert [point["factor"] for point in ours] == [point["factor"] for point in folded] == sorted(set(factors))
        losses = [point["loss"] for point in ours]
        assert losses == pytest.approx([point["loss"] for point in folded], abs=1e-5)
        base = LossValidation(strip(model).eval(), batches, "fp32", world, TargetLoss())()[0]["loss"]
        assert losses[0] == pytest.approx(base, abs=1e-6)
        assert min(abs(one - other) for one, other in pairwise(losses)) > 1e-4, "told apart"
        for name, value in model.named_parameters():
            assert torch.equal(value, before[name])


def test_plain_lora_alone_is_taken() -> None:
    assert is_plain_lora(tiny_model()) and is_plain_lora(of_parts(q=1, o=2, fc=3))
    vera = strip(tiny_model())
    VeRA(vera_dim=3).put_into(vera)
    others = [tiny_model(variant="dora"), tiny_model(variant="pissa"), vera, of_parts(q=2, wte=2), strip(tiny_model())]
    assert not any(is_plain_lora(model) for model in others)


def test_refusals() -> None:
    with pytest.raises(InputError, match="`scales` must be finite, got inf"):
        at_factors(tiny_model(), [1.0, math.inf])
    model, rows = at_factors(tiny_model(), [0.5])
    with pytest.raises(InputError, match="no token to predict"):
        validate_together(model, rows, 1, [])
