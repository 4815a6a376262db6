"""The WebNLG and DART suite: BLEU, BLEU NLTK, METEOR, chrF++ and TER, as GenerationEval's eval.py has them.

Every metric here treats a segment without regard to the others, so subsets (seen, unseen) are rows of one
computation.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result, from_statistics, labelled
from nlg_metrics.metrics.base import Array, Metric, check_segments
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.metrics.clipped_matches import REFERENCE
from nlg_metrics.metrics.multi_bleu import MultiBleu
from nlg_metrics.metrics.nltk_bleu import NltkBleu
from nlg_metrics.metrics.padding import Unpadded, padded_rows
from nlg_metrics.metrics.sacrebleu_metrics import sacrebleu_metrics
from nlg_metrics.metrics.ter import Ter
from nlg_metrics.segments import Segments
from nlg_metrics.tokenizers.nltk_words import WordTokenizer, default_tokenizer

NAMES = ("bleu", "meteor", "chrf++", "ter")  # -m's default, in the order of the table; bleu brings bleu_nltk
ALLOWED = ("bleu", "bleu_nltk", "meteor", "chrf++", "ter")
NOT_OFFERED = ("bert", "bertscore", "bleurt")
STYLES = ("lora", "raw")
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
    """
    if style not in STYLES:
        raise InputError(f"--style is {style!r}; it must be one of {', '.join(STYLES)}")
    if max_references is not None and max_references < 1:
        raise InputError(f"-nr is {max_references}; at least 1 reference is needed")
    limit = max_references or (LORA_REFERENCES if style == "lora" else None)
    cut = replace(segments, references=[group[:limit] for group in segments.references])
    return cut.mapped(lora_text) if style == "lora" else cut


class WordTokenized(Metric):
    """A metric on `word_tokenize`d text, as eval.py feeds METEOR; case and punctuation are kept."""

    def __init__(self, metric: Metric, tokenizer: WordTokenizer) -> None:
        """
        Args:
            metric: gets the tokens joined by spaces.
            tokenizer: makes them.
        """
        self.metric, self.tokenizer = metric, tokenizer
        self.name, self.higher_is_better = metric.name, metric.higher_is_better

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        join = self._join
        return self.metric.statistics(
            [join(text) for text in hypotheses], [[join(text) for text in group] for group in references]
        )

    def _join(self, text: str) -> str:
        return " ".join(self.tokenizer.tokens(text))

    def aggregate(self, totals: Array) -> Array:
        return self.metric.aggregate(totals)

    def segment_scores(self, statistics: Array) -> Array:
        return self.metric.segment_scores(statistics)

    def parts(self, totals: Array) -> dict[str, float]:
        return self.metric.parts(totals)

    def settings(self) -> dict[str, Any]:
        return {"input": self.tokenizer.signature, **self.metric.settings()}


