"""`lora-nlg analyze` as a person runs it, on runs of the built-in sample: files, numbers, the report page, refusals."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.analysis.tables import markdown
from lora_nlg.commands.analyze import run_labels
from lora_nlg.lora import lora_layers
from lora_nlg.weights import load_run
from nlg_metrics.commands import report

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"
FIGURES = ("dial", "size", "spectrum", "amplification", "similarity-1")
QUICK = [
    "--valid_examples",
    "6",
    "--contexts",
    "2",
    "--beam",
    "2",
    "--eval_len",
    "8",
    "--scales",
    "1,0,0.5",
    "--device",
    "cpu",
]


def train(folder: Path, *flags: str) -> None:
    done = main(
        ["train", "--train_data", str(SAMPLE / "train.jsonl"), "--valid_data", str(SAMPLE / "valid.jsonl"),
         "--valid_examples", "6", "--init_checkpoint", str(SAMPLE / "base"), "--work_dir", str(folder),
         "--max_step", "3", "--warmup_step", "1", "--train_batch_size", "2", "--eval_interval", "3", "--seq_len", "100",
         "--lr", "0.01", "--report_to", "none", "--device", "cpu", *flags]
    )  # fmt: skip
    assert done == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`r2`, `r4` and `full`, of three steps. `r2` and `r4` have been analysed together, into `analysis/`."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "r2", "--lora_dim", "2", "--lora_alpha", "8")
    train(folder / "r4", "--lora_dim", "4", "--lora_alpha", "8", "--random_seed", "2")
    train(folder / "full", "--lora_dim", "0", "--lr", "0.001")
    assert main(["analyze", str(folder / "r2"), str(folder / "r4"), *QUICK]) == 0
    return folder


@pytest.fixture(scope="module")
def study(runs: Path) -> dict:
    return json.loads((runs / "analysis" / "analysis.json").read_text())


def is_png(path: Path) -> bool:
    """Whether a picture with something on it can be read back."""
    image = pytest.importorskip("matplotlib.image").imread(path)
    return image.shape[0] > 100 and image.shape[1] > 100 and image[..., :3].std() > 0.01


def test_files(runs: Path, study: dict) -> None:
    folder = runs / "analysis"
    assert {path.name for path in folder.iterdir()} == {
        "analysis.json",
        "analysis.md",
        *(f"{name}.png" for name in FIGURES),
    }
    assert all(is_png(folder / f"{name}.png") for name in FIGURES)
    assert (folder / "analysis.md").read_text() == markdown(study)
    assert [(run["label"], run["folder"]) for run in study["runs"]] == [("r2", "../r2"), ("r4", "../r4")]
    assert study["notes"] == []


def test_numbers_are_the_runs_own(runs: Path, study: dict) -> None:
    """Norms as the layers give them; the loss at factor 1 as training measured it, at 0 one for both runs."""
    for entry in study["runs"]:
        model = load_run(runs / entry["label"]).model
        norms = [float(layer.update_norm()) for layer in lora_layers(model).values()]
        assert entry["norm"] == pytest.approx(math.sqrt(sum(norm**2 for norm in norms)), rel=1e-6)
        for layer, own in enumerate(lora_layers(model).values()):
            found = {part["part"]: part for part in entry["parts"] if part["layer"] == layer}
            q = own.delta_weight()[:256].detach()
            assert found["q"]["norm"] == pytest.approx(float(q.norm()), rel=1e-5)
            assert found["q"]["singular_values"] == pytest.approx(
                torch.linalg.svdvals(q)[: found["q"]["rank"]].tolist(), rel=1e-3
            )
        log = [json.loads(line) for line in (runs / entry["label"] / "metrics.jsonl").read_text().splitlines()]
        validated = [line["loss"] for line in log if line["kind"] == "valid" and "loss" in line]
        dial = {point["factor"]: point for point in entry["dial"]}
        assert list(dial) == [0, 0.5, 1] and all(0 <= point["bleu"] <= 1 for point in dial.values())
        assert dial[1]["loss"] == pytest.approx(validated[-1], rel=1e-5) and dial[1]["loss"] != dial[0]["loss"]
        assert entry["dial_about"] == {
            "data": str(SAMPLE / "valid.jsonl"), "examples": 6, "contexts": 2, "beam": 2,
        }  # fmt: skip
    first, second = (run["dial"][0] for run in study["runs"])
    assert first == second  # the base
    (pair,) = study["similarity"]
    assert pair["runs"] == ["r2", "r4"] and pair["layer"] == 2 and len(pair["diagonals"]) == 4 * 2 * 2
    assert {len(grid["phi"][0]) for grid in pair["grids"]} == {4} and {len(grid["phi"]) for grid in pair["grids"]} == {
        2
    }


def test_the_report_has_a_section_of_it(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert report.main([*(str(runs / name) for name in ("analysis", "r2", "r4")), "--out", str(out)]) == 0  # `runs/*`
    page = out.read_text(encoding="utf-8")
    assert '<section id="updates"' in page and "Validation loss over factor × ‖ΔW‖" in page and "by chance" in page
    assert report.main([str(runs / "full"), "--out", str(out)]) == 0  # the study beside it doesn't speak of this run
    assert '<section id="updates"' not in out.read_text(encoding="utf-8")


def test_a_run_trained_as_a_whole_beside_an_adapter(runs: Path, tmp_path: Path, capsys) -> None:
    """Its update is the difference to its base; the two are compared by ΔW itself. Without data there's no dial."""
    out = tmp_path / "out"
    moved = shutil.copytree(runs / "full", tmp_path / "full")  # config.yaml names data: taken away
    (moved / "config.yaml").unlink()
    flags = ["--out", str(out), "--scales", "0,1", "--contexts", "0", "--valid_examples", "2", "--layer", "0"]
    assert main(["analyze", str(moved), str(runs / "r2"), *flags]) == 0
    study = json.loads((out / "analysis.json").read_text())
    entry = study["runs"][0]
    assert entry["method"] == "full" and len(entry["parts"]) == 4 * 6 and entry["norm"] > 0 and entry["dial"] == []
    (pair,) = study["similarity"]
    assert {grid["matrix"] for grid in pair["grids"]} == {"V", "U"} and pair["layer"] == 0
    assert [set(point) for point in study["runs"][1]["dial"]] == [{"factor", "loss"}] * 2
    printed = capsys.readouterr().out
    assert "full: it names no validation data; give --valid_data" in printed  # a path is before it


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["r2", "r2"], "is given twice"),
        (["r2", "--scales", "0,x"], "--scales must be numbers like 0,0.5,1, got '0,x'"),
        (["r2", "--scales", "-1"], "--scales must be 0 (the base) or more, got -1"),
        (["r2", "--contexts", "-1"], "--contexts must be at least 0, got -1"),
        (["r2", "--out", "r2/config.yaml"], "is a file; name a folder"),
        (["r2", "nowhere"], "no run at nowhere"),
        (["r2", "analysis/.."], "analysis/.. is not a trained run"),
        (["full", "--init_checkpoint", "nowhere"], "say where it is with --init_checkpoint"),
        (["r2", "--layer", "9"], "--layer 9"),
    ],
)
def test_refusals(runs: Path, monkeypatch, capsys, flags: list[str], message: str) -> None:
    monkeypatch.chdir(runs)
    assert main(["analyze", *flags]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_what_a_glob_has_beside_runs(runs: Path, tmp_path: Path, capsys, caplog) -> None:
    """`analyze members/*` finds the study before there, and members that diverged."""
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "member.json").write_text("{}")
    flags = ["--scales", "", "--out", str(tmp_path / "study")]
    assert main(["analyze", *(str(runs / name) for name in ("analysis", "r2", "r4")), str(lost), *flags]) == 0
    assert f"{lost} diverged and has no adapter: passed over" in caplog.text
    found = json.loads((tmp_path / "study" / "analysis.json").read_text())
    assert [run["label"] for run in found["runs"]] == ["r2", "r4"]

    for command in (
        ["analyze", str(lost)],
        ["decode", "--checkpoint", str(lost), "--data", str(SAMPLE / "test.jsonl")],
    ):
        assert main(command) == 1
        assert f"{lost} is a member of a sweep that diverged: it has no adapter" in capsys.readouterr().err


