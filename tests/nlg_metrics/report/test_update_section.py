"""The page's section on updates: whose study counts, what is drawn where, hostile names, damaged files."""

from __future__ import annotations

import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nlg_metrics.commands import report
from nlg_metrics.report.analysis_file import read_analysis
from nlg_metrics.report.updates import update_section

from .conftest import HOSTILE, write_log


def part(layer: int, name: str, relative: float, factor: float | None = 20.0) -> dict[str, Any]:
    amplification = {"directions": 2, "update": 2.0, "own": 0.1, "weight": 5.0, "random": 0.01, "factor": factor}
    return {
        "layer": layer, "part": name, "norm": 3.0, "weight_norm": 3 / relative, "relative": relative,
        "singular_values": [2.0, 1.0], "effective_rank": 1.9, "used": 0.95, "rank": 2, "directions_90": 2,
        "amplification": amplification,
    }  # fmt: skip


def study(*folders: str) -> dict[str, Any]:
    """A study of runs in the folders named, seen from `analysis/` beside them; their dials are best at ½ and at 1."""
    runs = []
    for number, folder in enumerate(folders):
        losses = {0: 3.0, 0.5: 1.0 + number, 1: 2.0 - number, 2: None}
        dial = [{"factor": factor, "loss": loss, "bleu": 0.25} for factor, loss in losses.items()]
        parts = [part(0, "q", 0.5), part(0, "v", 0.25), part(1, "q", 0.1, None), part(1, "v", 0.0001)]
        runs.append({"label": f"<b>{folder}", "folder": f"../{folder}", "norm": 6.0, "parts": parts, "dial": dial})
    grid = {"layer": 1, "part": "q", "matrix": "A", "width": 8, "phi": [[0.5, 0.75], [0.5, 1.0]], "chance": 0.25}
    pairs = (
        [{"runs": [run["label"] for run in runs], "layer": 1, "grids": [grid], "diagonals": []}]
        if len(runs) > 1
        else []
    )
    return {"format": "lora-nlg analysis 1", "runs": runs, "similarity": pairs, "notes": []}


def write(path: Path, value: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs `a` and `b` and a study of both."""
    for name in ("a", "b"):
        write_log(tmp_path / name)
    write(tmp_path / "analysis" / "analysis.json", study("a", "b"))
    return tmp_path


def test_a_loss_that_went_wrong_is_cut_and_a_low_bleu_is_not(runs: Path) -> None:
    """Heights of the points: only those of a loss may be at the top together."""
    value = study("a", "b")
    for point, loss, bleu in zip(
        value["runs"][0]["dial"], (1.0, 2.0, 30.0, 300.0), (0.001, 0.2, 0.5, 0.1), strict=True
    ):
        point |= {"loss": loss, "bleu": bleu}
    write(runs / "analysis" / "analysis.json", value)
    section = update_section([("a", read_analysis(runs / "a"))])
    assert section is not None
    heights = {
        drawing.title.split()[0]: [float(y) for y in re.findall(r'<circle cx="[^"]*" cy="([^"]*)"', drawing.svg)]
        for drawing in section.dials
    }
    assert heights["Validation"][2] == heights["Validation"][3] < heights["Validation"][1]
    assert len(set(heights["BLEU"])) == 4 and min(heights["BLEU"]) == heights["BLEU"][2]


class Texts(HTMLParser):
    """Tags and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_section(runs: Path) -> None:
    out = runs / "page.html"
    assert report.main([str(runs / "a"), str(runs / "b"), "--out", str(out)]) == 0
    page = Texts(out.read_text(encoding="utf-8"))
    assert "b" not in page.tags  # names are text, not markup
    wanted = (
        *("What the updates are", "a: best 1 at 0.5; as trained 2", "b: best 1 at 1", "darkest 0.5", "b, v"),
        *("q, A, layer 1: i of <b>a, j of <b>b", "φ(1, 1) = 0.50; φ(2, 2) = 1.00, by chance 0.25"),
    )
    assert [text for text in wanted if text not in page.text] == []
    assert page.text.count("φ(1, 1)") == 1  # a comparison that both runs are in stands there once


def test_points_lie_where_they_should(runs: Path) -> None:
    """Factors 0 to 1 across the width, losses 1 to 3 over the height with a twentieth as margin; null is left out."""
    section = update_section([("a", read_analysis(runs / "a")), ("none", None)])
    assert section is not None
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', section.dials[0].svg)
    places = [(float(x), float(y)) for x, y in points]
    left, right, top, bottom = 52, 390, 10, 202
    margin = (bottom - top) * 0.1 / 2.2
    assert [x for x, _ in places] == pytest.approx([left, (left + right) / 2, right], abs=0.1)
    assert [y for _, y in places] == pytest.approx([top + margin, bottom - margin, (top + bottom) / 2], abs=0.1)
    assert len(section.dials) == 2 and section.dials[1].title == "BLEU over the factor of ΔW"
    shares = re.findall(r'fill-opacity="([\d.]+)"', section.sizes[0].svg)
    assert shares == ["1.00", "0.50", "0.20", "0.00"]
    q, v = section.table.rows  # of a, layers 0 and 1: √(3² + 3²), (0.5 + 0.1)/2; a factor that is infinite is left out
    assert [cell.shown for cell in q[:3]] == ["a, q", "4.24", "0.3"] and q[-1].shown == v[-1].shown == "20"


def test_the_newer_study_counts(runs: Path) -> None:
    own = study("a")
    own["runs"][0] |= {"folder": "..", "norm": 1.0}
    path = write(runs / "a" / "analysis" / "analysis.json", own)
    for age, norm in ((-100, 6.0), (100, 1.0)):
        time = (runs / "analysis" / "analysis.json").stat().st_mtime + age
        os.utime(path, (time, time))
        found = read_analysis(runs / "a")
        assert found is not None and found.run["norm"] == norm
    assert read_analysis(runs / "b") is not None
    write(runs / "analysis" / "analysis.json", study("a"))
    assert read_analysis(runs / "b") is None  # it speaks of another run


@pytest.mark.parametrize("damage", ["format", "runs", "folder", "amplification", "dial", "phi", "text"])
def test_damage_is_one_line(runs: Path, capsys, damage: str) -> None:
    value = copy.deepcopy(study("a", "b"))
    if damage == "format":
        value["format"] = "another"
    elif damage == "runs":
        value["runs"] = 3
    elif damage == "folder":
        del value["runs"][0]["folder"]
    elif damage == "amplification":
        del value["runs"][0]["parts"][1]["amplification"]["own"]
    elif damage == "dial":
        value["runs"][0]["dial"] = [{"factor": HOSTILE}]
    elif damage == "phi":
        value["similarity"][0]["grids"][0]["phi"] = []
    path = write(runs / "analysis" / "analysis.json", value)
    if damage == "text":
        path.write_text("{")
    assert report.main([str(runs / "a"), "--out", str(runs / "page.html")]) == 1
    error = capsys.readouterr().err
    assert "analysis.json" in error and len(error.splitlines()) == 1
