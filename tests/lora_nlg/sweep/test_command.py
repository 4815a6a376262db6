"""The grid, the table's arithmetic, and `lora-nlg sweep` as a person runs it: continued, extended, refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.sweep import engine, expand_grid, groups_of, parse_target_lists
from lora_nlg.sweep.plots import draw_ranks, write_figure
from lora_nlg.sweep.results import best_rates, cells, families, interval, table
from lora_nlg.weights import read_adapter
from nlg_metrics.commands.e2e import main as score
from nlg_metrics.commands.report import main as report

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"
SEARCH = ["--beam", "3", "--eval_len", "32", "--length_penalty", "0.6"]


def sweep(study: Path, out: Path, *flags: str) -> int:
    return main(
        ["sweep", "--train_data", str(study / "train.jsonl"), "--valid_data", str(study / "valid.jsonl"),
         "--init_checkpoint", str(study / "base"), "--work_dir", str(out), "--max_step", "3", "--train_batch_size", "4",
         "--seq_len", "60", "--device", "cpu", "--lora_dim", "1,4", "--lora_alpha", "2r,8", "--lr", "1e-3,1e-2", *flags]
    )  # fmt: skip


def rows(out: Path) -> list[dict]:
    return json.loads((out / "results.json").read_text())


def test_a_sweep_from_the_command_line(study: Path, tmp_path: Path, capsys) -> None:
    """Six members in groups of four; run again it has nothing to do; a larger grid trains only what is new."""
    assert sweep(study, tmp_path, "--group", "4") == 0
    printed = capsys.readouterr().out
    first = rows(tmp_path)
    assert len(first) == 6 and len({row["name"] for row in first}) == 6  # r = 4: 2r is 8, the same member
    assert "| α/r, α = 8 | 4 | 8 | 2 |" in printed and (tmp_path / "table.md").read_text() in printed
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG") and not (tmp_path / "groups").exists()
    assert (
        sweep(
            study, tmp_path, "--lora_targets", "q+v,v+o", "--lora_dropout", "0,0.1", "--lora_alpha", "8", "--lr", "1e-2"
        )
        == 0
    )
    second = rows(tmp_path)
    assert all(row in second for row in first) and len(second) == 6 + 6
    assert {(row["targets"], row["dropout"]) for row in second} == {
        (targets, dropout) for targets in ("q+v", "v+o") for dropout in (0.0, 0.1)
    }
    with open(tmp_path / "results.csv", newline="") as file:
        for line, row in zip(csv.DictReader(file), second, strict=True):
            assert line == {name: "" if value is None else str(value) for name, value in row.items()}
    assert "| v+o: dropout 0.1, α/r, α = 8 | 1 | 8 | 8 |" in capsys.readouterr().out


def test_a_member_is_a_run(study: Path, tmp_path: Path, capsys) -> None:
    """What `train` leaves from the member's own config.yaml is the same; decode, convert and the report take it."""
    flags = ["--lora_dim", "2", "--lora_alpha", "4", "--lr", "1e-2", "--lora_targets", "v+o", "--eval_interval", "2"]
    assert sweep(study, tmp_path / "sweep", *flags) == 0
    member = tmp_path / "sweep" / rows(tmp_path / "sweep")[0]["folder"]
    assert member.name == "v+o-r2-alpha4-alpha_r-lr0.01-seed1"
    alone = tmp_path / "alone"
    assert main(["train", "--config", str(member / "config.yaml"), "--work_dir", str(alone)]) == 0
    for name in (".", "best"):
        (ours, tensors), (theirs, expected) = read_adapter(member / name), read_adapter(alone / name)
        assert ours == theirs and tensors.keys() == expected.keys()
        assert all(torch.allclose(tensors[key], expected[key], rtol=0, atol=1e-5) for key in expected)
    here, there = ((folder / "config.yaml").read_text().splitlines() for folder in (member, alone))
    assert [line for line in here if line not in there] == [f"work_dir: {member}"]
    lines = [json.loads(line) for line in (member / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 1), ("train", 2), ("valid", 2), ("train", 3), ("valid", 3)
    ]  # fmt: skip
    assert main(["decode", "--checkpoint", str(member), "--data", str(study / "valid.jsonl"), *SEARCH]) == 0
    assert main(["convert", str(member), "--to", "peft", "--out", str(tmp_path / "peft")]) == 0
    assert report([str(member), "--data", str(study / "valid.jsonl")]) == 0 and (member / "report.html").is_file()


