"""The figures of runs that differ in parts, layers and names: one colour a run, true layers, no formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_nlg.analysis.plots import (
    amplification_figure,
    dial_figure,
    similarity_figure,
    size_figure,
    spectrum_figure,
    write_figures,
)


def entry(layer: int, part: str) -> dict[str, Any]:
    amplification = {"update": 1.0, "own": 0.1, "weight": 2.0, "random": 0.0, "factor": 432.1}
    shape = {"norm": 1.0, "relative": 0.1, "singular_values": [1.0, 0.5], "effective_rank": 1.5}
    return {"layer": layer, "part": part, **shape, "amplification": amplification}


def run(label: str, parts: str, layers: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    dial = [{"factor": factor, "loss": 1.0 + factor} for factor in (0.0, 1.0)]
    entries = [entry(layer, part) for layer in layers for part in parts.split("+")]
    return {"label": label, "parts": entries, "dial": dial}


def colours(figure: Any) -> dict[str, str]:
    (legend,) = figure.legends
    return {text.get_text(): line.get_color() for text, line in zip(legend.texts, legend.get_lines(), strict=True)}


def test_a_run_has_one_colour_in_every_panel() -> None:
    runs = [run("mlp", "fc"), run("all", "q+fc"), run("attention", "v")]
    figure = spectrum_figure(runs)
    told = colours(figure)
    assert list(told) == ["mlp", "all", "attention"] and len(set(told.values())) == 3
    drawn = {
        axis.get_title(): [line.get_color() for line in axis.lines if line.get_marker() == "."] for axis in figure.axes
    }
    assert list(drawn) == ["q", "v", "fc"]  # as in the model
    assert drawn == {"q": [told["all"]], "v": [told["attention"]], "fc": [told["mlp"], told["all"]]}
    assert list(colours(dial_figure(runs))) == list(told)


def test_layers_have_their_own_numbers() -> None:
    """Of a run that trained the last blocks alone."""
    figure = amplification_figure([run("top", "q", (22, 23))])
    assert all(list(line.get_xdata()) == [22, 23] for line in figure.axes[0].lines)
    assert figure.axes[0].get_title() == "top, q\nfactor 430 to 430"


@pytest.mark.parametrize("label", ["a$_{b$", "long-" * 30, "two words, ü"])
def test_any_name_can_be_drawn(label: str) -> None:
    """In the panel's or figure's width: no title is wider than what it stands above."""
    runs = [run(label, "q"), run("other", "q")]
    grid = {"part": "q", "matrix": "A", "phi": [[0.5]], "chance": 0.1}
    pair = {"runs": [label, "other"], "layer": 0, "grids": [grid]}
    for figure in (*(draw(runs) for draw in (dial_figure, size_figure, spectrum_figure, amplification_figure)),
                   similarity_figure(pair)):  # fmt: skip
        figure.canvas.draw()
        for text in (*(axis.title for axis in figure.axes), *([figure._suptitle] if figure._suptitle else [])):
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()


def test_figures_of_the_study_before_are_removed(tmp_path: Path) -> None:
    for name in ("dial", "similarity-1", "similarity-2", "mine"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    alone = {**run("alone", "q"), "dial": []}
    written = {path.name for path in write_figures(tmp_path, {"runs": [alone], "similarity": []})}
    assert written == {"size.png", "spectrum.png", "amplification.png"}
    assert {path.name for path in tmp_path.iterdir()} == {*written, "mine.png"}
