"""Is this project right and fast on this machine's GPU? `scripts/check_gpu.sh` runs it, docs/gpu.md explains it.

    scripts/check_gpu.sh                       # everything, at most 8 minutes on one GPU
    scripts/check_gpu.sh --parts attention,steps
    scripts/check_gpu.sh --device cpu          # the same code without a GPU, reduced

Each part is a process of its own with its own time limit, so that one that crashes or hangs costs only itself; parts
come in order of what they are worth, and what doesn't fit is said. Nothing is downloaded. Rows are printed as they
come, and again at the end as one Markdown table; the exit status is 1 if a row failed. LORA_NLG_SHARED names the folder
with the recorded outputs (reference/golden), ../shared by default.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_check.rows import Row, table

PARTS = {
    "versions": 40,
    "attention": 60,
    "steps": 120,
    "training speed": 110,
    "decoding": 60,
    "decoding speed": 90,
    "peers": 110,
    "golden": 60,
    "repeat": 90,
    "sweep": 60,
    "ranks": 60,
}
"""Part -> seconds it may take, in order of what they are worth."""


def run_part(name: str, device: str, seconds: float, folder: Path) -> list[Row]:
    """The rows of a part, run in a process of its own; what it says besides goes to a log.

    Args:
        name: of `PARTS`.
        device: what it computes on.
        seconds: after which it is ended.
        folder: for its files.
    """
    python = [sys.executable, *(["-m", "pretend_cuda"] if "pretend_cuda" in sys.modules else [])]
    command = [*python, str(Path(__file__)), "--part", name, "--device", device, "--folder", str(folder)]
    rows: list[Row] = []
    start = time.perf_counter()
    with open(folder / f"{name.replace(' ', '_')}.log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        assert process.stdout is not None, "piped"
        for line in process.stdout:
            if row := Row.parse(line):
                rows.append(row)
                print(row, flush=True)
        status = process.wait()
        timer.cancel()
    took = time.perf_counter() - start
    if status:
        what = f"ended after {took:.0f} s" if took >= seconds else f"exit status {status}: {_last_line(log.name)}"
        rows.append(Row(name, "the part itself", what, f"{seconds:.0f} s", "FAIL"))
        print(rows[-1], flush=True)
    print(f"# {name}: {took:.0f} s", flush=True)
    return rows


def _last_line(log: str) -> str:
    lines = [line.strip() for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    said = [
        line for line in lines if "error: " in line.lower()
    ]  # the first cause stands before a traceback's last line
    return (said or lines or ["nothing said"])[0 if said else -1][:160]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, or with --part one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, comma-separated (default: all)")
    parser.add_argument("--limit", type=float, default=480, help="seconds for all together (default 480)")
    parser.add_argument("--patience", type=float, default=1, help="times all time limits, for a slow CPU (default 1)")
    parser.add_argument("--folder", default=None, help="keep logs and runs here (default: a temporary folder)")
    parser.add_argument("--part", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.part:
        from gpu_check import parts

        parts.run(arguments.part, arguments.device, Path(arguments.folder))
        return 0
    end = time.perf_counter() + arguments.limit * arguments.patience
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[Row] = []
        for name in arguments.parts.split(","):
            left = end - time.perf_counter()
            if left < 10:
                rows.append(Row(name, "the part itself", "no time left", "", "skipped"))
                continue
            rows += run_part(name, arguments.device, min(PARTS[name] * arguments.patience, left), folder)
    print("\n" + table(rows))
    return int(any(row.verdict == "FAIL" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
