"""Prefix tuning (Li and Liang 2021): keys and values before every sequence, in each layer; see `gpt2/prefix.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, HiddenPrefix, KeyValuePrefix, MLPPrefix, Prefix
from lora_nlg.gpt2.prefix import folded, random_tokens, stand_before
from lora_nlg.methods.method import Method
from lora_nlg.methods.peft import PeftOptions
from lora_nlg.methods.peft_prompt import PEFT_READ, PEFT_TENSOR, peft_options, peft_rows

MLP_DIM = 512


@dataclass(frozen=True)
class PrefixTuning(Method):
    """Prefix tuning."""

    name: ClassVar[str] = "prefix"
    title: ClassVar[str] = "prefix tuning (Li and Liang 2021)"
    peft: ClassVar[PeftOptions | None] = PeftOptions(
        "PREFIX_TUNING",
        "a prefix of keys and values",
        read=PEFT_READ,
        harmless=("encoder_hidden_size", "prefix_projection", "init_weights"),  # what is saved are keys and values
        defaults={"modules_to_save": None},
        advice="save it again without that",
    )

    prefix_length: int = 5
    """Positions l of the prefix; as many fewer are left for text."""
    prefix_form: Literal["mlp", "kv", "hidden"] = "mlp"
    """What trains: mlp, a small network that makes keys and values and is dropped afterwards; kv, keys and values
    themselves; hidden, what enters each block at the prefix's positions."""
    prefix_mlp_dim: int = MLP_DIM
    """Of the form mlp: width of the network."""
    prefix_init: Literal["words", "random"] = "words"
    """Of the forms kv and hidden: start from what tokens of the vocabulary drawn at random make of each layer (words),
    or from N(0, 1) (random)."""

    def __post_init__(self) -> None:
        for name in ("prefix_length", "prefix_mlp_dim"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.prefix_form == "mlp" and self.prefix_init != "words":
            raise InputError("`prefix_init` is of `prefix_form` kv and hidden; mlp starts as torch's layers do")
        if self.prefix_form != "mlp" and self.prefix_mlp_dim != MLP_DIM:
            raise InputError(f"`prefix_mlp_dim` is of `prefix_form` mlp, not of {self.prefix_form}")

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Put it before every sequence."""
        stand_before(model, self._prefix(model, initialise))

    def _prefix(self, model: GPT2, initialise: bool) -> Prefix:
        config, length = model.config, self.prefix_length
        if self.prefix_form == "mlp":
            return MLPPrefix(config, length, self.prefix_mlp_dim)
        kind: type[KeyValuePrefix | HiddenPrefix] = KeyValuePrefix if self.prefix_form == "kv" else HiddenPrefix
        if initialise and self.prefix_init == "words":
            return kind.of_tokens(model.transformer, random_tokens(config, length))
        parts = (2,) if self.prefix_form == "kv" else ()
        return kind(torch.randn(config.n_layer, *parts, length, config.n_embd))

    def stored(self, model: GPT2) -> tuple[Method, dict[str, Tensor]]:
        """Keys and values, whatever made them."""
        assert model.prefix is not None, "put in"
        simple = folded(model.prefix, model.transformer)
        method = PrefixTuning(self.prefix_length, "kv")
        return method, {f"prefix.{name}": value.detach() for name, value in simple.named_parameters()}

    def to_peft(self, state: Mapping[str, Tensor], config: GPT2Config) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """A row for each position: layer after layer, keys before values."""
        keys_values = torch.stack([state["prefix.key"], state["prefix.value"]], 1)  # (L, 2, l, D)
        rows = keys_values.permute(2, 0, 1, 3).flatten(1)
        return peft_options(self.prefix_length, config) | {"prefix_projection": False}, {PEFT_TENSOR: rows}

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
    ) -> tuple[Method, dict[str, Tensor]]:
        """With or without a projection, which PEFT too drops when it saves."""
        assert cls.peft is not None, "declared above"
        rows, layers, width = peft_rows(cls.peft.reader(config, source), tensors, lambda layers, D: 2 * layers * D)
        key, value = rows.view(len(rows), layers, 2, width).permute(2, 1, 0, 3)
        return cls(len(rows), "kv"), {"prefix.key": key, "prefix.value": value}

    def __str__(self) -> str:
        """With its length and form."""
        form = {"mlp": f"by an MLP of width {self.prefix_mlp_dim}", "kv": "as keys and values", "hidden": "hidden form"}
        return f"prefix of {self.prefix_length} positions, {form[self.prefix_form]}"
