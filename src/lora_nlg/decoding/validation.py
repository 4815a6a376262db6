"""Validation by generation: the real decoder on the validation contexts, a real scorer on what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lora_nlg.corpora.record import Record
from lora_nlg.decoding.decoder import decode_contexts
from lora_nlg.decoding.settings import BeamSettings
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.progress import progress_bar
from lora_nlg.tokenizers import Tokenizer

SAMPLES = 4
"""Generated texts kept at each validation."""
Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], float]
"""Texts and, for each, its references -> BLEU."""


@dataclass(frozen=True)
class GenerationSettings:
    """Validation by generation."""

    valid_bleu: bool = False
    """Decode the validation contexts with beam search and score BLEU, every epoch: the E2E scorer's, save that an
    empty output has no n-gram instead of less than none. Decoded in fp32 whatever --dtype, as `decode` does, from the
    weights as they are held."""
    valid_beam: int = 4
    """Beam size of validation by generation."""
    valid_eval_len: int = 64
    """Most tokens generated in validation."""
    valid_contexts: int = 0
    """Decode only the first so many distinct contexts; 0 takes all."""

    def __post_init__(self) -> None:
        for name, least in (("valid_beam", 1), ("valid_eval_len", 1), ("valid_contexts", 0)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}")


class GenerationValidation:
    """Decodes the contexts, every rank its share, and scores them: a validation for `training.Trainer`.

    Args:
        model: in training; on `world.device`.
        tokenizer: its vocabulary.
        records: validation records; equal contexts are one segment, all their references together.
        settings: how much to decode, and how.
        seq_len: tokens of context and text together, at most.
        score: the scorer.
        world: the ranks.

    Raises:
        InputError: no record has a reference.
    """

    kind = "generation"

    def __init__(
        self,
        model: GPT2,
        tokenizer: Tokenizer,
        records: Iterable[Record],
        *,
        settings: GenerationSettings,
        seq_len: int,
        score: Scorer,
        world: World,
    ) -> None:
        self.model, self.tokenizer, self.seq_len = model, tokenizer, seq_len
        self.score, self.world = score, world
        self.references: dict[str, list[str]] = {}
        for record in records:
            self.references.setdefault(record.context, []).extend(record.references)
        contexts = [context for context, references in self.references.items() if references]
        if not contexts:
            raise InputError("`valid_bleu` needs validation records with references; there is none")
        self.contexts = contexts[: settings.valid_contexts or None]
        self.beam = BeamSettings(beam=settings.valid_beam, eval_len=min(settings.valid_eval_len, seq_len - 1))

    def __call__(self) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """BLEU under `bleu`, and the first few texts by context."""
        own = self.contexts[self.world.rank :: self.world.size]
        with progress_bar(
            total=len(own), desc="validate by generation", unit="context", leave=False, disable=not self.world.is_main
        ) as bar:
            found = decode_contexts(
                self.model, self.tokenizer, own, self.beam, seq_len=self.seq_len, finished=bar.update
            )
        texts = {context: hypothesis.text for context, hypothesis in zip(own, found, strict=True)}
        said = {context: text for part in self.world.gather(texts) for context, text in part.items()}
        score = self.score(
            [said[context] for context in self.contexts], [self.references[context] for context in self.contexts]
        )
        return {"bleu": score}, {context: said[context] for context in self.contexts[:SAMPLES]}

    def describe(self, values: Mapping[str, float]) -> str:
        """Its values in words."""
        return f"generated in fp32: bleu {values['bleu']:.4f}"
