"""N-gram counts of many sentences at once, as sorted numpy arrays; shared by every BLEU, NIST and CIDEr.

Tokens become numbers, an n-gram becomes the number of its (n-1)-gram prefix and of its last token. What the metrics
need (counts per sentence, the largest count in any reference, document frequencies) are then sorts and reductions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_KEPT = 0.75  # of all n-grams; with fewer left, a precision is a third too high


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of one order in a list of sentences.

    Attributes:
        order: n.
        n_types: number of distinct n-grams; an n-gram is a number below it.
        sentence: (rows,) the sentence of each row, ascending.
        ngram: (rows,) the n-gram of each row, ascending within a sentence.
        count: (rows,) how often it occurs in that sentence.
        prefix: (n_types,) the (n-1)-gram each begins with; all 0 for n = 1.
    """

    order: int
    n_types: int
    sentence: Ints
    ngram: Ints
    count: Ints
    prefix: Ints


def distinct(values: Ints) -> Ints:
    """The distinct values in ascending order, by sorting; `np.unique` hashes first, which takes forty times as long."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def count_ngrams(sentences: Iterable[Sequence[Hashable]], max_order: int) -> tuple[list[Ngrams], Ints]:
    """Count the n-grams of n = 1 to `max_order` in every sentence.

    Args:
        sentences: S lists of tokens: anything hashable, str or bytes.
        max_order: largest n.

    Returns:
        One `Ngrams` an order, and the (S,) lengths in tokens.
    """
    number: dict[Hashable, int] = {}
    flat: list[int] = []
    sizes: list[int] = []
    for tokens in sentences:
        flat.extend([number.setdefault(token, len(number)) for token in tokens])
        sizes.append(len(tokens))
    ids, lengths = np.array(flat, dtype=np.int64), np.array(sizes, dtype=np.int64)
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    # How many tokens follow, itself included, in the same sentence: an n-gram starts only where n are left.
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))

    tables = []
    starts, ngram, prefix, n_types = np.arange(len(ids)), ids, np.zeros(len(number), np.int64), len(number)
    for order in range(1, max_order + 1):
        if order > 1:
            kept = left[starts] >= order
            starts = starts[kept]
            joined, ngram = np.unique(ngram[kept] * len(number) + ids[starts + order - 1], return_inverse=True)
            prefix, n_types = joined // max(len(number), 1), len(joined)
        rows, count = np.unique(sentence[starts] * n_types + ngram, return_counts=True)
        size = max(n_types, 1)
        tables.append(Ngrams(order, n_types, rows // size, rows % size, count, prefix))
    return tables, lengths


def best_reference_counts(table: Ngrams, segment_of: Ints, n_hypotheses: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Each hypothesis n-gram beside its largest count in any one reference of the same segment.

    Args:
        table: n-grams of the hypotheses (sentences 0 to N-1, one a segment), then of all references.
        segment_of: (S,) the segment of each sentence.
        n_hypotheses: N.

    Returns:
        segment, n-gram, count in the hypothesis, largest reference count (0 where no reference has it).
    """
    first_reference = int(np.searchsorted(table.sentence, n_hypotheses))
    size = max(table.n_types, 1)
    keys = segment_of[table.sentence[first_reference:]] * size + table.ngram[first_reference:]
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], table.count[first_reference:][order]
    hypothesis = table.sentence[:first_reference], table.ngram[:first_reference]
    best = np.zeros(first_reference, np.int64)
    if len(keys):
        group = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        keys, largest = keys[group], np.maximum.reduceat(counts, group)
        wanted = hypothesis[0] * size + hypothesis[1]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        best = np.where(keys[place] == wanted, largest[place], 0)
    return hypothesis[0], hypothesis[1], table.count[:first_reference], best


def short_outputs_caveat(n_ngrams: Floats) -> str:
    """Why a score means nothing whose formula lets an output shorter than n lower the number of n-grams; else "".

    Args:
        n_ngrams: (N, n) n-grams of each output, of orders 1 to n; negative where it is too short.
    """
    totals, clipped = n_ngrams.sum(axis=0), np.maximum(n_ngrams, 0.0).sum(axis=0)
    wrong = np.flatnonzero((totals <= 0) | (totals < _KEPT * clipped))
    if not len(wrong):
        return ""
    order, short = int(wrong[-1]), int((n_ngrams[:, -1] < 1).sum())
    return (
        f"{short:,} of {len(n_ngrams):,} outputs have fewer than {n_ngrams.shape[1]} words, and in this formula each "
        f"takes n-grams away: {totals[order]:,.0f} {order + 1}-grams count where there are {clipped[order]:,.0f}"
    )


