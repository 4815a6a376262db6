"""The report page: what is in it, that nothing is loaded from elsewhere, and how a real browser shows it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nlg_metrics.commands import report
from nlg_metrics.commands import webnlg as webnlg_dart
from nlg_metrics.report.run_files import TrainingLog, read_log, smoothed

NASTY = "</script><b>Café</b> & \u2028 \U0001f600"


class Page(HTMLParser):
    """Tags, addresses and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def write_log(folder: Path, steps: int = 300) -> None:
    lines = []
    for step in range(1, steps + 1):
        loss = math.nan if step == 7 else 1 + 2 * math.exp(-step / 60)
        lines.append({"kind": "train", "step": step, "loss": loss, "lr": 1e-4, "grad_norm": 1.0, "epoch": 1})
        if step % 100 == 0:
            lines.append({"kind": "valid", "step": step, "loss": loss + 0.1, "ppl": math.exp(loss)})
            lines.append({"kind": "speed", "step": step, "tokens_per_s": 1000.0, "peak_memory_mib": 10})
            lines.append({"kind": "valid", "step": step, "name": "sample", "text": NASTY})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tr')


def write_real_adapter(folder: Path) -> None:
    """An adapter as `lora-nlg train` leaves it: the report has to read what is really written."""
    torch = pytest.importorskip("torch")
    from lora_nlg.gpt2 import empty_gpt2, lora_targets, named_config, targets_of
    from lora_nlg.lora import LoRASpec, inject
    from lora_nlg.weights import AdapterInfo, save_adapter

    torch.manual_seed(0)
    model = empty_gpt2(named_config("gpt2.nano", n_layer=1, n_embd=16, n_head=2, vocab_size=50))
    model.reset_parameters()
    spec = LoRASpec(4, 32)
    inject(model, lora_targets(model.config, {"q": spec, "v": spec}))
    save_adapter(folder, model, AdapterInfo(targets_of(model, model.config), None, step=300))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 300 steps with outputs for 50 contexts, scored by the real scorer."""
    folder = tmp_path_factory.mktemp("run")
    write_log(folder)
    (folder / "config.yaml").write_text("lora_dim: 4\nnote: '<i>'\n")
    write_real_adapter(folder)
    rows = [
        {"id": f"id-{n}", "context": f"name : {NASTY} {n}", "references": [f"A pub number {n} ."], "seen": n < 25}
        for n in range(50)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = [{"id": row["id"], "hypothesis": f"A pub number {n % 45} ."} for n, row in enumerate(rows)]
    outputs[49]["hypothesis"] = NASTY
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in outputs))
    note = {
        "predictions": {"sha256": hashlib.sha256((folder / "predictions.jsonl").read_bytes()).hexdigest()},
        "model": {"step": 26290},
        "search": {"beam": 10, "length_penalty": 0.8},
        "sampling": None,
    }
    (folder / "predictions.config.json").write_text(json.dumps(note))
    files = ["--data", str(folder / "data.jsonl"), "--predictions", str(folder / "predictions.jsonl")]
    scores = ["-m", "bleu,ter", "--scores", str(folder / "scores.json"), "--resamples", "50"]
    assert webnlg_dart.main([*files, *scores]) == 0
    assert report.main([str(folder), "--data", str(folder / "data.jsonl"), "--examples", "20"]) == 0
    return folder


def test_the_page_has_everything_and_loads_nothing(run_folder: Path) -> None:
    html = (run_folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    # Loss, perplexity, learning rate, gradient norm, speed; and BLEU, BLEU NLTK, TER by subset.
    assert page.tags.count("img") == 5 + 3
    assert page.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not re.search(r"@import|url\(|https?://", html)
    assert page.tags.count("script") == 1
    facts = ["300 steps", "best validation loss 1.11", "adapter step 300", "adapter on q, v: r 4, alpha 32, scaling 8"]
    for wanted in [*facts, "seen (25 segments)", "lora_dim: 4"]:
        assert wanted in page.text
    assert "decoded from step 26,290 · beam 10, length penalty 0.8" in page.text
    record = json.loads((run_folder / "scores.json").read_text())
    for entry in record["scores"].values():
        assert f"{entry['value']:.4f}" in page.text
        assert entry["signature"] in page.text


def test_text_of_the_run_stays_text(run_folder: Path) -> None:
    page = Page((run_folder / "report.html").read_text(encoding="utf-8"))
    assert NASTY in page.text
    assert "b" not in page.tags
    assert "i" not in page.tags


def test_outputs_are_spread_and_the_worst(run_folder: Path) -> None:
    page = Page((run_folder / "report.html").read_text(encoding="utf-8"))
    assert "20 of 50 outputs: 10 evenly spread over the data, 10 of the lowest chrF++." in page.text
    # The last is one of the evenly spread; 45 to 48 have the wrong number and are among the worst.
    for number in (0, 49, 45, 46, 47, 48):
        assert f"id-{number}" in page.text


def test_the_same_run_gives_the_same_page(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.html"
    assert (
        report.main([str(run_folder), "--data", str(run_folder / "data.jsonl"), "--examples", "20", "--out", str(out)])
        == 0
    )
    assert out.read_bytes() == (run_folder / "report.html").read_bytes()


def test_a_run_that_is_still_training_has_curves_alone(tmp_path: Path) -> None:
    write_log(tmp_path, steps=50)
    assert report.main([str(tmp_path)]) == 0
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 3
    assert "Scores" not in page.text
    assert "Outputs" not in page.text


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ["absent"], "no run directory .*absent"),
        ({}, ["."], r"neither metrics.jsonl nor scores\*.json"),
        ({"metrics.jsonl": "{}\n"}, ["."], 'metrics.jsonl, line 1: a log line needs "kind" and "step"'),
        ({"metrics.jsonl": "x\n{}\n"}, ["."], "metrics.jsonl, line 1: not JSON"),
        ({"scores.json": "{}"}, ["."], 'no "scores" in it'),
        ({"scores.json": '{"scores": {}}'}, ["."], "not a record of scores as --scores writes it"),
        ({"metrics.jsonl": ""}, [".", "--predictions", "p"], "--predictions needs --data"),
        ({"metrics.jsonl": ""}, [".", "--examples", "-1"], "--examples is -1"),
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
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


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


BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PROBE = """<script>
  const box = document.getElementById("filter");
  box.value = "ID-4"; box.dispatchEvent(new Event("input"));
  const loaded = [...document.images].filter(image => image.complete && image.naturalWidth > 0).length;
  const hidden = document.querySelectorAll("#outputs tbody tr[hidden]").length;
  const wide = document.documentElement.scrollWidth > window.innerWidth;
  document.body.dataset.probe = [loaded, hidden, document.getElementById("shown").textContent, wide].join("|");
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")
def test_a_browser_draws_every_figure_and_the_filter_works(run_folder: Path, tmp_path: Path) -> None:
    html = (run_folder / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(
        html.replace("</body>", PROBE.replace("<script>", '<script type="module">') + "</body>")
    )
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1200,900",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    probe = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert probe, done.stderr[-2000:]
    loaded, hidden, shown, wide = probe.group(1).split("|")
    assert loaded == "8"
    visible = 20 - int(hidden)
    assert 0 < visible < 20
    assert shown == f"{visible} of 20"
    assert wide == "false"


def log_line(step: object, loss: object) -> str:
    return json.dumps({"kind": "train", "step": step, "loss": loss}) + "\n"


def test_extreme_losses_are_drawn_or_left_out(tmp_path: Path) -> None:
    losses = [2.5, 1e308, -1e308, math.inf, math.nan, 10**400, -(10**400), 1e-308, 2.0]
    (tmp_path / "metrics.jsonl").write_text("".join(log_line(step, loss) for step, loss in enumerate(losses)))
    assert report.main([str(tmp_path)]) == 0
    assert "data:image/svg+xml" in (tmp_path / "report.html").read_text(encoding="utf-8")


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
