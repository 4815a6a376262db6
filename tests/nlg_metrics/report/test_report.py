"""The report without a browser: what is in the page, the numbers it carries, and refusals."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlg_metrics.commands import report
from nlg_metrics.commands import webnlg as webnlg_dart
from nlg_metrics.comparison import compare_results
from nlg_metrics.evaluation import Bootstrap, evaluate
from nlg_metrics.metrics.bleu import Bleu
from nlg_metrics.metrics.ter import Ter
from nlg_metrics.report.charts import charts, heat_map
from nlg_metrics.report.forest import forest
from nlg_metrics.report.outputs import split_contexts
from nlg_metrics.report.run_files import TrainingLog, read_log, read_run, smoothed
from nlg_metrics.report.settings import split_settings
from nlg_metrics.report.systems import carried, corpus_of, paired_tests, score_systems
from nlg_metrics.segments import Segments
from nlg_metrics.tokenizers.nltk_words import default_tokenizer

from .conftest import HOSTILE, write_lines, write_log


class Page(HTMLParser):
    """Tags, addresses, visible text and packed data of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.packs: dict[str, Any] = {}
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]
        self._inside = (dict(attrs).get("id") or "script") if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("data", "n-best"):
            self.packs[self._inside] = json.loads(zlib.decompress(base64.b64decode(data)))
        elif not self._inside:
            self.text += data


