"""GPT-2: configuration, attention, model, where LoRA goes in it, prefixes and bottlenecks. Torch only."""

from lora_nlg.gpt2.attention import Attention, FlatAttention
from lora_nlg.gpt2.bottleneck import Bottleneck
from lora_nlg.gpt2.config import SIZES, GPT2Config, named_config
from lora_nlg.gpt2.filled_attention import FilledAttention
from lora_nlg.gpt2.model import GPT2, Prefix, base_modules, base_names, empty_gpt2
from lora_nlg.gpt2.prefix import HiddenPrefix, KeyValuePrefix, MLPPrefix, PromptPrefix
from lora_nlg.gpt2.targets import TARGETS, lora_targets, parse_targets, target_names, targets_of

__all__ = [
    "GPT2",
    "SIZES",
    "TARGETS",
    "Attention",
    "Bottleneck",
    "FilledAttention",
    "FlatAttention",
    "GPT2Config",
    "HiddenPrefix",
    "KeyValuePrefix",
    "MLPPrefix",
    "Prefix",
    "PromptPrefix",
    "base_modules",
    "base_names",
    "empty_gpt2",
    "lora_targets",
    "named_config",
    "parse_targets",
    "target_names",
    "targets_of",
]
