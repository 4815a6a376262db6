"""PEFT's own arithmetic, where it is installed: what an adapter was read as is compared with what PEFT computes."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor

from lora_nlg.errors import InputError, first_line
from lora_nlg.gpt2 import GPT2
from lora_nlg.weights.base import released_tensors
from lora_nlg.weights.merged import probe_sequences


def peft_installed() -> bool:
    """Whether PEFT and transformers are there to compare with."""
    return all(importlib.util.find_spec(name) for name in ("peft", "transformers"))


@torch.no_grad()
def peft_logits(folder: str | Path, base: GPT2) -> Tensor:
    """The logits of `probe_logits`' sequences by transformers' GPT-2 with an adapter that PEFT loaded.

    Args:
        folder: with a PEFT adapter that `read_peft` took, so that PEFT runs no pattern of it that wasn't checked.
        base: what it is put on; not changed.

    Returns:
        Shape (T, V), fp32.

    Raises:
        InputError: PEFT can't load it.
    """
    import peft
    import transformers

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # both libraries speak of training, which is over
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = base.config.to_hugging_face()
            tied = base.lm_head.weight is base.transformer.wte.weight
            config = transformers.GPT2Config(**{**values, "tie_word_embeddings": tied})
            model = transformers.GPT2LMHeadModel(config)
            state = {name: tensor.float().clone() for name, tensor in released_tensors(base).items()}
            model.load_state_dict(state | ({"lm_head.weight": state["transformer.wte.weight"]} if tied else {}))
            adapted = peft.PeftModel.from_pretrained(model, str(folder)).eval()
    except Exception as error:  # PEFT refuses in many kinds of exception
        raise InputError(f"PEFT itself can't load {folder}: {type(error).__name__}: {first_line(error)}") from None
    finally:
        logging.disable(level)
    # Of a prompt PEFT gives logits too, before the sequence's own.
    return torch.cat([adapted(row[None]).logits[0, -len(row) :].float() for row in probe_sequences(base.config)])