@dataclass(frozen=True)
class SegmentNgrams:
    """The n-grams of N segments, each a hypothesis paired with its references.

    Attributes:
        n_segments: N.
        tables: n-grams of the N hypotheses, then of all R references, one table an order.
        matches: for each order: segment, n-gram, count in the hypothesis, largest count in any reference.
        segment_of: (N + R,) the segment of each sentence.
        hypothesis_lengths: (N,) in tokens.
        reference_lengths: (R,) in tokens, segment by segment.
        reference_counts: (N,) number of references of each segment.
    """

    n_segments: int
    tables: list[Ngrams]
    matches: list[tuple[Ints, Ints, Ints, Ints]]
    segment_of: Ints
    hypothesis_lengths: Ints
    reference_lengths: Ints
    reference_counts: Ints

    @property
    def first_references(self) -> Ints:
        """(N,) where the references of each segment begin."""
        return np.cumsum(self.reference_counts) - self.reference_counts

    def clipped_matches(self, order: int) -> Floats:
        """(N,) n-grams of the hypothesis, each counted at most as often as in the reference that has it most."""
        segment, _, count, best = self.matches[order - 1]
        matched = np.bincount(segment, np.minimum(count, best), minlength=self.n_segments)
        return matched.astype(np.float64)

    def closest_lengths(self) -> Floats:
        """(N,) the reference length closest to the hypothesis', of two equally close ones the shorter."""
        hypothesis = np.repeat(self.hypothesis_lengths, self.reference_counts)
        reference = self.reference_lengths
        # One number orders by distance, then by length.
        size = int(reference.max(initial=0)) + 1
        ranked = np.abs(reference - hypothesis) * size + reference
        return np.minimum.reduceat(ranked, self.first_references).astype(np.float64) % size


def segment_ngrams(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]], max_order: int
) -> SegmentNgrams:
    """Count the n-grams of N tokenized hypotheses and of their references, and pair them.

    Args:
        hypotheses: N lists of tokens.
        references: N non-empty lists of lists of tokens.
        max_order: largest n.
    """
    n_segments = len(hypotheses)
    reference_counts = np.array([len(group) for group in references], dtype=np.int64)
    segment_of = np.concatenate([np.arange(n_segments), np.repeat(np.arange(n_segments), reference_counts)])
    sentences = [*hypotheses, *(reference for group in references for reference in group)]
    tables, lengths = count_ngrams(sentences, max_order)
    matches = [best_reference_counts(table, segment_of, n_segments) for table in tables]
    return SegmentNgrams(
        n_segments, tables, matches, segment_of, lengths[:n_segments], lengths[n_segments:], reference_counts
    )


BLEU_ORDERS = 4
LENGTH, REFERENCE = 2 * BLEU_ORDERS, 2 * BLEU_ORDERS + 1  # columns after the matches and the candidates


def bleu_statistics(
    hypotheses: Sequence[Sequence[Hashable]],
    references: Sequence[Sequence[Sequence[Hashable]]],
    fewest_candidates: int = 0,
) -> Floats:
    """What a BLEU sums up (Papineni et al. 2002, https://aclanthology.org/P02-1040), of N tokenized segments.

    Args:
        hypotheses: N lists of tokens.
        references: N non-empty lists of lists of tokens.
        fewest_candidates: what a hypothesis shorter than n adds to the candidates of order n. Default: 0.

    Returns:
        Shape (N, 10): clipped matches of orders 1 to 4; candidates of orders 1 to 4; hypothesis length; length of the
        closest reference.
    """
    statistics = np.zeros((len(hypotheses), 2 * BLEU_ORDERS + 2))
    if not len(hypotheses):
        return statistics
    counts = segment_ngrams(hypotheses, references, BLEU_ORDERS)
    for order in range(1, BLEU_ORDERS + 1):
        statistics[:, order - 1] = counts.clipped_matches(order)
        candidates = np.maximum(counts.hypothesis_lengths - (order - 1), fewest_candidates)
        statistics[:, BLEU_ORDERS + order - 1] = candidates
    statistics[:, LENGTH] = counts.hypothesis_lengths
    statistics[:, REFERENCE] = counts.closest_lengths()
    return statistics