@pytest.fixture(scope="module")
def page(two_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("page") / "page.html"
    runs = [str(two_runs / name) for name in ("good", "poor")]
    flags = ["--data", str(two_runs / "data.jsonl"), "--resamples", "50"]
    assert report.main([*runs, *flags, "--out", str(out)]) == 0
    return Page(out)


def test_the_page_has_everything_and_loads_nothing(page: Page) -> None:
    assert all(address.startswith("#") for address in page.addresses)
    assert "link" not in page.tags
    # Loss, perplexity, rate, gradient norm, speed; a heat map and a line of hollow dots each.
    assert page.text.count("largest 4") == 2
    for wanted in (
        "2 runs side by side",
        "Hu et al.",
        "training carries label smoothing 0.1 and dropout 0.1",
        "3 min 06 s",
    ):
        assert wanted in page.text
    assert "best 1.113 at step 300, of 3" in page.text


def test_only_what_differs_is_in_the_table(page: Page) -> None:
    table = page.text.partition("Runs side by side")[2].partition("settings all runs share")[0]
    assert "lrsteps" in table  # headings follow each other
    assert "0.01" in table
    assert "lora_dim" not in table
    assert split_settings([{"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {}]) == (["b"], {"a": "1"})
    assert split_settings([{"a": "1"}, {"b": "1"}]) == (["a", "b"], {})


def test_text_of_a_run_stays_text(page: Page) -> None:
    assert HOSTILE.replace("\ud800", "?") in page.text
    assert not {"b", "img", "i"} & set(page.tags)


def test_the_data_are_whole(page: Page, two_runs: Path) -> None:
    data = page.packs["data"]
    assert len(data["ids"]) == 60
    outputs = [json.loads(line) for line in (two_runs / "poor" / "predictions.jsonl").read_text().splitlines()]
    shown = [row["hypothesis"].replace("\ud800", "?") for row in outputs]
    assert data["texts"][1] == shown
    assert data["slotErrors"][0][1] == [["food: Indian"], [], []]
    assert data["slotErrors"][1][4] == [["food: Indian"], ["area: riverside -> city centre"], []]
    assert page.packs["n-best"][0][9] == [["Pub 9 is a pub in the city centre .", -0.5], ["Second of 9", -1.5]]


def test_the_same_runs_give_the_same_page(two_runs: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        flags = ["--data", str(two_runs / "data.jsonl"), "--resamples", "20"]
        assert report.main([str(two_runs / "good"), *flags, "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_tests_of_pairs_are_those_of_compare(two_runs: Path) -> None:
    paths = {name: two_runs / name / "predictions.jsonl" for name in ("good", "poor")}
    plan = Bootstrap(resamples=200)
    scored = score_systems(two_runs / "data.jsonl", paths, bootstrap=plan)
    tests = paired_tests(scored, plan)["0-1"]
    first, second = (system.outcome.all_results for system in scored.systems)
    for key, verdict in compare_results(first, second, plan, trials=1).items():
        expected = verdict.test
        assert tests[key] == pytest.approx(
            [expected.difference, expected.bootstrap, expected.interval.low, expected.interval.high], rel=1e-12
        )


def test_what_a_segment_carries_is_the_score_without_it() -> None:
    texts = ["a b c d e f", "a b c d x f", "completely other words are here now", "a b c d"]
    references = [["a b c d e f"], ["a b c d e f", "a b x d e"], ["a b c d e f"], ["a b c d e"]]
    for metric in (Bleu(), Ter(default_tokenizer())):
        whole = evaluate(metric, texts, references, Bootstrap(0))
        for place in range(4):
            rest = [n for n in range(4) if n != place]
            without = metric.score([texts[n] for n in rest], [references[n] for n in rest])
            assert carried(whole)[place] == pytest.approx(whole.score.value - without.value, abs=1e-12)


def test_a_score_of_one_segment_is_carried_by_nothing_known() -> None:
    assert np.isnan(carried(evaluate(Ter(default_tokenizer()), ["a"], [["a b"]], Bootstrap(0)))).all()


def test_the_corpus_is_told_by_its_contexts() -> None:
    def of(context: str, seen: bool | None = None) -> Segments:
        return Segments(["1"], [""], [["a"]], [context], [seen], "contexts")

    assert corpus_of(of("name : The Eagle | food : French")) == "e2e"
    assert corpus_of(of("Ada : born : 1815 | Ada : field : sums")) == "dart"
    assert corpus_of(of("Ada : born : 1815", seen=True)) == "webnlg"
    assert corpus_of(of("vessel : ferry | departs : 18:45")) is None
    assert split_contexts(["a : b : c : d | e : f : g"]) == ([[["a", "b", "c : d"], ["e", "f", "g"]]], "triples")
    assert split_contexts(["a : b", "no colon"])[1] == "text"


def test_published_rows_stand_in_the_papers_units() -> None:
    entry = {"name": "BLEU", "value": 0.684, "interval": [0.67, 0.70], "signature": "s"}
    found = forest("e2e", [(0, "mine", {"scores": {"BLEU": entry}, "subsets": {}})])
    assert found.titles == ["BLEU"]
    shown = {(row.label, row.source): row.dots[0].shown for row in found.rows if row.dots[0]}
    assert shown[("mine", "")] == "68.40 [67.00, 70.00]"
    assert shown[("GPT-2 M, LoRA r=4", "Hu et al.")] == "70.4±.1"
    places = [dot.places for row in found.rows for dot in row.dots if dot]
    assert all(0 <= low <= value <= high <= 100 for low, value, high in places)


def test_subsets_have_columns_of_their_own(two_runs: Path, tmp_path: Path) -> None:
    rows = [{"id": n, "context": f"a : b : {n}", "references": [f"text number {n} ."], "seen": n < 5} for n in range(9)]
    write_lines(tmp_path / "data.jsonl", rows)
    write_lines(tmp_path / "predictions.jsonl", [{"id": n, "hypothesis": f"text number {n % 7} ."} for n in range(9)])
    files = ["--data", str(tmp_path / "data.jsonl"), "--predictions", str(tmp_path / "predictions.jsonl")]
    record = tmp_path / "scores.json"
    assert webnlg_dart.main([*files, "-m", "bleu,ter", "--scores", str(record), "--resamples", "20"]) == 0
    found = forest(None, [(0, "run", json.loads(record.read_text()))])
    assert found.titles == [
        f"{name}{part}" for part in ("", ", seen", ", unseen") for name in ("BLEU", "BLEU NLTK", "TER")
    ]
    assert report.main([str(tmp_path), *files[:2]]) == 0
    page = Page(tmp_path / "report.html")
    assert "BLEU, unseen" in page.text
    assert page.packs["data"]["seen"] == [True] * 5 + [False] * 4


def test_a_run_that_is_still_training_has_curves_alone(tmp_path: Path) -> None:
    write_log(tmp_path, steps=50)
    assert report.main([str(tmp_path)]) == 0
    page = Page(tmp_path / "report.html")
    assert page.tags.count("svg") == 3
    assert "Outputs" not in page.text
    assert page.packs == {}


def test_one_validation_is_a_number_and_not_a_plot(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", [{"kind": "valid", "step": 40, "loss": 0.5}])
    (chart,) = charts([("one", read_log(tmp_path / "metrics.jsonl"))])
    assert chart.svg == ""
    assert chart.facts == ["one, validation: 0.5 at step 40"]


def test_labels_lie_inside_their_drawing(tmp_path: Path) -> None:
    values = [1e-7, 3e9, -5.0, math.inf, 0.0]
    for number, scale in enumerate(values):
        lines = [
            {"kind": "train", "step": step * 10**number, "loss": scale * step, "new_name": scale} for step in (1, 2, 9)
        ]
        write_lines(tmp_path / "metrics.jsonl", lines)
        log = read_log(tmp_path / "metrics.jsonl")
        for chart in charts([("a", log), ("none", None)]):
            assert "nan" not in chart.svg
            for x, y, anchor, text in re.findall(
                r'<text x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)">([^<]*)', chart.svg
            ):
                assert 0 <= float(y) <= 240
                wide = 6.6 * len(text)  # digits of 12 units
                left = float(x) - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
                assert 0 <= left <= left + wide <= 400


def test_all_layers_share_one_heat_map(tmp_path: Path) -> None:
    write_log(tmp_path, steps=200, layers=24)
    found = heat_map(0, "run", read_log(tmp_path / "metrics.jsonl"))
    assert found is not None
    assert found.svg.count("<rect") == 24 * 2
    assert found.most == "25"
    assert "23 c_attn, step 200: 25" in found.svg
    assert heat_map(0, "run", TrainingLog()) is None


def test_long_curves_are_thinned_and_keep_their_end(tmp_path: Path) -> None:
    lines = [{"kind": "valid", "step": step, "ppl": float(step)} for step in range(1, 5001)]
    write_lines(tmp_path / "metrics.jsonl", lines)
    (chart,) = charts([("a", read_log(tmp_path / "metrics.jsonl"))])
    points = re.search(r'points="([^"]*)"', chart.svg)
    assert points
    assert len(points[1].split()) <= 402
    assert points[1].split()[-1].startswith("390.0,")


def test_the_adapter_tells_method_size_and_scale(tmp_path: Path) -> None:
    """An adapter as `lora-nlg train` leaves it: the report has to read what is really written."""
    torch = pytest.importorskip("torch")
    from lora_nlg.gpt2 import empty_gpt2, lora_targets, named_config
    from lora_nlg.lora import LoRASpec, inject
    from lora_nlg.methods import LoRA
    from lora_nlg.weights import AdapterInfo, save_adapter

    torch.manual_seed(0)
    model = empty_gpt2(named_config("gpt2.nano", n_layer=1, n_embd=16, n_head=2, vocab_size=50))
    model.reset_parameters()
    spec = LoRASpec(4, 32)
    inject(model, lora_targets(model.config, {"q": spec, "v": spec}))
    save_adapter(tmp_path, model, AdapterInfo(LoRA.of(model), None, step=300))
    write_log(tmp_path)
    assert read_run(tmp_path).parameters == sum(
        parameter.numel() for name, parameter in model.named_parameters() if "lora_" in name
    )
    assert report.main([str(tmp_path)]) == 0
    assert "LoRA on q, v: r 4, alpha 32, scale 8 · 300 steps" in Page(tmp_path / "report.html").text


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ["absent"], "no run directory .*absent"),
        ({}, ["."], "is no run and holds none"),
        ({"metrics.jsonl": "{}\n"}, ["."], 'metrics.jsonl, line 1: a log line needs "kind" and "step"'),
        ({"metrics.jsonl": "x\n{}\n"}, ["."], "metrics.jsonl, line 1: not JSON"),
        ({"scores.json": "{}"}, ["."], 'no "scores" in it'),
        ({"scores.json": '{"scores": {}}'}, ["."], "not a record of scores as a scorer's `scores` writes it"),
        ({"metrics.jsonl": "", "config.yaml": "a: ["}, ["."], "config.yaml is not YAML"),
        ({"metrics.jsonl": ""}, [".", "--predictions", "p"], "--predictions needs --data"),
        ({"metrics.jsonl": ""}, [".", "--data", "d", "--predictions", "p", "q"], "2 --predictions for 1 runs"),
        ({"metrics.jsonl": ""}, [".", "--resamples", "0"], "--resamples is 0"),
        ({"metrics.jsonl": ""}, [".", "."], "given twice"),
        ({"a/metrics.jsonl": ""}, [".", "--data", "d"], "--data goes with runs"),
    ],
)
def test_refusals_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    arguments: list[str],
    message: str,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_runs_of_one_name_are_told_apart() -> None:
    assert report.run_labels(["x/a", "x/b"]) == ["a", "b"]
    assert report.run_labels(["x/lora", "y/lora"]) == ["x/lora", "y/lora"]


def test_the_page_is_written_anew_when_a_run_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, steps=50)
    pages = []

    def sleep(_: float) -> None:
        pages.append((tmp_path / "report.html").read_text())
        if len(pages) == 2:
            write_log(tmp_path, steps=99)
        if len(pages) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(report.time, "sleep", sleep)
    assert report.main([str(tmp_path), "--refresh", "5"]) == 0
    assert 'data-refresh="5"' in pages[0]
    assert pages[0] == pages[1] != pages[2] == pages[3]
    assert "99 steps" in pages[2]
    assert "data-refresh" not in (tmp_path / "report.html").read_text().partition("<head>")[0]


def test_the_log_keeps_every_number_and_drops_half_a_line(tmp_path: Path) -> None:
    write_log(tmp_path, steps=200)
    log = read_log(tmp_path / "metrics.jsonl")
    assert log.series["train"]["loss"].steps == list(range(1, 201))
    assert math.isnan(log.series["train"]["loss"].values[6])
    assert log.series["valid"]["ppl"].steps == [100, 200]
    assert [text["step"] for text in log.texts] == [100, 200]
    assert log.last_step == 200
    assert TrainingLog().last_step == 0


def test_smoothing_is_a_centred_mean_that_skips_what_is_not_finite() -> None:
    assert smoothed([1.0, 2.0, 6.0, math.nan, 4.0], share=0.4) == [1.5, 3.0, 4.0, 5.0, 4.0]
    assert smoothed([3.0, 1.0]) == [3.0, 1.0]
    assert math.isnan(smoothed([math.inf])[0])


def log_line(step: object, loss: object) -> str:
    return json.dumps({"kind": "train", "step": step, "loss": loss}) + "\n"


def test_extreme_losses_are_drawn_or_left_out(tmp_path: Path) -> None:
    losses = [2.5, 1e308, -1e308, math.inf, math.nan, 10**400, -(10**400), 1e-308, 2.0]
    (tmp_path / "metrics.jsonl").write_text("".join(log_line(step, loss) for step, loss in enumerate(losses)))
    assert report.main([str(tmp_path)]) == 0
    (points,) = re.findall(r'<polyline points="([^"]*)"', (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(points.split()) == 3


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metrics.jsonl", log_line(10**400, 1.0) + log_line(1, 1.0)),
        ("metrics.jsonl", log_line(-1, 1.0)),
        ("metrics.jsonl", "[" * 100_000 + "\n" + log_line(1, 1.0)),
        ("metrics.jsonl", '{"kind": "train", "step": ' + "9" * 5000 + "}\n" + log_line(1, 1.0)),
        ("adapter.json", '{"targets": {"q": {"r": "4"}}}'),
        ("adapter.json", '{"targets": {"q": 4}}'),
        ("adapter.json", "[" * 100_000),
        ("scores.json", '{"scores": {}, "segments": [], "subsets": {}}'),
        ("scores.json", '{"scores": {}, "segments": {"references": 1}, "bootstrap": {}, "subsets": {}}'),
        ("scores.json", '{"scores": {"BLEU": {"value": 0.5}}, "segments": {"references": {}}, "bootstrap": {}}'),
    ],
)
def test_files_of_wrong_types_are_one_line(
    tmp_path: Path, file: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text(log_line(1, 2.0))
    (tmp_path / file).write_text(text)
    assert report.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and file in said
