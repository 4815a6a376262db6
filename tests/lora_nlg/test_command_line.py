"""Every command explains itself, and every mistake ends in one line and a non-zero exit status."""

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest

from lora_nlg.__main__ import COMMANDS, main
from lora_nlg.api import decoding, train_settings
from lora_nlg.api.fields import RENAMED
from lora_nlg.commands import decode


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line of help wraps
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: lora-nlg {command}" in shown
    undocumented = [line for line in shown.splitlines() if line.strip().startswith(("(type:", "(required, type:"))]
    assert not undocumented, "flags without a word of explanation"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_one_line(command, capsys):
    assert main([command, "--no_such_flag", "1"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"lora-nlg {command}: error:")
    assert f"lora-nlg {command} --help" in lines[0]


def test_a_wrong_command_is_one_line(capsys):
    assert main(["trian"]) == 2
    assert "no command 'trian'; did you mean train? (see: lora-nlg --help)\n" in capsys.readouterr().err
    assert main(["verbalise"]) == 2
    assert "no command 'verbalise'; choose from download-data, " in capsys.readouterr().err


TRAIN = ["train", "--train_data", "x", "--work_dir", "x", "--init_checkpoint", "x"]
DECODE = ["decode", "--checkpoint", "x", "--data", "x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TRAIN, "--lora_din=8"], "no flag --lora_din; did you mean --lora_dim?"),
        ([*TRAIN, "--nonsense", "-3"], "no flag --nonsense (see"),
        ([*TRAIN, "stray"], "'stray' is one word too many"),
        (
            [*TRAIN, "--clip", "1", "--adam_epislon", "1e-6"],
            "--clip is --grad_clip here; --adam_epislon is --adam_epsilon",
        ),
        ([*TRAIN, "--fp16"], "--fp16 is --dtype fp16 here"),
        ([*TRAIN, "--seed", "1"], "--seed is --random_seed here"),
        ([*TRAIN, "--learning_rate=1e-3"], "--learning_rate is --lr here"),
        ([*TRAIN, "--batch_size", "4"], "--batch_size is --train_batch_size here"),
        ([*TRAIN, "--target-modules", "q"], "--target-modules is --lora_targets here"),
        ([*TRAIN, "--work-dir", "x"], "--work-dir is --work_dir here"),
        ([*DECODE, "--num_beams", "5"], "--num_beams is --beam here"),
        ([*DECODE, "--seed", "1"], "--seed is --random_seed here"),
        (["generate", "a : b", "--checkpoint", "x", "--num_beams", "5"], "--num_beams is --beam here"),
        ([*TRAIN, "--num_beams", "5"], "no flag --num_beams"),
        ([*TRAIN, "--platform", "local"], "no flag --platform: leave it out"),
        ([*DECODE, "--local_rank=0"], "no flag --local_rank: leave it out"),
        ([*DECODE, "--output_file", "x"], "--output_file is --out here"),
        ([*DECODE, "--lora_dim", "4"], "no flag --lora_dim: it is read from the run; leave it out"),
        ([*DECODE, "--model_card", "gpt2.md"], "no flag --model_card: it is read from the run"),
        (
            ["convert", "x", "--out", "x", "--to", "pfet"],
            "--to must be one of adapter, loralib, peft, merged, hub-folder, got pfet; did",
        ),
        (
            ["prepare", "e2", "--out", "x"],
            "corpus must be one of e2e, webnlg, dart, table, sample, got e2; did you mean e2e?",
        ),
        ([*TRAIN, "--lr", "fast"], "--lr must be a number, got fast"),
        ([*TRAIN, "--lora_dim", "4.5"], "--lora_dim must be a whole number, got 4.5"),
        ([*TRAIN, "--max_step", "ten"], "--max_step must be a whole number, got ten"),
        ([*TRAIN, "--shuffle", "maybe"], "--shuffle must be true or false, got maybe"),
        ([*TRAIN, "--lora_dim", "9" * 30], "--lora_dim 999999999999999999999999… is out of range"),
        ([*TRAIN, "--lora_dim", "9" * 5000], "--lora_dim: "),
        ([*TRAIN, "--lr", "nan"], "--lr must be a number, got nan"),
        ([*TRAIN, "--lr", "[" * 100_000], "has 100,000 characters; a word may have 8,192"),
        ([*TRAIN, "--lr", "[" * 8000], "--lr must be a number, got [[["),
        ([*DECODE, "--threads", "1000000"], "--threads must lie in 1 … "),
        ([*TRAIN, "--config", "nowhere.yaml"], "--config: File does not exist"),
        (["decode", "--data", "x"], "the following arguments are required: --checkpoint (see"),
        (["prepare"], "the following arguments are required: corpus, --out (see"),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments, message, capsys):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line and "<class" not in line and "typing" not in line


def test_every_other_name_leads_to_a_flag():
    """An alias of a flag that no command has would never be shown, and one that is a flag itself never asked for."""
    classes = [
        value for module in (train_settings, decoding, decode) for value in vars(module).values() if is_dataclass(value)
    ]
    flags = {field.name for group in classes for field in fields(group)}
    targets = {target.partition(" ")[0] for targets in RENAMED.values() for target in targets}
    assert targets <= flags


def test_an_unknown_name_in_a_config_file_is_explained_too(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("lora_din: 3\n")
    assert main([*TRAIN, "--config", str(tmp_path / "c.yaml")]) == 1
    assert "in --config, no flag --lora_din; did you mean --lora_dim?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: " + "[" * 100_000, "nested more than 64 deep"),
        ("lr: &a [1]\nlora_dim: *a\n", "the anchor or alias 'a'"),
        (f"lr: '{'[' * 100_000}'", "a value of more than 8,192 characters"),
        ("lora_dim: " + "9" * 5000, "digits"),
        ('lr: "\\ud83c"', "is not YAML"),
    ],
)
def test_a_hostile_config_file_is_one_line(text, message, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    assert main([*TRAIN, "--config", str(tmp_path / "c.yaml")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line and len(line) < 800


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_lacks_a_character_shows_its_number(encoding, tmp_path):
    (tmp_path / "train.txt").write_text("name : A | Type : pub||A is a pub .\n")
    done = subprocess.run(
        [sys.executable, "-m", "lora_nlg", "prepare", "e2e", "--raw", tmp_path, "--out", tmp_path / "out"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"texts in train.txt \\u2192 1 records" in done.stdout


def test_as_a_process_without_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "lora_nlg", "inspect", "/nowhere/adapter.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/nowhere/adapter.safetensors" in done.stderr.splitlines()[-1]