@dataclass
class SuiteResult:
    """What the suite says about one system.

    Attributes:
        results: key -> result, in the order of the table; keys are eval.py's: bleu, bleu_nltk, meteor,
            chrf++, ter.
        unpadded: key -> result without blank references, for those metrics that padding has changed.
        subsets: "seen", "unseen" -> key -> result.
        unavailable: key -> why there is no score.
    """

    results: dict[str, Result] = field(default_factory=dict)
    unpadded: dict[str, Result] = field(default_factory=dict)
    subsets: dict[str, dict[str, Result]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def all_results(self) -> dict[str, Result]:
        """The results, then the corrected ones under keys like `bleu_unpadded`."""
        return {**self.results, **{f"{key}_unpadded": result for key, result in self.unpadded.items()}}


def parse_names(text: str) -> list[str]:
    """The metrics named in `-m bleu,meteor,chrf++,ter`.

    Raises:
        InputError: a name isn't one of `ALLOWED`.
    """
    names = [name.strip() for name in text.lower().split(",") if name.strip()]
    for name in names:
        if name in NOT_OFFERED:
            raise InputError(f"{name} is not offered (it needs a downloaded model); -m takes {','.join(ALLOWED)}")
        if name not in ALLOWED:
            raise InputError(f"no metric {name!r}; -m takes {','.join(ALLOWED)}")
    if not names:
        raise InputError(f"-m names no metric; it takes {','.join(ALLOWED)}")
    return names


def load_meteor(folder: str | os.PathLike[str] | None = None) -> Metric:
    """METEOR 1.5.

    Args:
        folder: holds its resources; default: the installed package pycocoevalcap.

    Raises:
        InputError: the resources are absent; the message says how to get them.
    """
    try:
        module = importlib.import_module("nlg_metrics.metrics.meteor")
    except ImportError as error:
        raise InputError(f"METEOR can't be loaded ({error}); `pip install pycocoevalcap==1.2`") from None
    metric: Metric = module.Meteor("GenerationEval", folder=folder)
    return metric


def make_metrics(
    names: Sequence[str], chrf: ChrF | None = None, meteor_folder: str | None = None
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics of `parse_names`, and why those that can't be made can't."""
    tokenizer = default_tokenizer()
    metrics: dict[str, Metric] = {}
    unavailable: dict[str, str] = {}
    if "bleu" in names:
        metrics["bleu"] = MultiBleu()
    if "bleu" in names or "bleu_nltk" in names:
        metrics["bleu_nltk"] = NltkBleu(tokenizer)
    if "meteor" in names:
        try:
            metrics["meteor"] = WordTokenized(load_meteor(meteor_folder), tokenizer)
        except InputError as error:
            unavailable["meteor"] = str(error)
    if "chrf++" in names:
        metrics["chrf++"] = chrf or ChrF()
    if "ter" in names:
        metrics["ter"] = Ter(tokenizer)
    return metrics, unavailable


def _padding_counts(key: str, statistics: Array, references: Sequence[Sequence[str]], rows: Sequence[int]) -> list[int]:
    """Those of the padded segments `rows` whose blank reference may be the one that counted."""
    if key == "bleu":
        return [row for row in rows if statistics[row, REFERENCE] == 0]
    if key == "ter":
        return [row for row in rows if statistics[row, 0] == 1]
    if key == "meteor":  # without any match the first reference counts
        return [row for row in rows if not references[row][0].strip()]
    return []


def run(
    segments: Segments,
    names: Sequence[str] = NAMES,
    bootstrap: Bootstrap | None = None,
    chrf: ChrF | None = None,
    meteor_folder: str | None = None,
    sacrebleu: bool = False,
    labels: Mapping[str, str] | None = None,
) -> SuiteResult:
    """Score one system.

    Args:
        segments: from `segments.read_segments` or `generation_eval.read_files`, styled.
        names: which metrics, from `ALLOWED`.
        bootstrap: how to make the intervals; default 1,000 resamples, seed 12345, 95%.
        chrf: with other orders than 6 and 2.
        meteor_folder: METEOR's resources; default: the installed package.
        sacrebleu: add sacrebleu's BLEU, chrF++ and TER.
        labels: what else the signatures say: how the segments were styled.

    Returns:
        The scores of all segments and, where the corpus knows them, of the seen and unseen ones.

    Raises:
        InputError: no segment, or one without a reference; sacrebleu asked for but not installed.
    """
    check_segments(segments.hypotheses, segments.references)
    metrics, unavailable = make_metrics(names, chrf, meteor_folder)
    if sacrebleu:
        metrics.update(sacrebleu_metrics())
    outcome = SuiteResult(unavailable=unavailable)
    hypotheses, references = segments.hypotheses, segments.references
    rows = padded_rows(references)
    masks = segments.subsets()
    outcome.subsets = {name: {} for name in masks}

    def result(metric: Metric, statistics: Array, texts: Sequence[Sequence[str]]) -> Result:
        return labelled(from_statistics(metric, statistics, texts, bootstrap), labels or {})

    for key, metric in metrics.items():
        statistics = metric.statistics(hypotheses, references)
        outcome.results[key] = result(metric, statistics, references)
        for name, mask in masks.items():
            part = segments.subset(mask)
            outcome.subsets[name][key] = result(metric, statistics[mask], part.references)
        touched = _padding_counts(key, statistics, references, rows)
        if touched:
            plain = Unpadded(metric)
            corrected = plain.correct(statistics, hypotheses, references, touched)
            if (corrected != statistics).any():
                outcome.unpadded[key] = result(plain, corrected, references)
    return outcome
