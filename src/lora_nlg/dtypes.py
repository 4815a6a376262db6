"""The number types that flags name: one table for training, decoding and conversion."""

from __future__ import annotations

from typing import Literal

import torch

from lora_nlg.errors import InputError

DtypeName = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def named_dtype(name: str) -> torch.dtype:
    """The type that a `dtype` setting names.

    Raises:
        InputError: another name.
    """
    if name not in DTYPES:
        raise InputError(f"`dtype` must be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def is_emulated(device: torch.device) -> bool:
    """Whether 16-bit products on a device are made of fp32 ones, at a great cost: on a CPU without any of its own."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
