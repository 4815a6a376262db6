"""Vocabularies: GPT-2's byte-level BPE and SentencePiece behind one protocol."""

from lora_nlg.tokenizers.base import END_OF_TEXT, Tokenizer
from lora_nlg.tokenizers.load import load_tokenizer

__all__ = ["END_OF_TEXT", "Tokenizer", "load_tokenizer"]
