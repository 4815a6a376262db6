"""A merged model: base and adapter folded into one Hugging Face folder, checked by its logits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lora_nlg.dtypes import named_dtype
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config
from lora_nlg.lora import fold
from lora_nlg.methods import own_state
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights.base import load_base, save_base

PROBE_LENGTHS = (31, 1, 17, 8)


def probe_sequences(config: GPT2Config) -> list[Tensor]:
    """Fixed random sequences: 57 tokens in four, on the CPU."""
    lengths = [min(length, config.n_positions) for length in PROBE_LENGTHS]
    tokens = torch.randint(0, config.vocab_size, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    return list(tokens.split(lengths))


@torch.no_grad()
def probe_logits(model: GPT2) -> Tensor:
    """Logits of `probe_sequences`: what two models that should be equal are compared by.

    Args:
        model: on any device, in evaluation mode.

    Returns:
        Shape (T, V) for all tokens of the sequences, fp32, on the CPU.
    """
    sequences = probe_sequences(model.config)
    lengths = [len(sequence) for sequence in sequences]
    tokens = torch.cat(sequences)
    positions = torch.cat([torch.arange(length) for length in lengths])
    device = model.head_weight.device
    hidden = model(tokens.to(device), positions.to(device), FlatAttention(lengths, device))
    return model.logits(hidden).float().cpu()


def write_merged(
    folder: str | Path, model: GPT2, tokenizer: Tokenizer | None = None, dtype: str = "fp32"
) -> tuple[Path, float]:
    """Write a folder that `GPT2LMHeadModel.from_pretrained` and CTranslate2's converter take, and read it back.

    Args:
        folder: made if absent.
        model: a GPT-2 with LoRA layers (or without, to change its type).
        tokenizer: written beside it. Default: none.
        dtype: `fp32`, `bf16` or `fp16`. Default: `fp32`.

    Returns:
        The path of `model.safetensors`, and the largest absolute difference of a logit between the model as it
        was (adapter not merged) and the folder as read back.

    Raises:
        InputError: an unknown type, an adapter that has diverged, or one that does not fold into plain weights.
    """
    stored = named_dtype(dtype)
    model = model.eval()
    merged = fold(model)
    if left := sorted(own_state(merged)):
        raise InputError(f"{left[0]} can't be merged into a GPT-2's own weights; keep the adapter beside its base")
    file = save_base(merged, folder, stored, None if tokenizer is None else tokenizer.eos_id)
    if tokenizer is not None:
        tokenizer.save(folder)
    return file, float((probe_logits(load_base(folder)) - probe_logits(model)).abs().max())
