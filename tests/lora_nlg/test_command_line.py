"""Every command explains itself, and every mistake ends in one line and a non-zero exit status."""

import subprocess
import sys

import pytest

from lora_nlg.__main__ import COMMANDS, main


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
    assert "no command 'trian'; choose from" in capsys.readouterr().err


def test_as_a_process_without_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "lora_nlg", "inspect", "/nowhere/adapter.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/nowhere/adapter.safetensors" in done.stderr.splitlines()[-1]
