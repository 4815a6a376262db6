"""Recipes: the files, their overlays, the paper's table 11 in them, and the scripts that go by them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lora_nlg import recipes
from lora_nlg.__main__ import main
from lora_nlg.corpora.prepare import CORPORA
from lora_nlg.errors import InputError
from lora_nlg.recipes import as_flags, load_recipe, recipe_diff, recipe_names

ROOT = Path(__file__).resolve().parents[2]
# Hu et al. 2021, table 11, columns GPT-2; the last four are the authors' code's.
TABLE_11 = {
    "lora_dim": 4,
    "lora_alpha": 32,
    "lora_targets": "q,v",
    "optimizer": "adamw",
    "lr": 2e-4,
    "scheduler": "linear",
    "warmup_step": 500,
    "max_epoch": 5,
    "global_batch": 8,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-6,
    "seq_len": 512,
    "grad_clip": 0.0,
    "obj": "clm",
}
BY_CORPUS = {
    "e2e": {"weight_decay": 0.01, "lora_dropout": 0.1, "label_smooth": 0.1},
    "webnlg": {"weight_decay": 0.01, "lora_dropout": 0.1, "label_smooth": 0.1},
    "dart": {"weight_decay": 0.0, "lora_dropout": 0.0, "label_smooth": 0.0},
}


def environment(**values: str) -> dict[str, str]:
    """The tests' environment, this Python's commands first on the path, and what a script is told."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sources = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'eval'}"
    return {**os.environ, "PATH": path, "PYTHONPATH": sources, **values}


def script(name: str, *flags: str, **values: str) -> subprocess.CompletedProcess[str]:
    """A script's end, with environment variables."""
    return subprocess.run(
        ["bash", ROOT / "scripts" / name, *flags], capture_output=True, text=True, env=environment(**values)
    )


@pytest.mark.parametrize("corpus", BY_CORPUS)
def test_the_papers_row(corpus):
    """Compared both ways: no value differs, none is left out, none is more."""
    recipe = load_recipe(corpus, "paper")
    assert {"global_batch": recipe["global_batch"], **recipe["train"]} == TABLE_11 | BY_CORPUS[corpus]
    assert recipe["checkpoint"] == "best"
    decode = {"beam": 10, "no_repeat_ngram_size": 4, "length_penalty": 0.9 if corpus == "e2e" else 0.8}
    assert decode.items() <= recipe["decode"].items()


def test_every_recipe_is_of_a_corpus_that_can_be_prepared():
    assert set(recipe_names()) == {*BY_CORPUS, "table"} < set(CORPORA)


@pytest.mark.parametrize(
    ("variant", "model", "alpha", "rate", "checkpoint", "penalty"),
    [
        ("default", None, 128, 2e-4, "last", 0.9),
        ("default", "gpt2.lg", 128, 2e-4, "last", 0.9),
        ("default", "gpt2.nano", 128, 1e-3, "last", 0.9),
        ("paper", "gpt2.nano", 32, 2e-3, "best", 0.9),
        ("readme", "gpt2.md", 32, 2e-4, "last", 0.8),
        ("readme", "gpt2.nano", 32, 2e-3, "last", 0.8),
    ],
)
def test_overlays(variant, model, alpha, rate, checkpoint, penalty):
    recipe = load_recipe("e2e", variant, model)
    found = (
        recipe["train"]["lora_alpha"],
        recipe["train"]["lr"],
        recipe["checkpoint"],
        recipe["decode"]["length_penalty"],
    )
    assert found == (alpha, rate, checkpoint, penalty)


