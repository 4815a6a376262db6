"""The E2E suite against recorded scores of e2e-metrics, against cases worked by hand, and through its command line."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap
from nlg_metrics.metrics.bleu import Bleu, PerlBleu
from nlg_metrics.metrics.cider import Cider
from nlg_metrics.metrics.nist import Nist, PerlNist
from nlg_metrics.metrics.rouge import RougeL, positions, subsequence_length
from nlg_metrics.segments import Segments
from nlg_metrics.suites import e2e as e2e_suite
from nlg_metrics.suites import e2e_files
from nlg_metrics.suites.suite import SuiteResult, run
from nlg_metrics.tokenizers.mteval import MtevalTokenizer

SCRIPT = Path(__file__).resolve().parents[3] / "eval" / "e2e.py"
SYSTEMS = ["tgen", "slug", "chen", "sheff2", "tuda", "forge1"]
NO_INTERVAL = Bootstrap(resamples=0)


WITHOUT_METEOR = [name for name in e2e_suite.METRICS if name != "METEOR"]
SUITES = {perl: e2e_suite.make_suite(WITHOUT_METEOR, perl=perl) for perl in (False, True)}


def run_without_meteor(hypotheses: list[str], references: list[list[str]], perl: bool = False) -> SuiteResult:
    return run(SUITES[perl], Segments.of_lines(hypotheses, references), NO_INTERVAL)


def scores(hypotheses: list[str], references: list[list[str]]) -> dict[str, float]:
    outcome = run_without_meteor(hypotheses, references)
    return {name: result.score.value for name, result in outcome.results.items()}


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def official_e2e(shared_metrics: Path) -> tuple[Path, dict[str, dict[str, float]]]:
    """The folder of the six systems, and their scores recorded with `measure_scores.py -p`, full precision."""
    folder = shared_metrics / "official" / "e2e"
    return folder, json.loads((folder / "scores.json").read_text("utf-8"))["scores"]


def test_equals_recorded_official_scores(official_e2e: tuple[Path, dict[str, dict[str, float]]]) -> None:
    folder, recorded = official_e2e
    for system in SYSTEMS:
        outputs = folder / "hyps" / f"primary__{system}.txt"
        segments = e2e_files.load(folder / "refs.txt", outputs)
        found = scores(segments.hypotheses, segments.references)
        for name in ("BLEU", "NIST", "ROUGE_L", "CIDEr"):  # METEOR: meteor/test_metric.py
            assert found[name] == pytest.approx(recorded[f"primary__{system}"][name], abs=1e-9, rel=0), (system, name)


def test_command_line_prints_the_official_table(
    official_e2e: tuple[Path, dict[str, dict[str, float]]], tmp_path: Path
) -> None:
    folder, recorded = official_e2e
    expected, written = recorded["primary__tgen"], tmp_path / "scores.json"
    process = run_script(folder / "refs.txt", folder / "hyps" / "primary__tgen.txt", "-p", "--json", written)
    assert process.returncode == 0, process.stderr
    values = json.loads(written.read_text("utf-8"))
    lines = process.stdout.split("\n")
    assert lines[:2] == ["SCORES:", "=============="] and lines[7:] == ["", ""]
    for name, line in zip(expected, lines[2:7], strict=True):
        if name in values:
            assert values[name] == pytest.approx(expected[name], abs=1e-9, rel=0)
            assert line == f"{name}: {expected[name]:.4f}"
        else:
            assert line.startswith("METEOR: unavailable (") and "pip install" in line


def test_equals_recorded_edge_cases(shared_metrics: Path) -> None:
    # Recorded by scoring each case as a corpus of one segment with the same tools.
    cases = json.loads((shared_metrics / "official" / "edge_cases.json").read_text("utf-8"))
    for case in cases:
        outcome = run_without_meteor([case["hyp"].strip()], [case["refs"]])
        expected = case["e2e_single"]
        for name in ("BLEU", "NIST", "ROUGE_L", "CIDEr"):
            recorded = expected["pymteval"].get(name) if name in ("BLEU", "NIST") else expected[name]
            if isinstance(recorded, float):
                value = outcome.results[name].score.value
                assert value == pytest.approx(recorded, abs=1e-9, rel=0), (case["name"], name)
            elif name != "BLEU":  # the tools stop with an error; it is recorded for BLEU and NIST together
                assert name in outcome.unavailable, (case["name"], name)


def test_perl_mode_equals_recorded_mteval_scores(shared_metrics: Path) -> None:
    # Recorded with mteval-v13a-sig.pl as measure_scores.py runs it without -p, each case a corpus of one segment.
    cases = json.loads((shared_metrics / "official" / "edge_cases.json").read_text("utf-8"))
    for case in cases:
        outcome = run_without_meteor([case["hyp"].strip()], [case["refs"]], perl=True)
        for name, recorded in case["e2e_single"]["perl_mteval"].items():
            value = outcome.results[name].score.value
            assert value == pytest.approx(recorded, abs=1e-9, rel=0), (case["name"], name)
    # On a whole system: NIST 8.6094 where the Python scorer gives 8.5923; BLEU is the same.
    folder = shared_metrics / "official" / "e2e"
    segments = e2e_files.load(folder / "refs.txt", folder / "hyps" / "primary__tgen.txt")
    assert round(PerlNist().score(segments.hypotheses, segments.references).value, 4) == 8.6094
    assert round(PerlBleu().score(segments.hypotheses, segments.references).value, 4) == 0.6593


def test_perl_bleu_by_hand() -> None:
    # 2 of 3 words match, 1 of 2 bigrams, no trigram of 1: 1/(2*1); no 4-gram at all: not counted, but still a fourth.
    metric = PerlBleu()
    statistics = metric.statistics(["a b x"], [["a b c"]])
    assert statistics.tolist() == [[2, 1, 0, 0, 3, 2, 1, 0, 3]]
    assert metric.aggregate(statistics[0]) == pytest.approx((2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    assert metric.aggregate(metric.statistics([""], [["a"]])[0]) == 0.0


def test_without_its_resources_meteor_is_named_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "refs.txt").write_text("a b c d e f\n", "utf-8")
    (tmp_path / "out.txt").write_text("a b c d e f\n", "utf-8")
    files = tmp_path / "refs.txt", tmp_path / "out.txt"
    process = run_script(*files, "--meteor_data", tmp_path, "--json", tmp_path / "s.json")
    assert process.returncode == 0
    assert re.search(r"^METEOR: unavailable \(.*pip install pycocoevalcap==1\.2.*\)$", process.stdout, re.MULTILINE)
    assert set(json.loads((tmp_path / "s.json").read_text())) == {"BLEU", "NIST", "ROUGE_L", "CIDEr"}
    process = run_script(*files, "--meteor_data", tmp_path, "-t")
    assert process.stdout.rstrip("\n").split("\t")[3] == "n/a" and "pip install" in process.stderr


def test_mteval_tokens_equal_recorded_ones(shared_metrics: Path) -> None:
    cases = json.loads((shared_metrics / "official" / "edge_cases.json").read_text("utf-8"))
    tokenize = MtevalTokenizer(lowercase=False)
    for case in cases:
        assert tokenize(case["hyp"]) == case["pymteval_tokens_hyp"], case["name"]
        assert [tokenize(text) for text in case["refs"]] == case["pymteval_tokens_refs"], case["name"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", [""]),
        (" \t ", [""]),
        ("<skipped>", [""]),
        ("A 5-star pub, £20-25.", ["a", "5", "-", "star", "pub", ",", "£20", "-", "25", "."]),
        ("family-friendly it's 1,000.5 U.S.", ["family-friendly", "it's", "1,000.5", "u", ".", "s", "."]),
        ("&amp;quot; &quot;x&quot; &amp;lt;", ["&", "quot", ";", '"', "x", '"', "<"]),
        ("a\u00a0b_c", ["a", "b", "_", "c"]),
        ("com-\npound new\nline", ["compound", "new", "line"]),
        ("ÉCOLE “x”", ["école", "“x”"]),
    ],
)
def test_mteval_tokenizer_by_hand(text: str, tokens: list[str]) -> None:
    assert MtevalTokenizer()(text) == tokens


def test_bleu_by_hand() -> None:
    # hyp: the cat sat (3) against "the cat sat down" (4) and "a cat" (2): both lengths are 1 away, the shorter counts.
    metric = Bleu()
    statistics = metric.statistics(["the cat sat"], [["the cat sat down", "a cat"]])
    assert statistics.tolist() == [[3, 2, 1, 0, 3, 2, 1, 0, 2]]
    # 4-grams: 0 of 0 count as 1e-15 of 1e-9; the hypothesis is longer than the reference, so no penalty.
    assert metric.aggregate(statistics[0]) == pytest.approx((1e-15 / 1e-9) ** 0.25, rel=1e-12)


def test_bleu_clips_by_the_best_reference_and_lets_totals_sink_below_zero() -> None:
    statistics = Bleu().statistics(["the the the", "x"], [["the cat", "the the dog"], ["y z"]])
    assert statistics[0].tolist() == [2, 1, 0, 0, 3, 2, 1, 0, 3]
    assert statistics[1].tolist() == [0, 0, 0, 0, 1, 0, -1, -2, 2]


def test_nist_by_hand() -> None:
    # One segment "a b" twice as reference: 4 words, a and b 2 times each: log2(4/2) = 1 bit each; b after a: 0 bits.
    hypothesis, references = ["a b a b a"], [["a b", "a b"]]
    statistics = Nist().statistics(hypothesis, references)
    assert statistics[0].tolist() == [2, 0, 0, 0, 0, 5, 4, 3, 2, 1, 2]
    assert Nist().aggregate(statistics[0]) == pytest.approx(2 / 5)
    # Too short: 3 words against 4, and a total of zero for order 4: no score.
    assert math.isnan(Nist().aggregate(Nist().statistics(["a b c"], [["a b c d"]])[0]))


def test_nist_length_penalty_halves_at_two_thirds() -> None:
    # Doddington chose beta so that the penalty is 0.5 at a length ratio of 2/3.
    statistics = np.array([6.0, 0, 0, 0, 0, 6, 5, 4, 3, 2, 9])
    assert Nist().aggregate(statistics) == pytest.approx(0.5)


def test_nist_of_lone_segments_is_a_corpus_of_one() -> None:
    hypotheses = ["the cat sat on the mat", "a dog sat on a log today", "no", "x y z w v u"]
    references = [
        ["the cat sat on a mat", "a cat on the mat"],
        ["the dog sat on a log"],
        ["no way", "yes"],
        ["x y z w v u"],
    ]
    outcome = run_without_meteor(hypotheses, references)
    columns = e2e_suite.segment_columns(Segments.of_lines(hypotheses, references), outcome)
    for row, (hypothesis, group) in enumerate(zip(hypotheses, references, strict=True)):
        single = Nist().statistics([hypothesis], [group])
        assert columns["NIST"][row] == pytest.approx(float(Nist().segment_scores(single)[0]), abs=1e-12)
        assert columns["BLEU"][row] == pytest.approx(scores([hypothesis], [group])["BLEU"], abs=1e-15)
    assert columns["sentBLEU"][2] > columns["BLEU"][2]


def test_rouge_l_by_hand() -> None:
    # LCS of "a b c d" and "a x c" is 2: precision 2/4, recall 2/3; "d" gives precision 1/4, recall 1.
    score = RougeL().score(["a b c d"], [["a x c", "d"]]).value
    precision, recall = 0.5, 1.0
    assert score == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))
    assert RougeL().score([""], [[""]]).value == 1.0
    assert RougeL().score([""], [["a"]]).value == 0.0


def test_lcs_length_equals_the_quadratic_recurrence() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        a = generator.integers(0, 4, generator.integers(0, 12)).astype(str).tolist()
        b = generator.integers(0, 4, generator.integers(0, 12)).astype(str).tolist()
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, left in enumerate(a):
            for j, right in enumerate(b):
                table[i + 1, j + 1] = table[i, j] + 1 if left == right else max(table[i, j + 1], table[i + 1, j])
        assert subsequence_length(positions(a), len(a), b) == table[-1, -1]


def test_cider_by_hand() -> None:
    # Two segments; "a" occurs in both references (idf 0), the rest in one (idf ln 2). Segment 1 is copied exactly:
    # orders 1 and 2 have a cosine of 1, orders 3 and 4 no n-gram, so 10 * 2/4. Segment 2 shares only "a".
    statistics = Cider().statistics(["a b", "a x"], [["a b"], ["a c"]])
    assert statistics[:, 0] == pytest.approx([5.0, 0.0])
    # One bigram more than the reference: the penalty is exp(-1/72), the unigram cosine 1/sqrt(2).
    statistics = Cider().statistics(["b d", "q"], [["b"], ["c"]])
    assert statistics[0, 0] == pytest.approx(10 / 4 / math.sqrt(2) * math.exp(-1 / 72))


def test_cider_refuses_references_without_tokens() -> None:
    with pytest.raises(InputError, match="no reference has a token"):
        Cider().statistics(["a"], [["", " "]])


def test_identical_text_scores_one() -> None:
    texts = ["The Vaults is a pub near Café Adriatic.", "It serves cheap Indian food by the river."]
    values = scores(texts, [[text] for text in texts])
    assert values["BLEU"] == pytest.approx(1.0)
    assert values["ROUGE_L"] == 1.0
    assert values["CIDEr"] == pytest.approx(10.0)
    assert scores(texts[::-1], [[text] for text in texts])["BLEU"] < 0.1
