"""lora-nlg: GPT-2 with LoRA for data-to-text generation (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

__version__ = "0.1.0"
