"""The PTB tokenizer against recorded output of CoreNLP 3.4.1, its documented examples, and itself without memory."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlg_metrics.tokenizers import ptb
from nlg_metrics.tokenizers.ptb import PUNCTUATION, PtbTokenizer
from nlg_metrics.tokenizers.ptb_rules import RULES

NBSP = "\u00a0"
JAR = "tokenizer/stanford-corenlp-3.4.1.jar"

# Pieces that start rules, and characters between them.
PIECES = re.split(
    " ",
    "the The Inc. Corp. U.S. B. No. fig. p.m. Mr. can cannot gonna 'tis don't it's y'all O'Brien ma'am d'Ivoire 'til "
    "020 7946 0991 (020) 336700 1 1/2 3.5 1,000 12:30 £20 $ US$ 5-star u.s.-based and/or AT&T S&P-500 C++ x@y.com "
    "www.foo.com http://foo.com/x, google.com #tag @home file.txt <b> </b> <br/> &amp; &quot; caf&eacute; . .. ... , "
    "; : ? ! !? - -- ---- ' '' \" ` “ ” ‘ ’ … – — ( ) [ ] { } :-) ^_^ < > / * ** _ % ½ x² é 東京 ١٢ 😀 "
    "\u00ad \u0301 \u2011",
)
LINES = st.lists(
    st.lists(
        st.one_of(
            st.sampled_from([*PIECES, "\u00a0", "\u2009"]),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
            st.just(" "),
        ),
        max_size=8,
    ).map("".join),
    min_size=1,
    max_size=4,
)


def test_equals_recorded_probes(shared_metrics: Path) -> None:
    # ptb_probes.tsv was recorded with the jar of pycocoevalcap; `coco_isolated` is each line in a file of its own.
    rows = (shared_metrics / "ptb_probes.tsv").read_text("utf-8").split("\n")
    tokenizer = PtbTokenizer()
    heading = rows[0].split("\t")
    text, expected = heading.index("input"), heading.index("coco_isolated")
    cases = [row.split("\t") for row in rows[1:] if row]
    assert len(cases) > 700
    for case in cases:
        assert tokenizer.captions([case[text]]) == [case[expected]], case[text]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        ("  \t ", ""),
        ("Fitzbillies' food isn't good.", "fitzbillies food is n't good"),
        ("a children's restaurant, it’s", "a children 's restaurant it 's"),
        ("price range £20-25, €30 or US$20", "price range # 20-25 $ 30 or us$ 20"),
        ("high-priced, family-friendly 5-out-of-5.It's", "high-priced family-friendly 5-out-of-5 it 's"),
        ("20 – 25 hello--world wait…what ....", "20 25 hello world wait what"),
        ("1,000 12:30 5.5% 5/5 1 1/2", f"1,000 12:30 5.5 % 5/5 1{NBSP}1/2"),
        ("cheap.It is rated 5.The shop,family-friendly", "cheap.it is rated 5 the shop,family-friendly"),
        ("(Café Rouge) [x] {y}", "-lrb- café rouge -rrb- -lsb- x -rsb- -lcb- y -rcb-"),
        ("\"The Eagle\" is 'The Eagle'", "the eagle is the eagle"),
        ("AT&T rock&roll Marks & Spencer", "at&t rock & roll marks & spencer"),
        ("Mr. Smith vs. J. R. at 5 p.m. U.S. Vol. 3", "mr. smith vs. j. r. at 5 p.m. u.s. vol 3"),
        ("cannot gonna 'tis lemme", "can not gon na 't is lem me"),
        ("O'Brien's Côte d'Ivoire Sant'Angelo y'all", "o'brien 's côte d'ivoire sant angelo y' all"),
        ("wow!!! ?! Yahoo!", "wow !!! ?! yahoo"),
        ("<b>bold</b> &amp; &quot;x&quot; 😀 「y」", "<b> bold </b> & x y"),
        ("020 7946 0991 or (020) 336700", f"020{NBSP}7946{NBSP}0991 or -lrb-020-rrb-{NBSP}336700"),
        ("İstanbul Москва 東京", "i\u0307stanbul москва 東京"),
    ],
)
def test_documented_examples(text: str, tokens: str) -> None:
    # The final word must not be the file's last: rules that look ahead fail there.
    assert PtbTokenizer().captions([text, "x"])[0] == tokens


def test_the_next_line_decides_about_a_final_letter() -> None:
    captions = PtbTokenizer().captions
    assert captions(["plan B.", "The end", "plan B.", "the end", "plan B."])[::2] == ["plan b", "plan b.", "plan b."]
    assert captions(["see No.", "5 pubs", "see No.", "Five"])[::2] == ["see no.", "see no"]


def test_any_newline_inside_a_caption_counts_as_space() -> None:
    text = "one\r\ntwo\rthree\x0bfour\x0cfive\u2028six\u2029seven\neight"
    assert PtbTokenizer().captions([text, "next"]) == ["one two three four five six seven eight", "next"]


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_memory_changes_nothing(lines: list[str]) -> None:
    tokenizer = PtbTokenizer()
    remembered = tokenizer.file(lines)
    assert tokenizer.file(lines) == remembered
    whole = PtbTokenizer()
    whole._line = lambda line: None  # type: ignore[method-assign]  # scan every line, remember nothing
    assert whole.file(lines) == remembered


def test_equals_the_java_tokenizer_on_random_text() -> None:
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations or shutil.which("java") is None:
        pytest.skip("needs java and pycocoevalcap, which carries the tokenizer of CoreNLP 3.4.1")
    jar = Path(package.submodule_search_locations[0]) / JAR
    generator = random.Random(11)
    letters = "aeiodlnNtTsSB05.,;:!?-_'`’()<>/&@#$%*+=~^|£— "
    lines = []
    for _ in range(4000):
        parts = [
            generator.choice(PIECES) if generator.random() < 0.6 else "".join(generator.choices(letters, k=3))
            for _ in range(generator.randint(1, 8))
        ]
        lines.append("".join(part + " " * generator.randint(0, 1) for part in parts).strip())
    lines.append("end")
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    process = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"],
        input="\n".join(lines).encode(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    expected = [
        " ".join(token for token in raw.rstrip().split(" ") if token not in PUNCTUATION)
        for raw in process.stdout.decode("utf-8").rstrip("\n").split("\n")
    ]
    assert len(expected) == len(lines)
    captions = PtbTokenizer().captions(lines)
    different = [case for case in zip(lines, captions, expected, strict=True) if case[1] != case[2]]
    assert not different, different[:5]


@pytest.mark.parametrize("piece", ["word ", "a", "a,", "a.", "a-", "a'", "1 ", "1/", "<a ", "&", "@", "'", ". "])
def test_long_lines_come_through(piece: str) -> None:
    line = piece * 10_000
    tokens = PtbTokenizer().captions([line, "end"])
    assert tokens[1] == "end"


def test_remembering_where_rules_fail_changes_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    units = [
        "a",
        "1",
        ".",
        "-",
        "@",
        "&",
        "www.",
        ".com",
        ".txt",
        "<",
        "<!a",
        ">",
        " ",
        "'",
        ",",
        "\xad",
        "B",
        "é",
        "&lt;",
    ]
    for _ in range(150):
        chosen = draw.sample(units, 4)
        line = "".join(draw.choices(chosen, k=400))
        monkeypatch.setattr(ptb, "_LONG", 10**9)
        plain = PtbTokenizer().file([line, "x"])
        monkeypatch.setattr(ptb, "_LONG", 0)
        assert PtbTokenizer().file([line, "x"]) == plain


def test_a_rule_that_failed_on_a_run_is_not_tried_at_each_place_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    class Counted:
        """The pattern of the rule that reads the whole run before it fails."""

        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern = pattern

        def match(self, text: str, position: int) -> re.Match[str] | None:
            nonlocal tried
            tried += 1
            return self.pattern.match(text, position)

    (rule,) = [rule for rule in RULES if rule.name == "file name"]
    monkeypatch.setitem(rule.__dict__, "pattern", Counted(rule.pattern))
    PtbTokenizer().file(["a.1." * 3000, "x"])
    assert 0 < tried < 10
