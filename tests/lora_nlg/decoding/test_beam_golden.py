"""Beam outputs recorded from the predecessor (microsoft/LoRA, examples/NLG; see the recordings' README)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_nlg.decoding.beam_search import beam_search
from lora_nlg.decoding.settings import BeamSettings
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.weights.base import load_base


@pytest.mark.parametrize("batch_size", [7, 64])
def test_every_recorded_output_is_reproduced_token_for_token(shared_golden: Path, batch_size: int) -> None:
    recorded = json.loads((shared_golden / "beam.json").read_text())
    model = InferenceGPT2(load_base(shared_golden / "base.safetensors"))
    for result in recorded["results"]:
        settings = dict(result["settings"])
        settings = BeamSettings(end_ids=tuple(settings.pop("eos_token_id")), **settings)
        found = dict(beam_search(model, recorded["contexts"], settings, batch_size))
        assert [list(found[i][0].tokens) for i in range(len(found))] == result["outputs"], settings
