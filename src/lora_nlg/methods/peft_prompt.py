"""What PEFT's prefix and prompt tuning share: one tensor, a row for each position, and its shape as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2Config
from lora_nlg.methods.peft import OptionReader, shown

PEFT_READ = ("num_virtual_tokens", "num_transformer_submodules", "num_layers", "num_attention_heads", "token_dim")
"""Options of both that are read."""
PEFT_TENSOR = "prompt_embeddings"


def peft_options(length: int, config: GPT2Config) -> dict[str, Any]:
    """What PEFT's configuration says of a prefix or prompt, beside what it says of every adapter."""
    return dict(zip(PEFT_READ, (length, 1, config.n_layer, config.n_head, config.n_embd), strict=True))


def peft_rows(
    reader: OptionReader, tensors: Mapping[str, Tensor], columns: Callable[[int, int], int]
) -> tuple[Tensor, int, int]:
    """The one tensor of a prefix or prompt of PEFT's.

    Args:
        reader: of its configuration.
        tensors: of its file.
        columns: its width, of the number of layers and the model's width.

    Returns:
        The tensor, a row for each position; the number of layers, and the width.

    Raises:
        InputError: an option with which something else is computed, or another tensor than those speak of.
    """
    reader.stop_at(reader.other_arithmetic())
    length, parts, layers, _, width = (reader.rank(name, reader.config.get(name)) for name in PEFT_READ)
    if parts != 1:
        raise reader.refuse("num_transformer_submodules", parts, "1, for a model without an encoder")
    wanted = (length, columns(layers, width))
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != {PEFT_TENSOR: wanted}:
        raise InputError(f"{reader.source} speaks of {PEFT_TENSOR} {wanted}; beside it are {shown(found)}")
    return tensors[PEFT_TENSOR], layers, width
