"""The WebNLG and DART suite: BLEU, BLEU NLTK, METEOR, chrF++ and TER, as GenerationEval's eval.py has them.

Every metric here treats a segment without regard to the others, so subsets (seen, unseen) are rows of one
computation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.multi_bleu import MultiBleu
from nlg_metrics.metrics.ngrams import REFERENCE
from nlg_metrics.metrics.nltk_bleu import NltkBleu
from nlg_metrics.metrics.sacrebleu_metrics import sacrebleu_metrics
from nlg_metrics.metrics.ter import Ter
from nlg_metrics.metrics.tokenized import Tokenized, words
from nlg_metrics.segments import Segments
from nlg_metrics.suites.further import Texts
from nlg_metrics.suites.suite import Suite, make_metrics
from nlg_metrics.suites.webnlg_files import read_files, reference_paths
from nlg_metrics.tokenizers.words import words_of

NAMES = ("bleu", "meteor", "chrf++", "ter")  # -m's default, in the order of the table; bleu brings bleu_nltk
OWN = ("bleu", "bleu_nltk", "meteor", "chrf++", "ter")
STYLES = ("lora", "raw")
NUM_REFS = 4
LORA_REFERENCES = 6
_NON_WORD = re.compile(r"(\W)")


def lora_text(text: str) -> str:
    """A text as the predecessor prepares it for WebNLG and DART: lower case, every non-word character apart."""
    return " ".join(" ".join(_NON_WORD.split(text.lower())).split())


def styled(segments: Segments, style: str, max_references: int | None = None) -> Segments:
    """The segments as a scoring style has them.

    Args:
        segments: as released.
        style: "lora" (the predecessor's and the papers' way): `lora_text`, at most six references; "raw": as
            they are.
        max_references: keep the first so many of each segment's references; default 6 for "lora", all for
            "raw".

    Raises:
        InputError: another style, or fewer references than one.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")
    if max_references is not None and max_references < 1:
        raise InputError(f"max_references is {max_references}; at least 1 reference is needed")
    limit = max_references or (LORA_REFERENCES if style == "lora" else None)
    cut = replace(segments, references=[group[:limit] for group in segments.references])
    return cut.mapped(lora_text) if style == "lora" else cut


def make_suite(
    names: Sequence[str] = NAMES,
    chrf: ChrF | None = None,
    meteor_folder: str | os.PathLike[str] | None = None,
    sacrebleu: bool = False,
    style: str = "raw",
    num_refs: int | None = None,
    language: str = "en",
) -> Suite:
    """The scorer.

    Args:
        names: which metrics, from `OWN` and `further.FURTHER`; bleu brings bleu_nltk.
        chrf: with other orders than 6 and 2.
        meteor_folder: METEOR's resources; default: the installed package pycocoevalcap.
        sacrebleu: add sacrebleu's BLEU, chrF++ and TER.
        style: see `styled`.
        num_refs: number of the official tool's reference files, default 4; the most references of a segment to use.
        language: code of the texts' language.

    Raises:
        InputError: a name isn't one of those, or a library that was asked for is not installed.
    """
    tokenizer = words_of(language)
    prepare = words(tokenizer)
    makers: dict[str, Callable[[], Metric]] = {
        "bleu": MultiBleu,
        "bleu_nltk": lambda: NltkBleu(tokenizer),
        "meteor": lambda: Tokenized(
            Meteor("GenerationEval", meteor_folder, language=language), prepare, input=tokenizer.signature
        ),
        "chrf++": lambda: chrf or ChrF(),
        "ter": lambda: Ter(tokenizer),
    }
    wanted = {*names, *(["bleu_nltk"] if "bleu" in names else [])}
    ordered = [*(name for name in OWN if name in wanted), *(name for name in names if name not in OWN)]
    texts = Texts(prepare=lora_text if style == "lora" else None, language=language)
    metrics, unavailable = make_metrics(ordered, makers, texts)
    if sacrebleu:
        metrics.update(sacrebleu_metrics())

    def read(references: str, hypotheses: str) -> Segments:
        return read_files(hypotheses, reference_paths(references, NUM_REFS if num_refs is None else num_refs))

    return Suite(
        "webnlg_dart",
        metrics,
        unavailable,
        read,
        partial(styled, style=style, max_references=num_refs),
        style,
        subsets=True,
        padding={"bleu": _no_reference_length, "ter": _ter_of_one, "meteor": _blank_first},
    )


def _no_reference_length(statistics: Array, references: Sequence[Sequence[str]]) -> Array:
    return statistics[:, REFERENCE] == 0


def _ter_of_one(statistics: Array, references: Sequence[Sequence[str]]) -> Array:
    return statistics[:, 0] == 1


def _blank_first(statistics: Array, references: Sequence[Sequence[str]]) -> Array:
    # Without any match the first reference counts.
    return np.array([not group[0].strip() for group in references])
