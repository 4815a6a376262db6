"""From contexts to texts: prompts, the search, and its tokens as text.

`decode_contexts` is all that a caller with a model, a tokenizer and some contexts needs, validation by generation
during training included.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace

import torch

from lora_nlg.batching import prompt_tokens
from lora_nlg.decoding.beam_search import beam_search_penalties
from lora_nlg.decoding.sampling import SamplingSettings, sample
from lora_nlg.decoding.settings import BeamSettings, Hypothesis
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.gpt2.inference import InferenceGPT2, can_stay_apart
from lora_nlg.lora import adapted_layers, fold
from lora_nlg.methods import own_state
from lora_nlg.tokenizers import END_OF_TEXT, Tokenizer
from lora_nlg.weights.base import base_hash

log = logging.getLogger(__name__)

MOST_LOST = 0.02
"""The part of an update that merging may lose. Kept apart, its factors' own rounding loses 0.2% in bf16, where
merging loses less than this only from updates above a tenth of the weight on (`bench/low_precision.py`)."""
SEQ_LEN = 512  # the predecessor's: prompt and answer together


def fold_for_decoding(model: GPT2, dtype: torch.dtype = torch.float32) -> GPT2:
    """The model with its LoRA layers merged into a copy that shares the rest; the model itself stays as it is.

    Args:
        model: with or without LoRA layers.
        dtype: what will be decoded in. In 16 bits, layers that would lose more than `MOST_LOST` of their update by
            merging keep it apart. Default: fp32, which merges all.
    """
    layers = adapted_layers(model)
    if not layers:
        return model
    if dtype == torch.float32:
        return fold(model)
    return fold(model, [name for name, own in layers.items() if can_stay_apart(own) and own.lost_in(dtype) > MOST_LOST])


class Decoder:
    """A model with its vocabulary, ready to decode.

    Args:
        model: a GPT-2 as `fold_for_decoding` gives it for `dtype`.
        tokenizer: its vocabulary.
        settings: of the search; `end_ids` None means the tokenizer's.
        batch_size: contexts at work at a time. Default: 32 on the CPU, on CUDA what its memory holds.
        seq_len: tokens of prompt and answer together, at most; a longer prompt keeps its last tokens. The model's
            window if that is shorter. Default: 512.
        dtype: of the model's body: fp32, bf16 or fp16. Default: fp32.
        sampling: draw `settings.n_best` samples of each context instead of searching. Default: None, search.
        share: a decoder of the same base, whose laid-out weights are used where they are the same. Default: None.
        cuda_graph: record a search's steps on CUDA as graphs. Default: True.

    Raises:
        InputError: the answer's length leaves no room for a prompt.
    """

    def __init__(
        self,
        model: GPT2,
        tokenizer: Tokenizer,
        settings: BeamSettings,
        *,
        batch_size: int | None = None,
        seq_len: int = SEQ_LEN,
        dtype: torch.dtype = torch.float32,
        sampling: SamplingSettings | None = None,
        share: Decoder | None = None,
        cuda_graph: bool = True,
    ) -> None:
        self.source = model
        self.weights_hash: str | None = None
        self.model: InferenceGPT2 = InferenceGPT2(model, dtype, share.model if share else None)
        self.tokenizer = tokenizer
        self.settings = settings
        if settings.end_ids is None:
            self.settings = replace(settings, end_ids=tokenizer.end_ids)
        self.batch_size, self.cuda_graph = batch_size, cuda_graph
        self.sampling = sampling
        self.longest_prompt = min(seq_len, self.model.window) - settings.eval_len
        if self.longest_prompt < 1:
            raise InputError(
                f"`eval_len` {settings.eval_len} leaves no room for a context in `seq_len` {seq_len} "
                f"(the model has {self.model.window} positions)"
            )

    def fingerprint(self, length_penalty: float | None = None) -> str:
        """Changes whenever weights, vocabulary or a setting that acts on hypotheses do; 64 hexadecimal digits.

        Args:
            length_penalty: in place of the settings' own.
        """
        if length_penalty is None:
            length_penalty = self.settings.length_penalty
        settings = asdict(replace(self.settings, length_penalty=length_penalty))
        sampling = asdict(self.sampling) if self.sampling else None
        if self.weights_hash is None:
            self.weights_hash = _weights_hash(self.source)
        parts = [self.weights_hash, self.tokenizer.sha256, self.longest_prompt, str(self.model.dtype)]
        return hashlib.sha256(json.dumps([*parts, settings, sampling]).encode()).hexdigest()

    def prompt(self, context: str) -> list[int]:
        """Tokens of a context and the separator; of a context too long, the last ones."""
        return prompt_tokens(self.tokenizer, context)[-self.longest_prompt :]

    def decode(self, contexts: Sequence[str]) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Search every context given.

        Args:
            contexts: linearised meaning representations; equal ones are searched again.

        Yields:
            (index of the context, its hypotheses with text, best first), in the order in which searches end.
        """
        for index, (hypotheses,) in self.decode_penalties(contexts, [self.settings.length_penalty]):
            yield index, hypotheses

    def decode_penalties(
        self, contexts: Sequence[str], length_penalties: Sequence[float]
    ) -> Iterator[tuple[int, list[list[Hypothesis]]]]:
        """As `decode`, with the hypotheses of one search ranked by each of several length penalties.

        Yields:
            (index of the context, for each penalty its hypotheses with text, best first).

        Raises:
            InputError: samples were asked for together with several penalties.
        """
        if self.sampling and len(length_penalties) > 1:
            raise InputError("samples are not ranked by several length penalties; give one")
        prompts = [prompt_tokens(self.tokenizer, context) for context in contexts]
        if cut := sum(len(prompt) > self.longest_prompt for prompt in prompts):
            log.warning("%d contexts have more than %d tokens; they keep their last ones", cut, self.longest_prompt)
        prompts = [prompt[-self.longest_prompt :] for prompt in prompts]
        found: Iterable[tuple[int, list[list[Hypothesis]]]]
        if self.sampling:
            drawn = sample(self.model, prompts, self.settings, self.sampling, self.batch_size)
            found = ((index, [hypotheses]) for index, hypotheses in drawn)
        else:
            found = beam_search_penalties(
                self.model, prompts, self.settings, length_penalties, self.batch_size, self.cuda_graph
            )
        for index, rankings in found:
            yield index, [[replace(h, text=self.text(h.tokens)) for h in ranking] for ranking in rankings]

    def text(self, tokens: Sequence[int]) -> str:
        """Generated tokens as text: up to the end token, `<|endoftext|>` or a blank line, stripped."""
        end_ids = set(self.settings.end_ids or ())
        until = next((i for i, token in enumerate(tokens) if token in end_ids), len(tokens))
        text = self.tokenizer.decode(tokens[:until])
        return text.split(END_OF_TEXT)[0].split("\n\n")[0].strip()


