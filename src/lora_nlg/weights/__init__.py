"""Weights in and out: the base, adapter files, whole runs, and foreign formats. Strict everywhere."""

from lora_nlg.weights.adapter import (
    AdapterInfo,
    BaseInfo,
    TokenizerInfo,
    describe_base,
    describe_tokenizer,
    load_adapter,
    read_adapter,
    save_adapter,
)
from lora_nlg.weights.base import base_hash, load_base, save_base
from lora_nlg.weights.run import Run, load_run, save_full_model

__all__ = [
    "AdapterInfo",
    "BaseInfo",
    "Run",
    "TokenizerInfo",
    "base_hash",
    "describe_base",
    "describe_tokenizer",
    "load_adapter",
    "load_base",
    "load_run",
    "read_adapter",
    "save_adapter",
    "save_base",
    "save_full_model",
]