def test_bleu_is_that_of_decode_and_the_scorer(tmp_path: Path, capsys) -> None:
    """Asked for after the training, with four contexts: the same predictions file, and the score to the last digit."""
    grid = ["--lora_dim", "2", "--lora_alpha", "2r,128", "--lr", "1e-2", "--valid_examples", "4", "--seq_len", "128"]
    study = SAMPLE  # whose base has learnt to speak
    assert sweep(study, tmp_path, *grid) == 0
    trained = rows(tmp_path)
    flags = ["--generate", "true", "--generate_contexts", "4", *SEARCH]
    assert sweep(study, tmp_path, *grid, *flags) == 0
    data, others = tmp_path / "generation.jsonl", set()
    assert len(data.read_text().splitlines()) == 4
    for before, row in zip(trained, rows(tmp_path), strict=True):
        assert before == {**row, "bleu": None} and row["bleu"] > 0
        member, out = tmp_path / row["folder"], tmp_path / "out.jsonl"
        assert main(["decode", "--checkpoint", str(member), "--data", str(data), "--out", str(out), *SEARCH]) == 0
        assert out.read_bytes() == (member / "predictions.jsonl").read_bytes()
        ours, theirs = (json.loads(file.with_name(file.stem + ".config.json").read_text())
                        for file in (member / "predictions.jsonl", out))  # fmt: skip
        assert {**ours, "predictions": None} == {**theirs, "predictions": None}
        scores = tmp_path / "scores.json"
        assert score(["--data", str(data), "--predictions", str(out), "--scores", str(scores)]) == 0
        assert row["bleu"] == json.loads(scores.read_text())["scores"]["BLEU"]["value"]
        others.add(out.read_bytes())
        assert not list(member.glob("*.partial"))
    assert len(others) == 2, "members that say the same test nothing"
    assert "BLEU (95%)" in (tmp_path / "table.md").read_text()
    capsys.readouterr()
    assert sweep(study, tmp_path, *grid, *flags, "--beam", "2") == 1
    assert "(beam: 3 there, 2 now); use another --work_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_step", "4"], "members with other settings (max_step: 3 there, 4 now); use another --work_dir"),
        (["--lr", "fast"], "--lr takes numbers separated by commas, got 'fast'"),
        (["--lr", "0"], "learning rates must be above 0"),
        (["--lora_alpha", "xr"], "'xr' is neither a number nor a multiple of the rank"),
        (["--lora_scaling", "half"], "unknown scaling rule 'half'"),
        (["--random_seed", ""], "--random_seed: the grid needs at least one value"),
        (["--lora_targets", "q:r=2"], "in a sweep the grid sets r and alpha"),
        (["--lora_targets", "q+v,wte"], "leave wte out"),
        (["--lora_targets", "q,v"], "--lora_targets q,v: a sweep's commas separate members; write q+v to adapt these"),
        (["--lora_targets", "q+x"], "unknown LoRA target 'x'"),
        (["--generate_data", "x.jsonl"], "--generate_data is decoded only with --generate true"),
        (["--seq_len", "200"], "64 positions"),
        (["--seq_len", "-1"], "--seq_len must be at least 0, got -1"),
        (["--work_dir", __file__], "is a file; name a folder"),
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
    true_losses = engine.losses_together
    monkeypatch.setattr(engine, "losses_together", lambda *rest: true_losses(*rest) * math.nan)
    assert sweep(study, tmp_path, "--lora_dim", "1", "--lr", "1e-3") == 0
    assert all(row["diverged"] for row in rows(tmp_path)) and not (tmp_path / "scaling.png").exists()
    assert "no figure, since every member diverged" in capsys.readouterr().out


