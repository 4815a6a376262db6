"""The E2E suite: BLEU, NIST, METEOR, ROUGE_L and CIDEr of one system, as `measure_scores.py -p` computes them.

BLEU and NIST share one tokenization and one count of n-grams; METEOR, ROUGE_L and CIDEr share the COCO tokenization.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nlg_metrics.evaluation import Bootstrap, from_statistics
from nlg_metrics.metrics.base import Array, Metric, Shared
from nlg_metrics.metrics.bleu import Bleu, PerlBleu, mteval_counts, perl_mteval_counts
from nlg_metrics.metrics.cider import Cider
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.nist import Nist, PerlNist, single_segment_statistics
from nlg_metrics.metrics.rouge import RougeL
from nlg_metrics.metrics.slot_error_rate import SlotErrorRate, error_record, find_errors
from nlg_metrics.metrics.tokenized import Tokenized, coco_captions
from nlg_metrics.segments import Segments
from nlg_metrics.suites import e2e_files
from nlg_metrics.suites.suite import Suite, SuiteResult, make_metrics

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")


def make_suite(
    names: Sequence[str] = METRICS,
    meteor_folder: str | os.PathLike[str] | None = None,
    perl: bool = False,
    source_file: str | None = None,
) -> Suite:
    """The scorer.

    Args:
        names: which metrics, of `METRICS` and `further.FURTHER`.
        meteor_folder: METEOR's resources; default: the installed package pycocoevalcap.
        perl: BLEU and NIST of mteval-v13a.pl, which the tool runs without `-p`. Default: False.
        source_file: file of sources that a table of outputs is checked against.

    Raises:
        InputError: a name isn't one of those.
    """
    counts, captions = Shared(perl_mteval_counts if perl else mteval_counts), Shared(coco_captions)
    makers: dict[str, Callable[[], Metric]] = {
        "BLEU": lambda: PerlBleu(counts) if perl else Bleu(counts=counts),
        "NIST": lambda: PerlNist(counts) if perl else Nist(counts),
        "METEOR": lambda: Tokenized(Meteor("e2e-metrics", meteor_folder), captions),
        "ROUGE_L": lambda: Tokenized(RougeL(), captions),
        "CIDEr": lambda: Tokenized(Cider(), captions),
    }
    metrics, unavailable = make_metrics(names, makers)
    return Suite("e2e", metrics, unavailable, partial(e2e_files.load, source_path=source_file))


def add_slot_error_rate(outcome: SuiteResult, segments: Segments, bootstrap: Bootstrap | None) -> dict[str, Any]:
    """Add the slot error rate to the results; returns its counts by slot and the offending outputs.

    Raises:
        InputError: an output without context, or one that is not E2E's.
    """
    metric, errors = SlotErrorRate(), find_errors(segments.contexts, segments.hypotheses)
    statistics = metric.from_errors(errors)
    outcome.results[metric.name] = from_statistics(metric, statistics, segments.references, bootstrap)
    return error_record(segments, errors)


def segment_columns(segments: Segments, outcome: SuiteResult) -> dict[str, Array]:
    """The columns of the official segment-level table, each (N,): every segment scored as a corpus of its own.

    BLEU is the corpus formula on one segment and `sentBLEU` the same smoothed by one; NIST's information comes from
    the segment's own references (an output under five words has no n-gram of some orders: they add nothing, where
    the official tool stops); CIDEr keeps the corpus' document frequencies. A metric without a score gives nan. BLEU and
    NIST are the Python scorer's in any case, as in the tool.
    """
    counts = mteval_counts(segments.hypotheses, segments.references)
    smoothed = Bleu(smoothing=1.0)
    columns = {
        "BLEU": Bleu().aggregate(Bleu().from_counts(counts)),
        "sentBLEU": smoothed.aggregate(smoothed.from_counts(counts)),
        "NIST": Nist().segment_scores(single_segment_statistics(counts)),
    }
    for name in METRICS[2:]:
        result = outcome.results.get(name)
        columns[name] = np.full(len(segments), np.nan) if result is None else result.segment_scores()
    return columns