def test_an_adapter_of_another_tool_is_named(runs: Path, tmp_path: Path, capsys) -> None:
    assert main(["convert", str(runs / "r2"), "--to", "peft", "--out", str(tmp_path / "peft")]) == 0
    assert main(["analyze", str(tmp_path / "peft")]) == 1
    assert "is an adapter of PEFT; make it one of ours: lora-nlg convert" in capsys.readouterr().err


def test_data_that_is_elsewhere_is_named(runs: Path, tmp_path: Path, capsys) -> None:
    moved = shutil.copytree(runs / "r2", tmp_path / "r2")
    (moved / "config.yaml").write_text("valid_data: gone/valid.jsonl\n")
    assert main(["analyze", str(moved)]) == 0
    assert "its validation data, gone/valid.jsonl, is not there; give --valid_data" in capsys.readouterr().out


def test_long_names_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    members = [f"q+v-r{r}-alpha{2 * r}-alpha_r-dropout0.1-lr0.001-seed{seed}" for r, seed in ((64, 1), (8, 1), (64, 2))]
    assert run_labels([tmp_path / name for name in members]) == [
        "r64-alpha128-seed1",
        "r8-alpha16-seed1",
        "r64-alpha128-seed2",
    ]
    assert run_labels([tmp_path / name for name in ("lora-r4", "lora-r8")]) == ["lora-r4", "lora-r8"]
    assert run_labels([tmp_path / members[0]]) == [members[0]]
    other = "a-run-of-another-kind-whose-name-is-long"
    assert run_labels([tmp_path / members[0], tmp_path / other]) == [members[0], other]