@pytest.mark.parametrize(
    ("corpus", "model", "recipe", "differences"),
    [
        ("webnlg", "gpt2.md", "paper", []),
        ("dart", "gpt2.md", "paper", []),
        ("e2e", "gpt2.lg", "readme", []),
        ("e2e", "gpt2.md", "default", ["lora_alpha  paper 32  here 128.0"]),
        ("e2e", "gpt2.nano", "default", ["lora_alpha  paper 32  here 128.0", "lr          paper 0.0002  here 0.001"]),
        ("e2e", "gpt2.nano", "paper", ["lr  paper 0.0002  here 0.002"]),
    ],
)
def test_the_training_script_against_the_paper(quick_commands, corpus, model, recipe, differences):
    path = f"{quick_commands}{os.pathsep}{environment()['PATH']}"
    done = script("train.sh", corpus, "--print_recipe_diff", corpus, RECIPE=recipe, MODEL=model, PATH=path)
    assert done.returncode == 0, done.stderr
    assert f"+ lora-nlg train --train_data data/{corpus}/train.jsonl" in done.stderr, "the command is shown"
    if differences:
        assert [line.strip() for line in done.stdout.splitlines()[1:]] == differences
    else:
        assert done.stdout.startswith(f"This run follows the paper's {corpus} row")


def test_differences_come_in_the_recipes_order():
    run = {**TABLE_11, **BY_CORPUS["dart"], "lr": 1e-3, "lora_alpha": 128}
    assert recipe_diff("dart", run) == [("lora_alpha", 32, 128), ("lr", 2e-4, 1e-3)]


def test_unknown_corpora_variants_and_silent_runs_are_refused():
    with pytest.raises(InputError, match=r"no recipe 'totto'.*choose from dart, e2e, table, webnlg"):
        recipe_diff("totto", {})
    with pytest.raises(InputError, match="no variant 'papers'; choose from default, paper, readme"):
        load_recipe("e2e", "papers")
    with pytest.raises(InputError, match="doesn't say global_batch, lora_dim"):
        recipe_diff("e2e", {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of recipes of its own, with E2E's in it."""
    place = tmp_path / "scripts" / "recipes"
    shutil.copytree(ROOT / "scripts" / "recipes", place, ignore=shutil.ignore_patterns("webnlg*", "dart*"))
    monkeypatch.chdir(tmp_path)
    return place


def test_a_new_corpus_is_a_new_file(folder, capsys):
    text = (folder / "e2e.yaml").read_text()
    (folder / "mine.yaml").write_text(text.replace("eval_interval: 5258", "eval_interval: 7"))
    assert main(["recipe", "mine", "run", "train.lr", "--model", "gpt2.nano"]) == 0
    assert capsys.readouterr().out == "--eval_interval 7 --random_seed 110 0.001\n"
    assert main(["recipe", "mine", "train.rate"]) == 1
    assert "the recipe has no train.rate" in capsys.readouterr().err
    assert main(["recipe", "mine"]) == 0
    assert "eval_interval: 7\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("scorer: eval/e2e.py", "", "must hold checkpoint, decode, eval"),
        ("global_batch: 8", "global_batch: 8\nrank: 4", "and nothing else"),
        ("      lora_alpha: 32", "      lora_alfa: 32", "an overlay sets lora_alfa, which the recipe"),
        ("    checkpoint: best", "    checkpoint: {best: 1}", "an overlay sets checkpoint"),
        ("train:", "train: [", "is not YAML"),
        ("\nmodels:", "\nmodels: 3\n_:", "must hold checkpoint"),
        ("\n  paper:", "\n  paper: [x]\n  rest:", r"paper must hold lines of `name: value`, not \['x'\]"),
    ],
)
def test_a_broken_recipe_is_named(folder, old, new, said):
    text = (folder / "e2e.yaml").read_text()
    assert old in text
    (folder / "e2e.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as error:
        load_recipe("e2e", "paper")
    assert "e2e.yaml" in str(error.value)


def test_the_package_alone_has_no_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "site-packages" / "lora_nlg" / "recipes.py"))
    with pytest.raises(InputError, match=r"no folder scripts/recipes here.*run this from a clone"):
        recipe_names()


def test_flags():
    assert as_flags({"tokenise": True, "beam": 10, "lora_targets": "q,v"}) == [
        *("--tokenise", "true", "--beam", "10", "--lora_targets", "q,v")
    ]


