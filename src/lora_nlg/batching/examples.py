"""Records to token ids: the training text form.

An example is tokens(context) + separator + tokens(" " + completion) + end, where separator and end are both the
tokenizer's `<|endoftext|>`. The loss is on the completion and its end alone (objective `clm`), or on every position
(`jlm`). The form is the predecessor's (microsoft/LoRA, examples/NLG).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_nlg.corpora.record import Record, read_records
from lora_nlg.errors import InputError

if TYPE_CHECKING:
    from lora_nlg.tokenizers.base import Tokenizer

OBJECTIVES = ("clm", "jlm")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One context with one reference, as token ids.

    Attributes:
        id: `record id/number of the reference`, e.g. `17/2`.
        tokens: context, separator, completion, end; at least two tokens.
        first_target: index in `tokens` of the first token the loss is on.
        lost: tokens that were cut off its end; then it has no end token.
    """

    id: str
    tokens: tuple[int, ...]
    first_target: int
    lost: int = 0

    @property
    def n_inputs(self) -> int:
        """Tokens that go through the model: all but the last, which is only predicted."""
        return len(self.tokens) - 1

    @property
    def n_targets(self) -> int:
        """Tokens the loss is on."""
        return len(self.tokens) - self.first_target


def prompt_tokens(tokenizer: Tokenizer, context: str) -> list[int]:
    """tokens(context) + separator: what decoding continues. An empty context is the separator alone."""
    return [*(tokenizer.encode(context) if context else []), tokenizer.eos_id]


def make_example(
    id: str, prompt: list[int], completion: list[int], eos_id: int, objective: str, seq_len: int
) -> Example:
    """Assemble one example, cut on the right so that at most `seq_len` tokens go through the model.

    Args:
        id: names the example in messages.
        prompt: context and separator.
        completion: tokens(" " + completion), without an end.
        eos_id: the end token.
        objective: `clm` or `jlm`.
        seq_len: longest input, in tokens.
    """
    whole = (*prompt, *completion, eos_id)
    tokens = whole[: seq_len + 1]
    first_target = 1 if objective == "jlm" else len(prompt)
    return Example(id, tokens, min(first_target, len(tokens)), len(whole) - len(tokens))


def make_examples(
    records: Iterable[Record], tokenizer: Tokenizer, seq_len: int, objective: str = "clm"
) -> list[Example]:
    """One example for every reference of every record, in order.

    Args:
        records: prepared records.
        tokenizer: the vocabulary.
        seq_len: longest input in tokens; longer examples lose their end. One that loses its whole completion is
            kept but carries no loss.
        objective: `clm` (loss on the completion) or `jlm` (on everything). Default: `clm`.

    Raises:
        InputError: an unknown objective, or no record has a reference.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"`obj` must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    examples = []
    for record in records:
        prompt = prompt_tokens(tokenizer, record.context)
        for number, reference in enumerate(record.references):
            completion = tokenizer.encode(" " + reference.strip())
            examples.append(
                make_example(f"{record.id}/{number}", prompt, completion, tokenizer.eos_id, objective, seq_len)
            )
    if not examples:
        raise InputError("no record has a reference to train on")
    return examples


def read_examples(path: str | Path, tokenizer: Tokenizer, seq_len: int, objective: str = "clm") -> list[Example]:
    """The examples of a prepared file; see `make_examples`. Warns of those that are cut.

    Raises:
        InputError: not a prepared file, an unknown objective, no record has a reference, or none keeps a token of one.
    """
    examples = make_examples(read_records(path), tokenizer, seq_len, objective)
    cut = [example for example in examples if example.lost]
    longest = max(example.n_inputs + example.lost for example in examples)
    if not any(example.n_targets for example in examples):
        raise InputError(
            f"none of the {len(examples)} examples of {path} keeps a token of its completion within `seq_len` "
            f"{seq_len}: nothing to train on or to take a validation loss of; raise `seq_len`, {longest} keeps all"
        )
    if cut:
        whole = sum(not example.n_targets for example in cut)
        none = f", {whole} of them the whole of it" if whole else ""
        log.warning(
            "warning: %d of %d examples of %s lose the end of their completion (and its end token) beyond a seq_len of "
            "%d%s; a model trained so does not learn to stop; a seq_len of %d would keep all",
            len(cut), len(examples), path, seq_len, none, longest,
        )  # fmt: skip
    return examples
