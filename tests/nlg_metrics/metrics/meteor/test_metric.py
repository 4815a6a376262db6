"""METEOR against the real tool's recorded statistics and scores, and small cases worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.tokenizers.ptb import PtbTokenizer

SYSTEMS = ("chen", "forge1", "sheff2", "slug", "tgen", "tuda")


@pytest.mark.parametrize("tool", ["e2e-metrics", "GenerationEval"])
def test_segments_equal_the_tool(shared_metrics: Path, real: Meteor, tool: str) -> None:
    """meteor_probes.jsonl: replies of METEOR 1.5 (the jar of pycocoevalcap 1.2), `-stdio -l en -norm`."""
    lines = (shared_metrics / "meteor_probes.jsonl").read_text(encoding="utf-8").splitlines()
    probes = [json.loads(line) for line in lines]
    meteor = Meteor(tool)  # type: ignore[arg-type]
    statistics = meteor.statistics([p["hyp"] for p in probes], [p["refs"] for p in probes])
    wrong = [p["id"] for p, row in zip(probes, statistics, strict=True) if row[:23].tolist() != p["stats"]]
    assert wrong == []
    np.testing.assert_allclose(meteor.segment_scores(statistics), [p["score"] for p in probes], rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def e2e_references(shared_metrics: Path) -> list[list[str]]:
    """The E2E test set's references as METEOR sees them, grouped by segment."""
    text = (shared_metrics / "official" / "e2e" / "refs.txt").read_text(encoding="utf-8")
    groups = [block.split("\n") for block in text.strip().split("\n\n")]
    flat = iter(PtbTokenizer().captions([line for group in groups for line in group]))
    return [[next(flat) for _ in group] for group in groups]


@pytest.mark.slow  # test_e2e_suite.py has one of the systems, through the command line
def test_e2e_systems_equal_the_official_scores(
    shared_metrics: Path, real: Meteor, e2e_references: list[list[str]]
) -> None:
    """official/e2e/scores.json: e2e-metrics' measure_scores.py -p, one run a system.

    All systems are scored in one call, segment by segment, so that the references are normalised once.
    """
    folder = shared_metrics / "official" / "e2e"
    outputs = []
    for system in SYSTEMS:
        text = (folder / "hyps" / f"primary__{system}.txt").read_text(encoding="utf-8")
        outputs.append(PtbTokenizer().captions(text.strip().split("\n")))
    hypotheses = [text for segment in zip(*outputs, strict=True) for text in segment]
    references = [group for group in e2e_references for _ in SYSTEMS]
    statistics = real.statistics(hypotheses, references)
    recorded = json.loads((folder / "scores.json").read_text())["scores"]
    for number, system in enumerate(SYSTEMS):
        value = float(real.aggregate(statistics[number :: len(SYSTEMS)].sum(axis=0)))
        assert value == pytest.approx(recorded[f"primary__{system}"]["METEOR"], rel=0, abs=1e-12), system
    signature = real.signature(e2e_references)
    assert "|tool:meteor-1.5+e2e-metrics|" in signature and "|refs:1-45|" in signature


def test_identical_text_scores_one(small: Meteor) -> None:
    assert small.score(["the red car"], [["the red car"]]).value == pytest.approx(1.0, abs=1e-15)


def test_worked_by_hand(small: Meteor) -> None:
    """Two of three words match in order but apart: P = R = 2/3, two chunks, no function words."""
    row = small.statistics(["red big car"], [["red old car"]])[0]
    assert row[:7].tolist() == [3, 3, 0, 0, 2, 2, 0]
    assert row[20:].tolist() == [2, 2, 2, 2]
    assert small.aggregate(row) == pytest.approx(2 / 3 * (1 - 0.6 * (2 / 2) ** 0.2), abs=1e-12)


def test_function_words_weigh_a_quarter_against_three(small: Meteor) -> None:
    """Of `the car` only the function word matches: 0.25 of 0.25 + 0.75, in one chunk of one word."""
    value = float(small.aggregate(small.statistics(["the car"], [["the boat"]])[0]))
    assert value == pytest.approx(0.25 * (1 - 0.6), abs=1e-12)