@pytest.mark.parametrize(
    ("sets", "valid"), [(["train"], False), (["train", "valid"], True)], ids=["train alone", "train and valid"]
)
@pytest.mark.parametrize("word", [True, False], ids=["word", "variable"])
def test_records_of_ones_own_are_trained_by_the_tables_recipe(tmp_path, sets, valid, word):
    """DATA alone names them, as a word or a variable; what is not there is not asked for."""
    stub = tmp_path / "lora-nlg"
    stub.write_text(f'#!/bin/sh\n[ "$1" = recipe ] && exec "{sys.executable}" -m lora_nlg "$@"\necho "$@"\n')
    stub.chmod(0o755)
    data = tmp_path / "my data"
    data.mkdir()
    for name in sets:
        (data / f"{name}.jsonl").touch()
    done = subprocess.run(
        ["bash", "scripts/train.sh", *([f"DATA={data}"] if word else []), "--max_epoch", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(PATH=f"{tmp_path}{os.pathsep}{environment()['PATH']}", **({} if word else {"DATA": str(data)})),
    )
    assert done.returncode == 0, done.stderr
    assert f"train --train_data {data}/train.jsonl" in done.stdout
    assert (f"--valid_data {data}/valid.jsonl" in done.stdout) == valid
    assert ("training without validation" in done.stderr) != valid
    assert "--warmup_step 0.05 --max_epoch 5 --seq_len 0 --eval_interval 0" in done.stdout
    assert "--work_dir runs/my data --max_epoch 1" in done.stdout


@pytest.mark.parametrize(
    ("name", "flags", "values", "said"),
    [
        (
            "train.sh",
            ["e2e"],
            {"NPROC": "3"},
            "a batch of 8 can't be shared equally by 3 ranks; set NPROC to a divisor",
        ),
        ("train.sh", ["dart"], {"NPROC": "4", "NODES": "4"}, "a batch of 8 can't be shared equally by 16 ranks"),
        ("train.sh", ["webnlg"], {"NPROC": "2", "NODES": "2"}, "RENDEZVOUS: set it to HOST:PORT"),
        ("run.sh", ["e2e", "--work_dir", "x"], {}, "name the run with RUN=..., not with --work_dir"),
        ("decode.sh", ["e2e"], {"RECIPE": "papers"}, "has no variant 'papers'; choose from default, paper, readme"),
        ("eval.sh", ["squad"], {}, "no recipe 'squad' in scripts/recipes; choose from dart, e2e, table, webnlg"),
        ("train.sh", ["--max_epoch", "1"], {"DATA": ""}, "usage: scripts/train.sh dart|e2e|table|webnlg [flags], or"),
        ("run_seeds.sh", [], {"DATA": ""}, "scripts/run_seeds.sh dart|e2e|table|webnlg N [flags for train], or"),
        ("run_seeds.sh", ["e2e"], {}, "give the number of seeds: scripts/run_seeds.sh e2e N [flags for train]"),
        ("run_seeds.sh", ["e2e", "1"], {}, "valid.jsonl, which chooses the best epoch (RECIPE=readme takes the last)"),
        ("run_seeds.sh", ["e2e", "1"], {"RECIPE": "readme"}, "test.jsonl, which is decoded and scored; make it with"),
        ("run_seeds.sh", ["e2e", "1", "--valid_data", "null"], {}, "the best epoch is chosen by validation; leave out"),
        ("run_seeds.sh", ["e2e", "1", "--valid_data="], {}, "the best epoch is chosen by validation; leave out"),
    ],
)
def test_scripts_say_what_is_wrong_before_anything_runs(tmp_path, name, flags, values, said):
    """A stand-in for lora-nlg on the path that only knows recipes: the scripts must stop before they call for more."""
    stub = tmp_path / "lora-nlg"
    stub.write_text(f'#!/bin/sh\n[ "$1" = recipe ] && exec "{sys.executable}" -m lora_nlg "$@"\nexit 99\n')
    stub.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{environment()['PATH']}"
    done = subprocess.run(
        ["bash", f"scripts/{name}", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(**{"PATH": path, "DATA": str(tmp_path), **values}),
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
