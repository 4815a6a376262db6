"""Where numbers go beside metrics.jsonl: wandb in offline mode, trackers of other packages, names that aren't known."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import lora_nlg
from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.run_folder import WANDB_ID
from lora_nlg.training import find_trackers

SAMPLE = Path(__file__).resolve().parents[3] / "data/sample"
FAKE = r'''
import json, os, signal

class Lines:
    """Appends what it is told to a file beside the run's own."""

    def __init__(self, folder, after, settings):
        self.file = open(folder / "lines.jsonl", "a")
        self.write("open", after, settings["lora_dim"])

    def write(self, *values):
        self.file.write(json.dumps(values) + "\n")

    def log(self, kind, step, values):
        self.write(kind, step, sorted(values))

    def text(self, kind, step, name, text):
        self.write(kind, step, name)

    def flush(self):
        self.file.flush()

    def close(self):
        self.write("close")
        self.file.close()

class Stop(Lines):
    """Presses the stop button of a notebook in the second step of a run that begins."""

    def __init__(self, folder, after, settings):
        super().__init__(folder, after, settings)
        self.begins = after == 0

    def log(self, kind, step, values):
        if self.begins and kind == "train" and step == 2:
            os.kill(os.getpid(), signal.SIGINT)
'''


def train(work_dir: Path, **more: Any) -> lora_nlg.TrainedRun:
    fields: dict[str, Any] = {
        "train_data": SAMPLE / "train.jsonl", "init_checkpoint": SAMPLE / "base", "seq_len": 64, "warmup_step": 0,
        "scheduler": "constant", "train_batch_size": 1, "max_step": 2, "log_interval": 1, "device": "cpu",
        "work_dir": work_dir, **more,
    }  # fmt: skip
    return lora_nlg.train(**fields)


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that brings a tracker and one that can't be imported, installed as pip would."""
    site = tmp_path / "site"
    (site / "fake_lines-1.0.dist-info").mkdir(parents=True)
    (site / "fake_lines.py").write_text(FAKE)
    (site / "fake_lines-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fake-lines\nVersion: 1.0\n")
    (site / "fake_lines-1.0.dist-info/entry_points.txt").write_text(
        "[lora_nlg.trackers]\nlines = fake_lines:Lines\nbroken = fake_lines:Nothing\nstop = fake_lines:Stop\n"
    )
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("other_package")
def test_a_tracker_of_another_package_is_told_what_the_run_notes(tmp_path: Path) -> None:
    train(tmp_path / "run", report_to="lines")
    told = [json.loads(line) for line in (tmp_path / "run/lines.jsonl").read_text().splitlines()]
    assert told[0] == ["open", 0, 4] and told[-1] == ["close"] and not (tmp_path / "run/tb").exists()
    assert ["train", 1, ["epoch", "grad_norm", "loss", "lr"]] in told and "speed" in [line[0] for line in told]
    train(tmp_path / "run", report_to=["lines", "tensorboard"], max_step=2)
    again = (tmp_path / "run/lines.jsonl").read_text().splitlines()[len(told) :]
    assert json.loads(again[0]) == ["open", 2, 4] and (tmp_path / "run/tb").is_dir()


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("wandbee", "`report_to` knows no tracker 'wandbee'; choose from tensorboard, wandb, "),
        ("tensorboard,none", "`report_to` knows no tracker 'none'"),
        ("broken", "`report_to` broken can't be loaded: "),
    ],
    ids=["unknown", "none-among-others", "broken"],
)
def test_a_tracker_that_is_not_there_is_said_first(asked: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tmp_path / "run", report_to=asked, init_checkpoint=tmp_path / "nowhere")
    assert said in str(caught.value)


def test_none_is_none() -> None:
    assert find_trackers("none") == find_trackers("") == []
    assert len(find_trackers("tensorboard, tensorboard")) == 1


def test_the_old_flag_leads_to_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--train_data", "x", "--work_dir", "x", "--tensorboard", "false"]) == 1
    assert "--tensorboard is --report_to tensorboard (or none) here" in capsys.readouterr().err


def test_without_the_package_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("lora_nlg.training.tracking.find_spec", lambda name: None if name == "wandb" else real(name))
    with pytest.raises(InputError, match=r"`report_to` wandb needs .*: pip install 'lora-nlg\[wandb\]'"):
        find_trackers("wandb")


@pytest.mark.usefixtures("other_package")
def test_wandb_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs wandb, an optional extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    stopped = train(folder, report_to="wandb,stop", max_step=5)
    assert stopped.outcome is not None and stopped.outcome.reason == "SIGINT" and stopped.outcome.step < 5
    name = (folder / WANDB_ID).read_text().strip()
    (first,) = (folder / "wandb").glob("offline-run-*")
    assert first.name.endswith(f"-{name}")
    finished = train(folder, report_to="wandb,stop", max_step=5)
    assert finished.outcome is not None and finished.outcome.step == 5
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(parts) == 2 and {part.name.rpartition("-")[2] for part in parts} == {name}
    for part in parts:
        noted = next(part.glob("*.wandb")).read_bytes()
        assert all(word in noted for word in (b"train/loss", b"speed/tokens_per_s", b"lora_alpha"))
    train(folder, report_to="none", resume="restart")
    assert not (folder / WANDB_ID).exists(), "a run that begins again is another run"