def test_modules_and_their_weights(small: Meteor) -> None:
    hypotheses = ["walking", "eatery", "food", "inexpensive", "went"]
    references = ["walks", "restaurant", "meals", "low priced", "move"]
    rows = small.statistics(hypotheses, [[text] for text in references])
    hyp_content = rows[:, [4, 8, 12, 16]].tolist()
    assert hyp_content[0] == [0, 1, 0, 0]
    assert hyp_content[1] == [0, 0, 1, 0]
    # Listed both ways, so two candidates compete; one word against one covers too little to pay for a chunk,
    assert hyp_content[2] == [0, 0, 0, 0]
    # one against two does.
    assert hyp_content[3] == [0, 0, 0, 1]
    assert hyp_content[4] == [0, 0, 1, 0]
    scores = small.segment_scores(rows)
    np.testing.assert_allclose(scores, [0.6, 0.8, 0, 0.6, 0.8], rtol=0, atol=1e-12)


def test_one_way_paraphrases_match_in_both_roles(small: Meteor) -> None:
    rows = small.statistics(["not far from", "situated near"], [["situated near"], ["not far from"]])
    assert rows[:, [16, 17]].tolist() == [[3, 2], [2, 3]]


def test_best_reference_is_the_first_of_the_highest(small: Meteor) -> None:
    rows = small.statistics(["red car"], [["blue boat ship", "old red car", "one red car", "red car", "red car"]])
    assert rows[0, 1] == 2
    assert small.statistics(["zebra"], [["blue boat ship", "", "red car"]])[0, 1] == 3  # all zero: the first


def test_empty_sides_score_zero(small: Meteor) -> None:
    rows = small.statistics(["", "red car", ""], [["red car"], [""], [""]])
    assert small.segment_scores(rows).tolist() == [0, 0, 0]
    assert small.aggregate(rows.sum(axis=0)) == 0


def test_whole_matches_add_no_chunk_to_the_corpus(small: Meteor) -> None:
    rows = small.statistics(["red car", "red big car"], [["red car"], ["red old car"]])
    assert rows[:, 20].tolist() == [1, 2]
    assert rows[:, 23].tolist() == [0, 2]
    totals = rows.sum(axis=0)
    assert small.aggregate(totals) == pytest.approx(4 / 5 * (1 - 0.6 * (2 / 4) ** 0.2), abs=1e-12)
    assert small.parts(totals)["precision"] == pytest.approx(4 / 5)


def test_bars_separate_references_and_leave_hypotheses_only_for_coco(
    small: Meteor, small_resources: Path, tmp_path: Path
) -> None:
    other = Meteor("GenerationEval", folder=small_resources, cache=tmp_path)
    assert small.statistics(["red ||| car"], [["boat ||| red car"]])[0, :2].tolist() == [2, 2]
    assert other.statistics(["red ||| car"], [["boat ||| red car"]])[0, :2].tolist() == [5, 6]
    assert other.signature() != small.signature()


def test_ends_are_trimmed_only_where_the_tool_sends_fields(
    small: Meteor, small_resources: Path, tmp_path: Path
) -> None:
    """A dot before a vertical tab is not the end of its word, unless the tab is trimmed first."""
    other = Meteor("GenerationEval", folder=small_resources, cache=tmp_path)
    assert small.statistics(["red car.\x0b"], [["red car ."]])[0, 0] == 3
    assert other.statistics(["red car.\x0b"], [["red car ."]])[0, 0] == 2


def test_aggregate_is_vectorised(small: Meteor) -> None:
    rows = small.statistics(["red car", "the big car", ""], [["red old car"], ["a car"], ["car"]])
    stacked = np.stack([rows, rows[::-1]])
    assert small.aggregate(stacked).shape == (2, 3)
    assert small.aggregate(stacked)[1, 0] == small.aggregate(rows[2])


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "no segment"),
        (["a"], [["a"], ["b"]], "1 hypotheses but references for 2"),
        (["a", "b"], [["a"], []], "segment 2 has no reference"),
    ],
)
def test_refuses_what_cannot_be_aligned(
    small: Meteor, hypotheses: list[str], references: list[list[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        small.statistics(hypotheses, references)


def test_unknown_tool() -> None:
    with pytest.raises(InputError, match="choose from e2e-metrics, GenerationEval"):
        Meteor("nltk")  # type: ignore[arg-type]
