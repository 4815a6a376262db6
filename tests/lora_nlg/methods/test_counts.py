"""Trainable parameters on GPT-2 small, medium and large: the published counts, and those that follow from shapes."""

from __future__ import annotations

from typing import Any

import pytest

from lora_nlg.gpt2 import named_config
from lora_nlg.methods import METHODS

CARDS = ("gpt2.sm", "gpt2.md", "gpt2.lg")
COUNTS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("full", {}, (124_439_808, 354_823_168, 774_030_080)),
    ("lora", {"lora_dim": 0}, (124_439_808, 354_823_168, 774_030_080)),
    ("top2", {}, (14_175_744, 25_192_448, 39_354_880)),
    ("top2", {"top_ln_f": True}, (14_175_744 + 1536, 25_194_496, 39_354_880 + 2560)),
    ("bitfit", {}, (102_144, 271_360, 508_160)),
    ("bitfit", {"bitfit_norms": False}, (82_944, 221_184, 414_720)),
    ("adapter_l", {"adapter_l_dim": 6}, (138_312, 368_784, 691_416)),
    ("adapter_l", {"adapter_l_dim": 224}, (4_159_104, 11_089_152, 20_790_144)),
    ("adapter_l", {"adapter_l_dim": 8}, (175_200, 467_136, 875_808)),
    ("adapter_l", {"adapter_l_dim": 248}, (4_601_760, 12_269_376, 23_002_848)),
    ("adapter_h", {"adapter_h_dim": 112}, (4_149_888, 11_064_576, 20_744_064)),
    ("lora", {}, (147_456, 393_216, 737_280)),
    ("lora", {"lora_scaling": "rslora"}, (147_456, 393_216, 737_280)),
    ("lora", {"lora_plus_ratio": 16.0}, (147_456, 393_216, 737_280)),
    ("lora", {"lora_variant": "pissa"}, (147_456, 393_216, 737_280)),
    ("lora", {"lora_freeze_a": True}, (73_728, 196_608, 368_640)),
    ("lora", {"lora_variant": "dora"}, (165_888, 442_368, 829_440)),
    ("vera", {}, (43_008, 98_304, 165_888)),
    ("vera", {"vera_targets": "c_attn"}, (39_936, 98_304, 175_104)),
    ("ia3", {}, (55_296, 147_456, 276_480)),
    ("ia3", {"ia3_targets": "q,k,v,ff"}, (64_512, 172_032, 322_560)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "counts"), COUNTS, ids=lambda value: str(value))
def test_trainable_parameters(name: str, settings: dict[str, Any], counts: tuple[int, int, int]) -> None:
    if name not in METHODS:
        pytest.skip(f"{name} is not among the methods")
    method = METHODS[name].settings()(**settings).method()
    assert tuple(method.count(named_config(card)) for card in CARDS) == counts
