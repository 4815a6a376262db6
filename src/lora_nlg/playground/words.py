"""How sure a model is of each word of a text: log-probabilities from one teacher-forced forward pass.

They are the model's own: no ban and no penalty of a search acts on them, and temperature is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_nlg.decoding import Decoder
from lora_nlg.gpt2.attention import FlatAttention
from lora_nlg.gpt2.inference import InferenceGPT2

BROKEN = "\ufffd"
"""What bytes that form no character are decoded to."""


@dataclass(frozen=True)
class Word:
    """A word with the space before it, or the end.

    Attributes:
        text: empty for the end token.
        log_prob: sum over its tokens.
    """

    text: str
    log_prob: float


@torch.inference_mode()
def token_log_probs(model: InferenceGPT2, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Log-probability of each token after the prompt and the tokens before it.

    Args:
        model: laid out for inference.
        prompt: at least one token.
        tokens: what follows it; with the prompt no longer than the model's positions.
    """
    if not tokens:
        return []
    stream = torch.tensor([*prompt, *tokens][:-1], device=model.device)
    positions = torch.arange(len(stream), device=model.device)
    hidden = model.forward(stream, positions, FlatAttention([len(stream)], model.device))
    logits = model.logits(hidden[len(prompt) - 1 :]).log_softmax(-1)
    targets = torch.tensor(tokens, device=model.device)
    return [float(value) for value in logits.gather(1, targets[:, None]).flatten()]


def words(decoder: Decoder, context: str, tokens: Sequence[int]) -> list[Word]:
    """The words of a hypothesis as they are read, each with its log-probability.

    Args:
        decoder: of the model that is asked.
        context: what the hypothesis answers.
        tokens: of the hypothesis, its end token included.
    """
    ends = set(decoder.settings.end_ids or ())
    log_probs = token_log_probs(decoder.model, decoder.prompt(context), tokens)
    found: list[Word] = []
    waiting: list[int] = []
    total = 0.0
    for index, (token, log_prob) in enumerate(zip(tokens, log_probs, strict=True)):
        if token in ends:
            found.append(Word("", log_prob))
            break
        waiting.append(token)
        total += log_prob
        piece = decoder.tokenizer.decode(waiting)
        followed = index + 1 < len(tokens) and tokens[index + 1] not in ends
        if BROKEN in piece and followed:  # a character's bytes may be spread over tokens
            continue
        if found and not piece[:1].isspace() and not found[-1].text.endswith(" "):
            found[-1] = Word(found[-1].text + piece, found[-1].log_prob + total)
        else:
            found.append(Word(piece, total))
        waiting, total = [], 0.0
    return found
