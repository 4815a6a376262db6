"""Exact, batched beam search and sampling; predictions files."""

from lora_nlg.decoding.beam_search import beam_search, beam_search_penalties
from lora_nlg.decoding.decoder import Decoder, decode_contexts, decode_n_best, fold_for_decoding
from lora_nlg.decoding.journal import Journal, remove_journals
from lora_nlg.decoding.predictions import decode_records, write_predictions
from lora_nlg.decoding.sampling import SamplingSettings, sample
from lora_nlg.decoding.settings import BeamSettings, Hypothesis

__all__ = [
    "BeamSettings",
    "Decoder",
    "Hypothesis",
    "Journal",
    "SamplingSettings",
    "beam_search",
    "beam_search_penalties",
    "decode_contexts",
    "decode_n_best",
    "decode_records",
    "fold_for_decoding",
    "remove_journals",
    "sample",
    "write_predictions",
]
