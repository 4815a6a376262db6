"""The scripts follow the paper's table 11, and say where they don't."""

import os
import subprocess
from pathlib import Path

import pytest

from lora_nlg.errors import InputError
from lora_nlg.recipes import PAPER, recipe_diff

ROOT = Path(__file__).resolve().parents[2]
# Instead of training: the difference from the paper.
LAUNCH = 'launch() { python -m lora_nlg "$@" --print_recipe_diff "$CORPUS"; }'


@pytest.mark.parametrize(
    ("corpus", "model", "recipe", "differences"),
    [
        *((corpus, "gpt2.md", "paper", []) for corpus in PAPER),
        ("e2e", "gpt2.lg", "readme", []),
        ("e2e", "gpt2.md", "default", ["lora_alpha  paper 32.0  here 128.0"]),
        ("e2e", "gpt2.nano", "default", ["lora_alpha  paper 32.0  here 128.0", "lr          paper 0.0002  here 0.001"]),
        ("e2e", "gpt2.nano", "paper", ["lr  paper 0.0002  here 0.002"]),
    ],
)
def test_training_scripts_against_the_paper(tmp_path, corpus, model, recipe, differences):
    wrapper = tmp_path / "run.sh"
    script = (ROOT / "scripts" / f"train_{corpus}.sh").read_text()
    env_line = '. "$(dirname "$0")/env.sh"'
    assert env_line in script
    wrapper.write_text(script.replace(env_line, f'. "{ROOT}/scripts/env.sh"; {LAUNCH}'))
    environment = {
        **os.environ,
        "RECIPE": recipe,
        "MODEL": model,
        "CORPUS": corpus,
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(["bash", wrapper], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    if differences:
        assert [line.strip() for line in done.stdout.splitlines()[1:]] == differences
    else:
        assert done.stdout.startswith(f"This run follows the paper's {corpus} row")


def test_differences_come_in_the_papers_order():
    run = {**PAPER["dart"], "lr": 1e-3, "lora_alpha": 128}
    assert recipe_diff("dart", run) == [("lora_alpha", 32.0, 128), ("lr", 2e-4, 1e-3)]


def test_unknown_corpora_and_silent_runs_are_refused():
    with pytest.raises(InputError, match="no row for 'totto'"):
        recipe_diff("totto", {})
    with pytest.raises(InputError, match="doesn't say lora_dim"):
        recipe_diff("e2e", {})


@pytest.mark.parametrize(
    ("script", "flags", "environment", "said"),
    [
        ("train_e2e.sh", [], {"NPROC": "3"}, "a batch of 8 can't be shared equally by 3 ranks; set NPROC to a divisor"),
        ("train_dart.sh", [], {"NPROC": "4", "NODES": "4"}, "a batch of 8 can't be shared equally by 16 ranks"),
        ("train_webnlg.sh", [], {"NPROC": "2", "NODES": "2"}, "RENDEZVOUS: set it to HOST:PORT"),
        ("run_e2e.sh", ["--work_dir", "x"], {}, "name the run with RUN=..., not with --work_dir"),
        ("decode_e2e.sh", [], {"RECIPE": "papers"}, "RECIPE must be default, paper or readme, got papers"),
        ("run_seeds.sh", ["squad", "2"], {}, "scripts/run_seeds.sh e2e|webnlg|dart N"),
    ],
)
def test_scripts_say_what_is_wrong_before_anything_runs(tmp_path, script, flags, environment, said):
    """A stand-in for lora-nlg on the path: the scripts must stop before they call it."""
    stub = tmp_path / "lora-nlg"
    stub.write_text("#!/bin/sh\nexit 99\n")
    stub.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", ROOT / "scripts" / script, *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "DATA": str(tmp_path), **environment},
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
