"""What a beam search is asked to do, and what it gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lora_nlg.errors import InputError

Semantics = Literal["lora", "hf"]


@dataclass(frozen=True)
class BeamSettings:
    """The search.

    Two semantics. `lora`: bans and penalties look at generated tokens and act before the softmax, so the rest
    renormalises, and a finished hypothesis leaves its place in the beam empty for a step (the search of
    microsoft/LoRA's examples/NLG). `hf`: transformers' `generate`: they look at the prompt too and act after the
    softmax (with one beam, which is its greedy search, before it), and further candidates take the places of finished
    ones; `min_length` then counts the prompt.

    Raises:
        InputError: a setting out of range; all of them are named.
    """

    end_ids: tuple[int, ...] | None = None
    """Tokens that end a hypothesis. None means none for a bare search, the tokenizer's wherever there is one."""
    beam: int = 10
    """Hypotheses kept alive."""
    length_penalty: float = 0.8
    """Hypotheses are ranked by log-probability / length^penalty; any sign."""
    no_repeat_ngram_size: int = 4
    """No n-gram of this size occurs twice in a hypothesis; 0 allows all."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that occurred less likely: scores are divided (positive) or multiplied (negative) by it."""
    min_length: int = 0
    """Tokens generated before an end token is allowed."""
    eval_len: int = 64
    """Most tokens generated."""
    semantics: Semantics = "lora"
    """lora: the search of microsoft/LoRA; hf: of transformers' generate, with one beam its greedy search."""
    early_stopping: bool | Literal["never"] = "never"
    """For --semantics hf, as generate has it. never: a search ends when nothing to come can change its outcome; true:
    as soon as there are as many finished hypotheses as beams; false: when the best beam, ended now, would be no better
    than the worst of these."""
    n_best: int = 1
    """Hypotheses given for each context, at most."""

    def __post_init__(self) -> None:
        problems = []
        if self.beam < 1:
            problems.append(f"`beam` must be at least 1, got {self.beam}")
        if self.eval_len < 1:
            problems.append(f"`eval_len` must be at least 1, got {self.eval_len}")
        if self.n_best < 1:
            problems.append(f"`n_best` must be at least 1, got {self.n_best}")
        if self.no_repeat_ngram_size < 0:
            problems.append(f"`no_repeat_ngram_size` must be 0 (off) or more, got {self.no_repeat_ngram_size}")
        if self.min_length < 0:
            problems.append(f"`min_length` must be 0 or more, got {self.min_length}")
        elif self.semantics == "lora" and self.min_length > self.eval_len:
            problems.append(
                f"`min_length` {self.min_length} leaves no end token room within `eval_len` {self.eval_len}"
            )
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            problems.append(f"`repetition_penalty` must be above 0 (1 is off), got {self.repetition_penalty}")
        if not -100 <= self.length_penalty <= 100:  # so that length^penalty is neither zero nor infinite
            problems.append(f"`length_penalty` must lie in -100 … 100, got {self.length_penalty}")
        if self.semantics not in get_args(Semantics):
            problems.append(f"`semantics` must be one of {', '.join(get_args(Semantics))}, got {self.semantics!r}")
        if self.early_stopping not in (True, False, "never"):
            problems.append(f"`early_stopping` must be true, false or never, got {self.early_stopping!r}")
        elif self.early_stopping != "never" and self.semantics != "hf":
            problems.append("`early_stopping` is of `semantics` hf; the other search always ends as never does")
        if any(token < 0 for token in self.end_ids or ()):
            problems.append(f"end tokens must be ids of the vocabulary, got {list(self.end_ids or ())}")
        if problems:
            raise InputError("; ".join(problems))

    @property
    def refills(self) -> bool:
        """Whether further candidates take the places of finished hypotheses at once.

        Not for a single beam: `generate` then is greedy and ends with its first end token.
        """
        return self.semantics == "hf" and self.beam > 1

    @property
    def kept(self) -> int:
        """Finished hypotheses kept of each search: as many as are given, or as `early_stopping` counts."""
        return self.beam if self.refills and self.early_stopping != "never" else self.n_best

    @property
    def candidates(self) -> int:
        """Continuations of a context looked at in each step, best first.

        Where places are refilled, as many more as end tokens could take: then n that go on are among them.
        """
        return self.beam if not self.refills else max(2, 1 + len(self.end_ids or ())) * self.beam


@dataclass(frozen=True)
class Hypothesis:
    """One answer to a context.

    Attributes:
        tokens: generated token ids, its end token included.
        log_prob: sum of the log-probabilities of `tokens`.
        score: log_prob / len(tokens)^length_penalty, what hypotheses are ranked by.
        finished: ended by an end token rather than by the length limit.
        text: the tokens as text, cut and stripped; empty until `decode_contexts` fills it.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float
    finished: bool
    text: str = ""
