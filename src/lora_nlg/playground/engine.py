"""Questions to runs and their answers, as plain values: what the page shows, without a page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lora_nlg.decoding import BeamSettings, Hypothesis, SamplingSettings
from lora_nlg.errors import InputError
from lora_nlg.playground.corpus import Corpus
from lora_nlg.playground.slots import SlotFinder, SlotState, literal_states
from lora_nlg.playground.systems import System
from lora_nlg.playground.words import Word, words

PENALTIES = tuple(round(0.1 * step, 1) for step in range(21))
"""Length penalties that one search is ranked by."""
MOST_BEAMS = 100
"""Beams and hypotheses of a question, so that a slip of the finger doesn't take the machine's memory."""


@dataclass(frozen=True)
class Question:
    """What a system is asked.

    Attributes:
        system: its name.
        factor: of its alpha; 0 is the base, 1 as trained.
        context: the meaning representation.
        search: how to search; its length penalty is ranked first.
        sampling: draw samples instead. Default: None, search.

    Raises:
        InputError: more beams or hypotheses than a page can use.
    """

    system: str
    factor: float
    context: str
    search: BeamSettings
    sampling: SamplingSettings | None = None

    def __post_init__(self) -> None:
        for name in ("beam", "n_best"):
            if getattr(self.search, name) > MOST_BEAMS:
                raise InputError(f"`{name}` may be up to {MOST_BEAMS} here, got {getattr(self.search, name)}")


@dataclass(frozen=True)
class Answer:
    """The hypotheses of one search under every length penalty.

    Attributes:
        context: as the model read it.
        hypotheses: all that are among the n best under some penalty.
        slots: states of the context's slots for each hypothesis.
        checked: `scorer`, or `literally`: how the slots were looked for.
        rankings: length penalty → (index into `hypotheses`, score), best first.
        command: does the same in the shell, once it is given a length penalty.
        note: what the reader should know; empty for nothing.
    """

    context: str
    hypotheses: list[Hypothesis]
    slots: list[list[SlotState]]
    checked: str
    rankings: dict[float, list[tuple[int, float]]]
    command: str
    note: str


class Playground:
    """Systems, contexts to ask them about, and one question at a time.

    Args:
        systems: at least one, of different names.
        corpus: contexts on offer.
        find_slots: a scorer's view of which slots a text says. Default: none, values are looked for literally.
        command: writes a question as a shell command, without its length penalty. Default: no command.
        as_trained: writes a context as the training data does. Default: as it stands.
    """

    def __init__(
        self,
        systems: Iterable[System],
        corpus: Corpus | None = None,
        find_slots: SlotFinder | None = None,
        command: Callable[[Question], str] = lambda question: "",
        as_trained: Callable[[str], str] = lambda context: context,
    ) -> None:
        self.systems = {system.name: system for system in systems}
        self.corpus = corpus or Corpus()
        self.find_slots, self.command, self.as_trained = find_slots, command, as_trained
        self._lock = threading.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a question is being answered."""
        return self._lock.locked()

    def ask(self, question: Question) -> Answer:
        """Search, or sample; rank by every penalty of `PENALTIES` and the question's own.

        A search is ranked by them all and gives for each exactly what a search of its own would. Samples are ranked
        by the question's own alone.

        Raises:
            InputError: no such system, no context, or settings that don't fit it.
        """
        question = replace(question, context=self.as_trained(question.context))
        if not question.context:
            raise InputError("there is nothing to say: choose a test context, or type one")
        own = question.search.length_penalty
        penalties = [own] if question.sampling else list(dict.fromkeys([own, *PENALTIES]))
        system = self._system(question)
        with self._lock:
            decoder = system.decoder(question.factor, question.search, question.sampling)
            ((_, rankings),) = decoder.decode_penalties([question.context], penalties)
        places: dict[tuple[int, ...], int] = {}
        hypotheses: list[Hypothesis] = []
        ranked: dict[float, list[tuple[int, float]]] = {}
        for penalty, ranking in zip(penalties, rankings, strict=True):
            seen = ranked[penalty] = []
            for hypothesis in ranking:
                if question.sampling or hypothesis.tokens not in places:  # equal samples stay apart
                    places[hypothesis.tokens] = len(hypotheses)
                    hypotheses.append(hypothesis)
                seen.append((places[hypothesis.tokens], hypothesis.score))
        checked, slots = self._slots(question.context, [hypothesis.text for hypothesis in hypotheses])
        length = len(system.run.tokenizer.encode(question.context)) + 1
        cut = length - decoder.longest_prompt
        note = f"The context has {length} tokens; the first {cut} of them were left out." if cut > 0 else ""
        return Answer(question.context, hypotheses, slots, checked, ranked, self.command(question), note)

    def words(self, question: Question, hypotheses: Sequence[Sequence[int]]) -> list[list[Word]]:
        """The words of hypotheses, given by their tokens, with the model's log-probabilities.

        Raises:
            InputError: as `ask`, or tokens that are no hypothesis.
        """
        system = self._system(question)
        longest, size = question.search.eval_len, system.run.tokenizer.vocab_size
        if any(len(tokens) > longest or not all(0 <= token < size for token in tokens) for tokens in hypotheses):
            raise InputError(f"a hypothesis has up to {longest} tokens below {size}")
        with self._lock:
            decoder = system.decoder(question.factor, question.search)
            return [words(decoder, question.context, tokens) for tokens in hypotheses]

    def _system(self, question: Question) -> System:
        if question.system not in self.systems:
            raise InputError(f"no run {question.system!r} here; there are {', '.join(self.systems)}")
        return self.systems[question.system]

    def _slots(self, context: str, texts: Sequence[str]) -> tuple[str, list[list[SlotState]]]:
        found = [self.find_slots(context, text) for text in texts] if self.find_slots else []
        if found and all(states is not None for states in found):
            return "scorer", [list(states or ()) for states in found]
        return "literally", [literal_states(context, text) for text in texts]
