"""METEOR 1.5's four modules: which words and phrases of a reference may be aligned with which of a hypothesis.

The tool compares words, and stems, by Java's 32-bit hash of strings, under which different short words can be the same
(`k2` and `ip`, `f1` and `do`); it looks words up by their letters everywhere else. So does this.
Exact, stem and synonym matches join one word to one; paraphrases join phrases listed in the table, in either
direction. None suppresses another, and the order of the matches is part of the method. Words are looked up once for
a block of segments, and the paraphrases of all its segments are found together with array operations.
Method: Denkowski & Lavie 2014 (https://aclanthology.org/W14-3348), section 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlg_metrics.metrics.meteor.aligner import EXACT, PARAPHRASE, STEM, SYNONYM, Span
from nlg_metrics.metrics.meteor.resources import PhraseTable
from nlg_metrics.metrics.meteor.stemmer import stem
from nlg_metrics.metrics.ngrams import distinct

Words = tuple[str, ...]
Candidates = list[list[Span]]
_Integers = NDArray[np.int64]
_Occurrence = tuple[int, int, int]  # start, length, node of the phrase table


def java_hash(text: str) -> int:
    """`String.hashCode`, unsigned: 31 * h + unit over the UTF-16 units of the text, modulo 2**32."""
    value = 0
    for character in text:
        code = ord(character)
        if code > 0xFFFF:  # a surrogate pair
            value = 31 * value + 0xD7C0 + (code >> 10)
            code = 0xDC00 | code & 0x3FF
        value = (31 * value + code) & 0xFFFFFFFF
    return value


class WordMatcher:
    """Words of a vocabulary that count as equal, or share a stem or a synonym set.

    Args:
        vocabulary: every word that will be asked for.
        synsets: the synonym sets of a word.
    """

    def __init__(self, vocabulary: Iterable[str], synsets: Callable[[str], frozenset[int]]) -> None:
        self._hash_of: dict[str, int] = {}
        self._stem_hash_of: dict[str, int] = {}
        self._synsets_of: dict[str, frozenset[int]] = {}
        self._by_hash: defaultdict[int, set[str]] = defaultdict(set)
        self._by_stem: defaultdict[int, set[str]] = defaultdict(set)
        self._by_synset: defaultdict[int, set[str]] = defaultdict(set)
        for word in vocabulary:
            self._hash_of[word] = java_hash(word)
            self._by_hash[self._hash_of[word]].add(word)
            self._stem_hash_of[word] = java_hash(stem(word))
            self._by_stem[self._stem_hash_of[word]].add(word)
            self._synsets_of[word] = synsets(word)
            for number in self._synsets_of[word]:
                self._by_synset[number].add(word)
        self._related: dict[str, list[tuple[int, set[str]]]] = {}

    def related(self, word: str) -> list[tuple[int, set[str]]]:
        """For each one-word module the words it matches with this one, those of an equal hash by the first alone.

        Modules without any are left out.
        """
        found = self._related.get(word)
        if found is None:
            equal = self._by_hash[self._hash_of[word]]
            stems = self._by_stem[self._stem_hash_of[word]] - equal
            synonyms = set().union(*(self._by_synset[number] for number in self._synsets_of[word])) - equal
            modules = ((EXACT, equal), (STEM, stems), (SYNONYM, synonyms))
            found = self._related[word] = [(module, others) for module, others in modules if others]
        return found


class PhraseMatcher:
    """Paraphrases between the hypothesis and the references of each segment of a block.

    Args:
        table: the paraphrase table.
        hypotheses: one for each segment.
        references: for each segment, its references.
    """

    def __init__(self, table: PhraseTable, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
        self._occurrences = _find_phrases(table, {*hypotheses, *(words for group in references for words in group)})
        # (segment, node) of every phrase of a hypothesis, and of a reference, each once.
        hyp = self._nodes([[words] for words in hypotheses], table.n_nodes)
        ref = self._nodes(references, table.n_nodes)
        self._matched = _match_phrases(table, hyp, ref, len(hypotheses))

    def _nodes(self, groups: Sequence[Sequence[Words]], n_nodes: int) -> _Integers:
        keys = [
            number * n_nodes + node
            for number, group in enumerate(groups)
            for words in set(group)
            for _, _, node in self._occurrences[words]
        ]
        return distinct(np.array(keys, np.int64))

    def segment(self, number: int, hypothesis: Words) -> dict[int, tuple[list[Any], list[Any]]]:
        """What the phrases of a segment's references may be aligned with.

        Returns:
            Node of a reference phrase -> (spans (start, length) of the hypothesis which the table lists as its
            paraphrases, in the table's order; spans (start, length, rank) it is listed for as a paraphrase).
        """
        matched = self._matched.get(number)
        if not matched:
            return {}
        spans: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for start, length, node in self._occurrences[hypothesis]:
            spans[node].append((start, length))
        found: dict[int, tuple[list[Any], list[Any]]] = {}
        for rank, backward, ref_node, hyp_node in matched:  # by rank
            forward_spans, backward_spans = found.setdefault(ref_node, ([], []))
            if backward:
                backward_spans += [(start, length, rank) for start, length in spans[hyp_node]]
            else:
                forward_spans += spans[hyp_node]
        return found

    def phrases(self, words: Words) -> list[_Occurrence]:
        """Phrases of the table in a sentence of the block, by start and length."""
        return self._occurrences[words]


class SegmentMatcher:
    """All candidate matches between one hypothesis and references of its segment.

    Args:
        words: finds words related by stem or synonym set.
        phrases: finds paraphrases.
        number: which segment of the block.
        hypothesis: its hypothesis.
    """

    def __init__(self, words: WordMatcher, phrases: PhraseMatcher, number: int, hypothesis: Words) -> None:
        self._phrases = phrases
        self._hypothesis = hypothesis
        self._paraphrases = phrases.segment(number, hypothesis)
        # The relations are symmetric: the hypothesis, shorter than its references together, is asked for them.
        self._pairs: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, word in enumerate(hypothesis):
            for module, others in words.related(word):
                for other in others:
                    self._pairs[other].append((module, index))
        self._related: dict[str, list[Span]] = {}

    def count(self, reference: Words) -> int:
        """How many candidates there are, found without listing them; an upper bound if the texts are identical."""
        total = sum(len(self._pairs.get(word, ())) for word in reference)
        for _, _, node in self._phrases.phrases(reference):
            total += sum(map(len, self._paraphrases.get(node, ())))
        return total

    def candidates(self, reference: Words) -> Candidates:
        """For each reference word, the matches that start there, in METEOR's order."""
        candidates: Candidates = []
        for word in reference:
            spans = self._related.get(word)
            if spans is None:
                found = sorted(self._pairs.get(word, ()))
                spans = self._related[word] = [Span(1, index, 1, module) for module, index in found]
            candidates.append(spans)
        if reference == self._hypothesis:  # then METEOR matches exactly and does not look further
            return [[span for span in spans if span.module == EXACT] for spans in candidates]
        if self._paraphrases:
            self._add_paraphrases(reference, candidates)
        return candidates

    def _add_paraphrases(self, reference: Words, candidates: Candidates) -> None:
        backward: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
        for start, length, node in self._phrases.phrases(reference):
            spans = self._paraphrases.get(node)
            if spans is None:
                continue
            if spans[0]:  # a list of its own: those of one-word matches are shared
                candidates[start] = candidates[start] + [Span(length, i, n, PARAPHRASE) for i, n in spans[0]]
            if spans[1]:
                backward[start] += [(i, n, rank, length) for i, n, rank in spans[1]]
        for start, found in backward.items():
            # The tool walks the hypothesis here: by position, length and order in the table.
            added = [Span(length, i, n, PARAPHRASE) for i, n, _, length in sorted(found)]
            candidates[start] = candidates[start] + added


def _find_phrases(table: PhraseTable, sentences: Iterable[Words]) -> dict[Words, list[_Occurrence]]:
    """All phrases of the table in each sentence, by start and length."""
    sentences = list(sentences)
    word_id = table.word_ids.get
    # One row of word ids; after each sentence an unknown word (-1), which no phrase contains.
    ids = np.array([word_id(w, -1) for words in sentences for w in (*words, "\n")] + [-1], np.int64)
    starts = np.flatnonzero(ids >= 0)
    nodes = ids[starts]
    found: list[tuple[_Integers, _Integers]] = []
    for length in range(1, table.longest + 1):
        listed = table.is_phrase[nodes]
        found.append((starts[listed], nodes[listed]))
        following = ids[np.minimum(starts + length, len(ids) - 1)]
        known = following >= 0
        starts, nodes = starts[known], table.extend(nodes[known], following[known], length)
        starts, nodes = starts[nodes >= 0], nodes[nodes >= 0]
    all_starts = np.concatenate([part for part, _ in found])
    all_nodes = np.concatenate([part for _, part in found])
    all_lengths = np.repeat(np.arange(1, len(found) + 1), [len(part) for part, _ in found])
    order = np.argsort(all_starts, kind="stable")  # already by length
    begins = np.cumsum([0, *(len(words) + 1 for words in sentences)])
    cuts = np.searchsorted(all_starts[order], begins)
    local = all_starts[order] - np.repeat(begins[:-1], np.diff(cuts))
    rows = list(zip(local.tolist(), all_lengths[order].tolist(), all_nodes[order].tolist(), strict=True))
    return {words: rows[cuts[n] : cuts[n + 1]] for n, words in enumerate(sentences)}


def _match_phrases(
    table: PhraseTable, hyp: _Integers, ref: _Integers, n_segments: int
) -> dict[int, list[tuple[int, bool, int, int]]]:
    """Listed pairs of a hypothesis phrase and a reference phrase of the same segment.

    Args:
        table: the paraphrase table.
        hyp: sorted segment * n_nodes + node of the hypotheses' phrases.
        ref: the same of the references' phrases.
        n_segments: how many segments.

    Returns:
        Segment -> (rank of the pair in the table, whether it is listed from hypothesis to reference, reference
        node, hypothesis node), by rank.
    """
    n_nodes = table.n_nodes
    hyp_nodes, ref_nodes = distinct(hyp % n_nodes), distinct(ref % n_nodes)
    # Pairs listed between any hypothesis phrase and any reference phrase of the block: few.
    forward = _listed(table, ref_nodes, hyp_nodes)
    backward = _listed(table, hyp_nodes, ref_nodes)
    pair_ref = np.concatenate([forward[0], backward[1]])
    pair_hyp = np.concatenate([forward[1], backward[0]])
    rank = np.concatenate([forward[2], backward[2]])
    is_backward = np.repeat([False, True], [len(forward[0]), len(backward[0])])
    order = np.argsort(pair_hyp, kind="stable")
    pair_ref, pair_hyp, rank, is_backward = (part[order] for part in (pair_ref, pair_hyp, rank, is_backward))
    # Join them with the hypotheses' phrases, and keep those whose other side is in a reference of the segment.
    first = np.searchsorted(pair_hyp, hyp % n_nodes)
    count = np.searchsorted(pair_hyp, hyp % n_nodes, side="right") - first
    pair = _ranges(first, count)
    segment = np.repeat(hyp // n_nodes, count)
    kept = np.isin(segment * n_nodes + pair_ref[pair], ref)
    pair, segment = pair[kept], segment[kept]
    order = np.lexsort((rank[pair], segment))
    pair, segment = pair[order], segment[order]
    rows = list(
        zip(
            rank[pair].tolist(),
            is_backward[pair].tolist(),
            pair_ref[pair].tolist(),
            pair_hyp[pair].tolist(),
            strict=True,
        )
    )
    cuts = np.searchsorted(segment, np.arange(n_segments + 1)).tolist()
    return {number: rows[cuts[number] : cuts[number + 1]] for number in range(n_segments)}


def _listed(table: PhraseTable, lefts: _Integers, rights: _Integers) -> tuple[_Integers, _Integers, _Integers]:
    """Pairs of the table from one of `lefts` to one of `rights`: both nodes and the rank in the table."""
    wanted = np.zeros(table.n_nodes, np.bool_)
    wanted[rights] = True
    first = table.starts[lefts].astype(np.int64)
    count = table.starts[lefts + 1] - first
    rank = _ranges(first, count)
    left = np.repeat(lefts, count)
    kept = wanted[table.alternatives[rank]]
    return left[kept], table.alternatives[rank[kept]].astype(np.int64), rank[kept]


def _ranges(first: _Integers, count: _Integers) -> _Integers:
    """first[0], first[0] + 1, … (count[0] numbers), then those of first[1], …"""
    before = np.cumsum(count) - count
    return np.arange(int(count.sum()), dtype=np.int64) + np.repeat(first - before, count)
