"""Reading of bounded size and writing that replaces nothing but regular files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nlg_metrics import files
from nlg_metrics.errors import InputError


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "kept" / "scores.json", tmp_path / "scores.json"
    target.parent.mkdir()
    for before in (None, "old"):
        if before:
            target.write_text(before)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        files.write_json(link, {"BLEU": 1})
        assert link.is_symlink() and target.read_text() == '{\n  "BLEU": 1\n}\n'
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "scores.json", "scores.json"]


def test_a_pipe_is_written_into_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "a line\n")
    reader.join(timeout=30)
    assert got == ["a line\n"] and pipe.is_fifo()


@pytest.mark.parametrize("into", ["pipe", "file"])
def test_the_commands_own_output_is_written_into(tmp_path: Path, into: str) -> None:
    program = (
        "import sys; from nlg_metrics import files; print('before'); "
        "files.write_text(sys.argv[1], 'the text\\n'); print('after')"
    )
    out = tmp_path / "out"
    if into == "pipe":
        # Not /dev/stdout: a writer that replaces what it is given would replace that device.
        os.mkfifo(out)
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append(out.read_text()))
        reader.start()
        with open(out, "w") as stdout:
            subprocess.run([sys.executable, "-c", program, str(out)], stdout=stdout, check=True, timeout=60)
        reader.join(timeout=30)
        assert read == ["before\nthe text\nafter\n"] and out.is_fifo()
    else:
        with open(out, "w") as stdout:
            subprocess.run([sys.executable, "-c", program, str(out)], stdout=stdout, check=True, timeout=60)
        assert out.read_text() == "before\nthe text\nafter\n"


def test_a_folder_a_loop_and_a_missing_right_are_one_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path, loop, tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="can't be written"):
            files.write_text(path, "x")
        with pytest.raises(InputError, match=r"can't be read|is a folder"):
            files.read_text(path)


def test_half_a_character_is_written_as_its_replacement(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"text": "Zi \ud83c"})
    assert files.read_json(tmp_path / "x.json") == {"text": "Zi \ufffd"}


def test_a_device_and_a_file_without_end_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="/dev/zero is a device"):
        files.read_text("/dev/zero")
    monkeypatch.setattr(files, "MOST_BYTES", 100)
    (tmp_path / "large").write_text("x" * 101)
    with pytest.raises(InputError, match="large has more than"):
        files.read_text(tmp_path / "large")
    (tmp_path / "fits").write_text("x" * 100)
    assert files.read_text(tmp_path / "fits") == "x" * 100


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "thousands of digits"),
        ("{", "line 1"),
        ("", "line 1"),
    ],
)
def test_json_that_cannot_be_read_says_why(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=f"x.json is not JSON: .*{reason}"):
        files.read_json(tmp_path / "x.json")
    if text.startswith("["):
        reason = "is a JSON list, not JSON lines"
    if text:
        with pytest.raises(InputError, match=reason):
            list(files.read_jsonl(tmp_path / "x.json"))


def test_a_json_list_is_not_read_as_json_lines(tmp_path: Path) -> None:
    for text in ('[{"id": "1", "hypothesis": "x"}]', '[\n{"id": "1", "hypothesis": "x"}\n]\n'):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(InputError, match="write one object a line"):
            list(files.read_jsonl(tmp_path / "p.json"))
