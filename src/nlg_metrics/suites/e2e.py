"""The E2E suite: BLEU, NIST, METEOR, ROUGE_L and CIDEr of one system, as `measure_scores.py -p` computes them.

BLEU and NIST share one tokenisation and one count of n-grams; METEOR, ROUGE_L and CIDEr share the COCO tokenisation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result, from_statistics
from nlg_metrics.metrics.base import Array, Metric, check_segments
from nlg_metrics.metrics.bleu import Bleu, MtevalCounts, mteval_counts
from nlg_metrics.metrics.cider import Cider
from nlg_metrics.metrics.nist import Nist, alone
from nlg_metrics.metrics.rouge import RougeL
from nlg_metrics.tokenizers.mteval import MtevalTokenizer
from nlg_metrics.tokenizers.ptb import PtbTokenizer

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")


@dataclass
class SuiteResult:
    """What the suite says about one system.

    Attributes:
        results: metric name -> result, in the official order.
        unavailable: metric name -> why there is no score.
        counts: the n-gram counts BLEU and NIST came from.
    """

    results: dict[str, Result] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    counts: MtevalCounts | None = None


def load_meteor(folder: str | os.PathLike[str] | None = None) -> Metric:
    """METEOR in the mode of the COCO caption evaluation.

    Args:
        folder: holds the resources. Default: the installed pycocoevalcap package

    Raises:
        InputError: the resources are absent; the message says how to get them.
    """
    # Imported here: nothing else in the suite needs it.
    from nlg_metrics.metrics.meteor import Meteor

    return Meteor(folder=folder)


def tokenize(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The COCO tokenisation of both files.

    Args:
        hypotheses: N texts, one file.
        references: N lists of texts, the other file.

    Returns:
        The same texts, their tokens joined by spaces.
    """
    tokenizer = PtbTokenizer()
    flat = iter(tokenizer.captions([text for group in references for text in group]))
    return tokenizer.captions(hypotheses), [[next(flat) for _ in group] for group in references]


def run(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    bootstrap: Bootstrap | None = None,
    meteor: Metric | str | None = None,
    perl: bool = False,
) -> SuiteResult:
    """Score one system with the whole suite.

    Args:
        hypotheses: N texts.
        references: N non-empty lists of texts.
        bootstrap: how to make intervals. Default: 1,000 resamples, seed 12345, 95%
        meteor: the metric, or why it is not available. Default: `load_meteor()`
        perl: BLEU and NIST of mteval-v13a.pl, which the tool runs without `-p`. Default: False

    Returns:
        Results of every metric that is defined on these texts; the others with the reason.

    Raises:
        InputError: different lengths, no segment, or a segment without reference.
    """
    check_segments(hypotheses, references)
    outcome = SuiteResult()
    counts = outcome.counts = mteval_counts(hypotheses, references)
    if perl:  # the segment-level table is of the Python scorer in any case, as in the tool
        counts = mteval_counts(hypotheses, references, tokenize=MtevalTokenizer(perl=True))
    hypothesis_tokens, reference_tokens = tokenize(hypotheses, references)

    def add(metric: Metric, statistics: Array) -> None:
        result = from_statistics(metric, statistics, references, bootstrap)
        if np.isfinite(result.score.value):
            outcome.results[metric.name] = result
        else:
            outcome.unavailable[metric.name] = (
                "not defined: too few words (the outputs have no n-gram of some order); the official tool stops here"
            )

    bleu, nist = Bleu(perl=perl), Nist(perl=perl)
    add(bleu, bleu.from_counts(counts))
    add(nist, nist.from_counts(counts))
    try:
        metric = load_meteor() if meteor is None else meteor
        if isinstance(metric, str):
            raise InputError(metric)
        add(metric, metric.statistics(hypothesis_tokens, reference_tokens))
    except InputError as error:
        outcome.unavailable["METEOR"] = str(error)
    rouge, cider = RougeL(), Cider()
    add(rouge, rouge.statistics(hypothesis_tokens, reference_tokens))
    try:
        add(cider, cider.statistics(hypothesis_tokens, reference_tokens))
    except InputError as error:
        outcome.unavailable[cider.name] = str(error)
    return outcome


def segment_columns(outcome: SuiteResult) -> dict[str, Array]:
    """The columns of the official segment-level table, each (N,): every segment scored as a corpus of its own.

    BLEU is the corpus formula on one segment and `sentBLEU` the same smoothed by one; NIST's information comes from
    the segment's own references (an output under five words has no n-gram of some orders: they add nothing, where
    the official tool stops); CIDEr keeps the corpus' document frequencies. A metric without a score gives nan.
    """
    if outcome.counts is None:
        raise InputError("no segment was scored")
    n_segments = outcome.counts.n_segments
    smoothed = Bleu(smoothing=1.0)
    columns = {
        "BLEU": Bleu().aggregate(Bleu().from_counts(outcome.counts)),
        "sentBLEU": smoothed.aggregate(smoothed.from_counts(outcome.counts)),
        "NIST": Nist().segment_scores(alone(outcome.counts)),
    }
    for name in METRICS[2:]:
        result = outcome.results.get(name)
        columns[name] = np.full(n_segments, np.nan) if result is None else result.segment_scores()
    return columns
