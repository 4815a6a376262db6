"""The aligner against its definition, written out word by word and slowly, on random and repetitive candidates."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.metrics.meteor.aligner import EXACT, PARAPHRASE, STEM, SYNONYM, Match, Span, align


@dataclass(frozen=True)
class Path:
    hyp_covered: int = 0
    ref_covered: int = 0
    chunks: int = 0
    position: int = 0
    last_end: int = -1
    distance: int = 0
    used_hyp: frozenset[int] = frozenset()
    used_ref: frozenset[int] = frozenset()
    chosen: tuple[Match, ...] = ()

    @property
    def rank(self) -> tuple[int, int, int]:
        return -(self.hyp_covered + self.ref_covered), self.chunks, self.distance


def ref_words(match: Match) -> set[int]:
    return set(range(match.ref_start, match.ref_start + match.ref_length))


def hyp_words(match: Match) -> set[int]:
    return set(range(match.hyp_start, match.hyp_start + match.hyp_length))


def counted(path: Path, match: Match) -> Path:
    weight = 1.0 if match.module == EXACT else 0.5
    broken = path.last_end != -1 and match.hyp_start != path.last_end
    return replace(
        path,
        hyp_covered=int(path.hyp_covered + weight * match.hyp_length),
        ref_covered=int(path.ref_covered + weight * match.ref_length),
        chunks=path.chunks + broken,
        position=match.ref_start + match.ref_length,
        last_end=match.hyp_start + match.hyp_length,
    )


def aligned(candidates: list[list[Match]], n_hyp: int) -> list[Match]:
    return align([[Span(*match[1:]) for match in matches] for matches in candidates], n_hyp)


def align_by_definition(candidates: list[list[Match]], beam: int = 40) -> list[Match]:
    n_ref = len(candidates)
    everything = [match for matches in candidates for match in matches]

    def uncontested(match: Match) -> bool:
        others = [other for other in everything if other is not match]
        return not any(ref_words(match) & ref_words(o) or hyp_words(match) & hyp_words(o) for o in others)

    fixed = {match.ref_start: match for match in everything if uncontested(match)}
    queue = [
        Path(
            used_hyp=frozenset(i for match in fixed.values() for i in hyp_words(match)),
            used_ref=frozenset(j for match in fixed.values() for j in ref_words(match)),
        )
    ]
    for current in range(n_ref + 1):
        following: list[Path] = []
        for path in sorted(queue, key=lambda p: p.rank)[:beam]:
            if current == n_ref:
                following.append(replace(path, chunks=path.chunks + (path.last_end != -1)))
            elif current in path.used_ref and current < path.position:
                following.append(path)
            elif current in path.used_ref:
                match = fixed[current]
                taken = counted(path, match)
                following.append(
                    replace(
                        taken,
                        distance=path.distance + abs(match.ref_start - match.hyp_start),
                        chosen=(*path.chosen, match),
                    )
                )
            else:
                for match in candidates[current]:
                    if ref_words(match) & path.used_ref or hyp_words(match) & path.used_hyp:
                        continue
                    following.append(
                        replace(
                            counted(path, match),
                            used_ref=path.used_ref | ref_words(match),
                            used_hyp=path.used_hyp | hyp_words(match),
                            chosen=(*path.chosen, match),
                        )
                    )
                    path = replace(path, distance=path.distance + abs(match.ref_start - match.hyp_start))
                following.append(
                    replace(
                        path,
                        chunks=path.chunks + (path.last_end != -1),
                        last_end=-1,
                        position=path.position + 1,
                    )
                )
        queue = following
    return list(sorted(queue, key=lambda p: p.rank)[0].chosen)


def random_candidates(seed: int, n_hyp: int, n_ref: int, per_word: float, longest: int) -> list[list[Match]]:
    rng = random.Random(seed)
    candidates: list[list[Match]] = [[] for _ in range(n_ref)]
    for start in range(n_ref):
        for _ in range(int(per_word) + (rng.random() < per_word % 1)):
            ref_length = rng.randint(1, min(longest, n_ref - start))
            hyp_start = rng.randrange(n_hyp)
            hyp_length = rng.randint(1, min(longest, n_hyp - hyp_start))
            if ref_length == hyp_length == 1:
                module = rng.choice([EXACT, EXACT, STEM, SYNONYM])
            else:
                module = PARAPHRASE
            candidates[start].append(Match(start, ref_length, hyp_start, hyp_length, module))
    return candidates


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 14),
    st.integers(1, 14),
    st.floats(0, 2.5),
    st.integers(1, 3),
)
def test_equals_the_definition(seed: int, n_hyp: int, n_ref: int, per_word: float, longest: int) -> None:
    candidates = random_candidates(seed, n_hyp, n_ref, per_word, longest)
    assert aligned(candidates, n_hyp) == align_by_definition(candidates)


@pytest.mark.parametrize(("n_hyp", "n_ref"), [(60, 5), (8, 50), (42, 12)])
def test_equals_the_definition_on_one_word_repeated(n_hyp: int, n_ref: int) -> None:
    """More candidates than the beam is wide; some skipped so that paths differ."""
    rng = random.Random(n_hyp)
    candidates = [
        [Match(j, 1, i, 1, rng.choice([EXACT, EXACT, STEM])) for i in range(n_hyp) if rng.random() < 0.95]
        for j in range(n_ref)
    ]
    assert aligned(candidates, n_hyp) == align_by_definition(candidates)


def test_the_beam_changes_alignments() -> None:
    """Otherwise the comparisons above would not notice a beam of another width."""
    different = 0
    for seed in range(12):
        candidates = random_candidates(seed, 10, 10, 2.5, 2)
        different += align_by_definition(candidates, beam=40) != align_by_definition(candidates, beam=400)
    assert different > 0


def test_uncontested_matches_are_kept_and_contested_ones_must_pay_for_their_chunk() -> None:
    stems = [[Match(0, 1, 0, 1, STEM)]]
    assert aligned(stems, 1) == stems[0]
    assert aligned([[Match(0, 1, 0, 1, STEM), Match(0, 1, 0, 1, SYNONYM)]], 1) == []
    exact = Match(0, 1, 0, 1, EXACT), Match(2, 1, 2, 1, EXACT)
    between = [Match(1, 1, 1, 1, STEM), Match(1, 1, 1, 1, SYNONYM)]
    assert aligned([[exact[0]], between, [exact[1]]], 3) == [exact[0], between[0], exact[1]]


def test_no_candidates() -> None:
    assert align([], 3) == []
    assert align([[], []], 0) == []