def test_without_a_length_the_models_positions_count(study: Path, tmp_path: Path) -> None:
    """As in `train`, so that scripts/recipes/table.yaml serves both."""
    for name, length in (("own", "0"), ("given", "64")):
        assert sweep(study, tmp_path / name, "--lora_dim", "1", "--lr", "1e-3", "--seq_len", length) == 0
    own, given = ([row["valid_loss"] for row in rows(tmp_path / name)] for name in ("own", "given"))
    assert own == given


def test_the_size_is_drawn_at_a_rate_that_learned(tmp_path: Path, recwarn) -> None:
    results = [result(1, 8.0, lr, 1, loss) for lr, loss in ((1e-3, 1.0), (1.0, None), (10.0, None))]
    assert write_figure(tmp_path / "a.png", results) == tmp_path / "a.png"
    assert not [str(warning.message) for warning in recwarn if "legend" in str(warning.message)]


def test_grid() -> None:
    members = expand_grid([4, 8], ["16", "2r"], ["alpha/r", "none"], [0.1], [1, 2])
    pairs = {(m.r, m.alpha, m.rule) for m in members}
    assert pairs == {(4, 16, "alpha/r"), (4, 8, "alpha/r"), (8, 16, "alpha/r"), (4, 1, "none"), (8, 1, "none")}
    assert len(members) == 10 and len({m.name for m in members}) == 10 and members == sorted(members)
    assert members[0].name == "q+v-r4-alpha1-none-lr0.1-seed1" and members[0].to_json()["scaling"] == 1.0
    near = expand_grid([1], ["1"], ["none"], [0.00012345678, 0.00012345679], [1])
    assert [m.name for m in near] == [f"q+v-r1-alpha1-none-lr0.0001234567{digit}-seed1" for digit in (8, 9)]
    with pytest.raises(InputError, match="rank r must be at least 1"):
        expand_grid([0], ["1"], ["alpha/r"], [0.1], [1])
    with pytest.raises(InputError, match="`lora_dropout`: the grid needs at least one value"):
        expand_grid([1], ["1"], ["alpha/r"], [0.1], [1], dropouts=[])


def test_targets_and_groups() -> None:
    """Lists in the model's order, each once; groups of one (targets, dropout) alone, the large ranks together."""
    assert parse_target_lists("v+q, q,q+v,o+k") == ["q+v", "q", "k+o"] and parse_target_lists("fc") == ["fc"]
    members = expand_grid([1, 64], ["1"], ["none"], [0.1], [1, 2], ["q+v", "q"], [0.0, 0.1])
    assert {member.name for member in members if member.targets == "q" and member.r == 1 and member.seed == 1} == {
        "q-r1-alpha1-none-lr0.1-seed1", "q-r1-alpha1-none-dropout0.1-lr0.1-seed1"
    }  # fmt: skip
    groups = groups_of(members, 3)
    assert sorted(member for group in groups for member in group) == members
    assert [[member.r for member in group] for group in groups] == [[1, 1, 64], [64]] * 4
    assert all(len({(member.targets, member.dropout) for member in group}) == 1 for group in groups)
    assert members[0].specs().keys() <= {"q", "v"} and members[0].specs()["q"].dropout == members[0].dropout


def result(r: int, alpha: float, lr: float, seed: int, loss: float | None, rule: str = "alpha/r") -> dict:
    row = {"targets": "q+v", "dropout": 0.0, "r": r, "alpha": alpha, "rule": rule, "lr": lr, "seed": seed}
    row |= {"scaling": alpha / r, "diverged": loss is None}
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
    scored = table([{**row, "bleu": bleu} for row, bleu in zip(results[:3], (0.1, 0.12, 0.14), strict=True)])
    assert "| 0.1 | 1.200 ± 0.497 | 12.0 ± 5.0 | 3 | 0.400 |  |" in scored


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
        result(r, alpha, 1e-3, seed, loss + seed / 100)
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
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "4"]
    assert write_figure(tmp_path / "a.png", results) == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
