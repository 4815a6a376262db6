"""GPT-2's sizes (Radford et al. 2019) and the small ones this project trains itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lora_nlg.errors import InputError


@dataclass(frozen=True)
class GPT2Config:
    """The shape of a GPT-2.

    Attributes:
        n_layer: number of blocks.
        n_embd: width D.
        n_head: attention heads H; must divide n_embd.
        vocab_size: tokens V.
        n_positions: longest sequence, in tokens.
        layer_norm_epsilon: added to the variance in layer norms.

    Raises:
        InputError: a size is no positive whole number, the epsilon none from 0 to 1, or n_head does not divide n_embd.
    """

    n_layer: int = 12
    n_embd: int = 768
    n_head: int = 12
    vocab_size: int = 50257
    n_positions: int = 1024
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in asdict(self).items() if name != "layer_norm_epsilon"}
        if bad := [f"{name} {value!r}" for name, value in sizes.items() if type(value) is not int or value < 1]:
            raise InputError(f"GPT-2 sizes must be positive whole numbers, got {', '.join(bad)}")
        epsilon = self.layer_norm_epsilon
        if type(epsilon) not in (int, float) or not 0 <= epsilon < 1:
            raise InputError(f"layer_norm_epsilon must be a number from 0 to 1, got {epsilon!r}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_head {self.n_head} must divide n_embd {self.n_embd}")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    def n_parameters(self) -> int:
        """Parameters of the base, the tied head counted once."""
        block = 12 * self.n_embd**2 + 13 * self.n_embd
        return (self.vocab_size + self.n_positions + 2) * self.n_embd + self.n_layer * block

    def to_hugging_face(self) -> dict[str, Any]:
        """The same shape as the `config.json` of transformers' GPT2LMHeadModel."""
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "activation_function": "gelu_new",
            **asdict(self),
            "n_ctx": self.n_positions,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "tie_word_embeddings": True,
        }


SIZES = {
    "gpt2.nano": {"n_layer": 4, "n_embd": 256, "n_head": 4},
    "gpt2.sm": {"n_layer": 12, "n_embd": 768, "n_head": 12},
    "gpt2.md": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
    "gpt2.lg": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
    "gpt2.xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25},
}
"""The predecessor's model cards, and `gpt2.nano` for the sample and for machines without a GPU."""


def named_config(card: str, **changes: int | float) -> GPT2Config:
    """The configuration of a model card, with some sizes changed.

    Raises:
        InputError: no such card.
    """
    if card not in SIZES:
        raise InputError(f"unknown model card {card!r}; choose from {', '.join(SIZES)}")
    return GPT2Config(**{**SIZES[card], **changes})  # type: ignore[arg-type]
