"""A lock names who holds it, holds once, and dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_nlg.errors import InputError
from lora_nlg.locking import locked

HOLD = """
import sys
from lora_nlg.locking import locked
with locked(sys.argv[1], "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_holds_once_names_its_process_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"`work_dir` x is being .* process \(process {process.pid} on .*since 2"):
            locked(path, "`work_dir` x").__enter__()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert path.exists(), "left by the killed process"
    with locked(path, "x"):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
        with pytest.raises(InputError, match=f"process {os.getpid()}"), locked(path, "x"):
            pass
        assert path.exists(), "who doesn't hold it doesn't remove it"
    assert not path.exists()
