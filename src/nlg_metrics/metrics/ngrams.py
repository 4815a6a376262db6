"""N-gram counts of many sentences at once, as sorted numpy arrays; shared by BLEU, NIST and CIDEr.

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
