"""The grid, the table's arithmetic, and `lora-nlg sweep` as a person runs it: continued, extended, refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.sweep import engine, expand_grid
from lora_nlg.sweep.plots import draw_ranks, write_figure
from lora_nlg.sweep.results import best_rates, cells, families, interval, table
from lora_nlg.weights import load_run


def sweep(study: Path, out: Path, *flags: str) -> int:
    return main(
        ["sweep", "--train_data", str(study / "train.jsonl"), "--valid_data", str(study / "valid.jsonl"),
         "--init_checkpoint", str(study / "base"), "--work_dir", str(out), "--max_step", "3", "--train_batch_size", "4",
         "--seq_len", "60", "--device", "cpu", "--lora_dim", "1,4", "--lora_alpha", "2r,8", "--lr", "1e-3,1e-2", *flags]
    )  # fmt: skip


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_sweep_from_the_command_line(study: Path, tmp_path: Path, capsys) -> None:
    """Six members in groups of four; run again it has nothing to do; a larger grid trains only what is new."""
    assert sweep(study, tmp_path, "--group", "4", "--save_adapters", "true") == 0
    printed = capsys.readouterr().out
    first = rows(tmp_path)
    assert len(first) == 6 and len({row["name"] for row in first}) == 6  # r = 4: 2r is 8, the same member
    assert "| α/r, α = 8 | 4 | 8 | 2 |" in printed and (tmp_path / "table.md").read_text() in printed
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG") and not list(tmp_path.glob("group-*"))
    assert sweep(study, tmp_path, "--lora_scaling", "alpha/r,none") == 0
    second = rows(tmp_path)
    assert second[: len(first)] == first and {row["rule"] for row in second[len(first) :]} == {"none"}
    best = min(first, key=lambda row: row["valid_loss"])
    info = load_run(tmp_path / "members" / best["name"]).info
    assert info.method.targets["q"].alpha == best["alpha"] and info.extra["valid_loss"] == best["valid_loss"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_step", "4"], "members trained with other settings (max_step: 3 there, 4 now); use another --work_dir"),
        (["--lr", "fast"], "--lr takes numbers separated by commas, got 'fast'"),
        (["--lr", "0"], "learning rates must be above 0"),
        (["--lora_alpha", "xr"], "'xr' is neither a number nor a multiple of the rank"),
        (["--lora_scaling", "half"], "unknown scaling rule 'half'"),
        (["--random_seed", ""], "--random_seed: the grid needs at least one value"),
        (["--lora_targets", "q:r=2"], "in a sweep the grid sets r and alpha"),
        (["--lora_targets", "wte"], "leave wte out"),
        (["--seq_len", "200"], "64 positions"),
        (["--valid_examples", "-1"], "--valid_examples must be at least 0 (all), got -1"),
        (["--group", "0"], "--group must be at least 1, got 0"),
        (["--device", "gpu"], "--device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_refusals(study: Path, tmp_path: Path, capsys, flags: list[str], message: str) -> None:
    if "--max_step" in flags:
        assert sweep(study, tmp_path, "--lora_dim", "1", "--lr", "1e-3") == 0
    assert sweep(study, tmp_path, *flags) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("lora-nlg sweep: error: ") and message in error


def test_a_sweep_of_which_every_member_diverges(study: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    true_losses = engine._member_losses
    monkeypatch.setattr(engine, "_member_losses", lambda *rest: true_losses(*rest) * math.nan)
    assert sweep(study, tmp_path, "--lora_dim", "1", "--lr", "1e-3") == 0
    assert all(row["diverged"] for row in rows(tmp_path)) and not (tmp_path / "scaling.png").exists()
    assert "no figure, since every member diverged" in capsys.readouterr().out


def test_grid() -> None:
    members = expand_grid([4, 8], ["16", "2r"], ["alpha/r", "none"], [0.1], [1, 2])
    pairs = {(m.r, m.alpha, m.rule) for m in members}
    assert pairs == {(4, 16, "alpha/r"), (4, 8, "alpha/r"), (8, 16, "alpha/r"), (4, 1, "none"), (8, 1, "none")}
    assert len(members) == 10 and len({m.name for m in members}) == 10 and members == sorted(members)
    assert members[0].name == "r4-alpha1-none-lr0.1-seed1" and members[0].to_json()["scaling"] == 1.0
    with pytest.raises(InputError, match="rank r must be at least 1"):
        expand_grid([0], ["1"], ["alpha/r"], [0.1], [1])


def result(r: int, alpha: float, lr: float, seed: int, loss: float | None, rule: str = "alpha/r") -> dict:
    row = {"r": r, "alpha": alpha, "rule": rule, "lr": lr, "seed": seed, "scaling": alpha / r, "diverged": loss is None}
    return row if loss is None else {**row, "valid_loss": loss, "relative_update": 0.1 * r}


def test_table_by_hand() -> None:
    """Seeds 1.0, 1.2, 1.4: mean 1.2, s = 0.2, 95% interval 4.303·0.2/√3 = 0.497. A rate that diverged never wins."""
    results = [result(4, 8, 0.1, seed, loss) for seed, loss in ((1, 1.0), (2, 1.2), (3, 1.4))]
    results += [result(4, 8, 1.0, 1, 0.5), result(4, 8, 1.0, 2, None)]
    (good, bad) = cells(results)
    assert good.mean == pytest.approx(1.2) and good.half_width == pytest.approx(4.303 * 0.2 / math.sqrt(3))
    assert bad.diverged == 1 and bad.mean == math.inf
    assert best_rates([good, bad]) == {4: good}
    assert "| α/r, α = 8 | 4 | 8 | 2 | 0.1 | 1.200 ± 0.497 | 3 | 0.400 | 1: inf |" in table(results)
    assert interval([1.0]) == math.inf


def test_families_tell_fixed_alpha_from_multiples() -> None:
    grid = [(1, 8.0), (4, 8.0), (1, 2.0), (4, 32.0), (1, 1.0)]
    results = [result(r, alpha, 0.1, 1, 1.0, "none" if alpha == 1 else "alpha/r") for r, alpha in grid]
    found = {label: [(cell.r, cell.alpha) for cell in group] for label, group in families(cells(results)).items()}
    assert found == {
        "α/r, α = 8": [(1, 8.0), (4, 8.0)],
        "α/r, α = 2r": [(1, 2.0), (4, 8.0)],
        "α/r, α = 8r": [(1, 8.0), (4, 32.0)],
        "no scaling": [(1, 1.0)],
    }


def test_one_learning_rate_is_drawn_over_rank_a_line_an_alpha(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    results = [
        {"r": r, "alpha": alpha, "rule": "alpha/r", "lr": 1e-3, "seed": seed, "diverged": False, "scaling": alpha / r,
         "valid_loss": loss + seed / 100, "train_loss": loss, "relative_update": 0.1}
        for r, alpha, loss in ((1, 16.0, 3.0), (4, 16.0, 2.5), (1, 32.0, 2.9), (4, 32.0, 2.2))
        for seed in (0, 1)
    ]  # fmt: skip
    figure, axis = pyplot.subplots()
    draw_ranks(axis, families(cells(results)))
    drawn = {
        text: [tuple(point) for point in bars.lines[0].get_xydata()]
        for bars, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    pyplot.close(figure)
    assert drawn["α/r, α = 16"] == [(1, pytest.approx(3.005)), (4, pytest.approx(2.505))]
    assert drawn["α/r, α = 32"] == [(1, pytest.approx(2.905)), (4, pytest.approx(2.205))]
    assert len(drawn) == 2 and axis.get_xlabel() == "rank" and "0.001" in axis.get_title()
    assert write_figure(tmp_path / "a.png", results) == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