def decode_n_best(
    model: GPT2,
    tokenizer: Tokenizer,
    contexts: Sequence[str],
    settings: BeamSettings | None = None,
    *,
    batch_size: int | None = None,
    seq_len: int = SEQ_LEN,
    dtype: torch.dtype = torch.float32,
    finished: Callable[[], object] = lambda: None,
) -> list[list[Hypothesis]]:
    """The best hypotheses of every context, best first; each distinct context is searched once.

    Args:
        model: a GPT-2; LoRA layers are merged into a copy, the model itself is left alone.
        tokenizer: its vocabulary.
        contexts: linearised meaning representations.
        settings: of the search. Default: `BeamSettings()` with the tokenizer's end tokens.
        batch_size, seq_len, dtype: as for `Decoder`.
        finished: called as each distinct context's search ends. Default: does nothing.

    Returns:
        One list for each context, in order; equal contexts share one list.
    """
    distinct = list(dict.fromkeys(contexts))
    decoder = Decoder(
        fold_for_decoding(model, dtype),
        tokenizer,
        settings or BeamSettings(),
        batch_size=batch_size,
        seq_len=seq_len,
        dtype=dtype,
    )
    found = {}
    for index, hypotheses in decoder.decode(distinct):
        found[distinct[index]] = hypotheses
        finished()
    return [found[context] for context in contexts]


def decode_contexts(
    model: GPT2,
    tokenizer: Tokenizer,
    contexts: Sequence[str],
    settings: BeamSettings | None = None,
    *,
    batch_size: int | None = None,
    seq_len: int = SEQ_LEN,
    dtype: torch.dtype = torch.float32,
    finished: Callable[[], object] = lambda: None,
) -> list[Hypothesis]:
    """The best hypothesis of every context, in order; otherwise as `decode_n_best`.

    Example:
        `[h.text for h in decode_contexts(model, tokenizer, ["name : Blue Spice | Type : pub"])]`
    """
    found = decode_n_best(
        model, tokenizer, contexts, settings, batch_size=batch_size, seq_len=seq_len, dtype=dtype, finished=finished
    )
    return [hypotheses[0] for hypotheses in found]


def _weights_hash(model: GPT2) -> str:
    """SHA-256 of all weights, those that a method put in and that didn't fold included."""
    digest = base_hash(model)
    if apart := sorted(own_state(model).items()):
        parts = hashlib.sha256(digest.encode())
        for name, value in apart:
            parts.update(json.dumps([name, list(value.shape)]).encode())
            parts.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        digest = parts.hexdigest()
    return digest
