"""Tables of a study, worked by hand: means and deviations over seeds, families of a scaling, the paper's columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from nlg_metrics.commands import study_table
from nlg_metrics.report import study_figure
from nlg_metrics.report.studies import best_rates, families, read_cells


def member(folder: Path, r: int, alpha: float, loss: float | None, bleu: float = 0.5, **more) -> dict:
    """A member's row; its scores lie in its folder."""
    setting = {"targets": "q+v", "rule": "alpha/r", "lr": 0.001, "seed": 1, **more}
    name = "-".join(str(value).replace("/", "_") for value in (r, alpha, *setting.values()))
    row = {"name": name, "folder": f"members/{name}", "r": r, "alpha": alpha, **setting}
    row |= {"scaling": alpha / r, "diverged": loss is None, "valid_loss": loss, "relative_update": 0.1 * r}
    if loss is not None:
        path = folder / row["folder"] / "scores.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"scores": {"BLEU": {"value": bleu}, "NIST": {"value": 8.0}}}))
    return row


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Ranks 1 and 4 at alpha = 8 and alpha = 2r, which at rank 4 are one; two seeds; a worse and a ruinous rate."""
    rows = [
        member(tmp_path, 1, 8.0, 1.0, 0.60),
        member(tmp_path, 1, 8.0, 1.2, 0.62, seed=2),
        member(tmp_path, 1, 2.0, 1.5, 0.55),
        member(tmp_path, 4, 8.0, 0.9, 0.64),
        member(tmp_path, 4, 8.0, 0.9, 0.66, seed=2),
        member(tmp_path, 4, 8.0, 0.8, 0.10, lr=0.1),
        member(tmp_path, 4, 8.0, None, lr=0.1, seed=2),
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    return tmp_path


def test_cells_and_families(study: Path) -> None:
    cells, _ = read_cells(study, "e2e")
    assert [(cell.r, cell.alpha, cell.lr, cell.seeds, cell.diverged) for cell in cells] == [
        (1, 2.0, 0.001, 1, 0),
        (1, 8.0, 0.001, 2, 0),
        (4, 8.0, 0.001, 2, 0),
        (4, 8.0, 0.1, 2, 1),
    ]
    best = best_rates(cells)  # a rate at which a seed diverged isn't one to choose, low as the other's loss is
    assert [(cell.r, cell.alpha, cell.lr) for cell in best] == [(1, 2.0, 0.001), (1, 8.0, 0.001), (4, 8.0, 0.001)]
    found = {name: [(cell.r, cell.alpha) for cell in group] for name, group in families(best).items()}
    assert found == {"α/r, α = 2r": [(1, 2.0), (4, 8.0)], "α/r, α = 8": [(1, 8.0), (4, 8.0)]}


def test_the_table_of_ranks(study: Path, capsys) -> None:
    assert study_table.main(["rank", "e2e", str(study)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith((study / "study.md").read_text())
    # (1.0 + 1.2)/2 and 0.2/√2; BLEU 60 and 62; beside them rank 1 of the paper's table 18.
    row = next(line for line in shown.splitlines() if line.startswith("| α/r, α = 8 | q+v | 1 |"))
    assert "| 8 | 0.001 | 2 | 1.1000 ± 0.1414 | 61.00 ± 1.41 | **8.00 ± 0.00** | 0.100 |" in row
    assert row.endswith("| 1.23 | 68.72 | 8.7215 | .4565 | .7052 | 2.4329 |")
    best = next(line for line in shown.splitlines() if line.startswith("| α/r, α = 8 | q+v | 4 |"))
    assert (
        "| **0.9000 ± 0.0000** | **65.00 ± 1.41** |" in best
        and "METEOR |" not in shown.splitlines()[2].split("GPT-2")[0]
    )
    assert "The 95% interval of a mean of 2 seeds is ± 8.98 deviations." in shown
    with open(study / "study.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and rows[1]["group"] == "α/r, α = 2r" and float(rows[1]["BLEU mean"]) == pytest.approx(65)
    assert rows[0]["BLEU sd"] == "" and rows[0]["BLEU n"] == "1"
    assert (study / "study.png").read_bytes().startswith(b"\x89PNG")


def test_rates_side_by_side(study: Path, capsys) -> None:
    assert study_table.main(["scale", "e2e", str(study)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| scale 2 | q+v | 4 ")]
    assert len(rows) == 2 and "| 0.1 | 1 of 2 | 0.8000 |" in rows[1]
    assert "**0.9000" in rows[0] and "**0.8000" not in rows[1]


def test_targets_stand_beside_table_5(tmp_path: Path, capsys) -> None:
    rows = [member(tmp_path, 2, 16.0, 1.0, targets="q+k+v+o"), member(tmp_path, 8, 64.0, 1.1, targets="k")]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert study_table.main(["targets", "e2e", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.startswith("| one budget")]
    assert found[0].startswith("| one budget | k | 8 |") and found[0].endswith("| 70.0 | 90.8 |")
    assert found[1].startswith("| one budget | q+k+v+o | 2 |") and found[1].endswith("| 73.7 | 91.7 |")


def test_members_without_scores_are_said(study: Path, capsys) -> None:
    next((study / "members").glob("4-8.0*/scores.json")).unlink()
    assert study_table.main(["rank", "e2e", str(study)]) == 0
    assert "Trained, but without scores yet: 1;" in capsys.readouterr().out


def test_records_of_ones_own_stand_beside_no_paper(study: Path, capsys) -> None:
    assert study_table.main(["rank", "table", str(study)]) == 0
    table = capsys.readouterr().out
    assert "| validation loss | BLEU | NIST |" in table and "| 64.00 |" not in table and "GPT-2 M" not in table
    assert "| α/r, α = 8 | q+v | 4 | 8 | 2 | 0.001 | 2 | **0.9000 ± 0.0000** | **65.00 ± 1.41** |" in table


@pytest.mark.parametrize(("text", "message"), [("[]", "holds no member yet"), ('[{"r": 1}]', "not a list of a sweep")])
def test_refusals(tmp_path: Path, capsys, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    assert study_table.main(["rank", "e2e", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("means", "lowest", "limits"),
    [
        ([1.51, 1.52, 1.53, 1.54, 4.3], True, (1.51 - 0.15 * 0.03, 1.54 + 0.15 * 0.03)),
        ([0.4, 61, 62, 63, 64], False, (61 - 0.15 * 3, 64 + 0.15 * 3)),
        ([1.1, 1.3, 1.5, 2.9, 3.0], True, None),  # a spread of their own
        ([1.5, 1.5, 9.0], True, None),  # too few to say
        ([39.49, 39.49, 39.49, 39.73, 41.19], False, None),  # the best stays
        ([1.2, 1.5, 1.5, 1.51, 1.51], True, None),
        ([2.9, 3.33, 3.33, 3.33, 3.4], False, None),  # alike, but for one that is a little behind
    ],
)
def test_a_panel_ends_where_the_settings_that_learned_do(means, lowest, limits) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    axis = pyplot.figure().subplots()
    axis.plot(range(len(means)), means)
    before = axis.get_ylim()
    study_figure._cut(axis, means, lowest)
    assert axis.get_ylim() == pytest.approx(limits or before)
    pyplot.close()
