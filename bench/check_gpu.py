"""Is this project right and fast on this machine's GPU? `scripts/check_gpu.sh` runs it, docs/gpu.md explains it.

    scripts/check_gpu.sh                       # everything, at most 7 minutes on one GPU
    scripts/check_gpu.sh --parts attention,steps
    scripts/check_gpu.sh --device cpu          # the same code without a GPU, reduced

Each part is a process of its own with its own time limit, so that one that crashes or hangs costs only itself. What is
right comes first, several parts at once where there are the cores for it; then what is fast, one by one, in order of
what the figures are worth. What doesn't fit is said. Nothing is downloaded. Rows are printed as they
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_check.rows import Row, table

CHECKS = {
    "versions": 60,
    "attention": 90,
    "steps": 150,
    "methods": 120,
    "decoding": 90,
    "golden": 90,
    "repeat": 120,
    "sweep": 90,
    "ranks": 90,
}
"""Part that may run beside others -> seconds it may take."""
TIMED = {"training speed": 150, "peers": 150, "decoding speed": 90, "compiled": 150}
"""Part that has the machine to itself -> seconds it may take."""
PARTS = CHECKS | TIMED
AT_ONCE = min(len(CHECKS), max(1, (os.cpu_count() or 1) // 2))


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
    command += ["--limit", str(seconds)]
    rows: list[Row] = []
    start = time.perf_counter()
    # Parts that run beside each other share the cores: all threads on all of them would stop each other for good.
    threads = max(1, (os.cpu_count() or 1) // (AT_ONCE if name in CHECKS else 1))
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    with open(folder / f"{name.replace(' ', '_')}.log", "w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
        timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        assert process.stdout is not None, "piped"
        for line in process.stdout:
            if row := Row.parse(line):
                rows.append(row)
                print(f"{row}\n", end="", flush=True)  # in one piece: others print too
        status = process.wait()
        timer.cancel()
    took = time.perf_counter() - start
    if status:
        what = f"ended after {took:.0f} s" if took >= seconds else f"exit status {status}: {_last_line(log.name)}"
        rows.append(Row(name, "the part itself", what, f"{seconds:.0f} s", "FAIL"))
        print(f"{rows[-1]}\n", end="", flush=True)
    print(f"# {name}: {took:.0f} s\n", end="", flush=True)
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
    parser.add_argument("--limit", type=float, default=400, help="seconds for all together (default 400)")
    parser.add_argument("--patience", type=float, default=1, help="times all time limits, for a slow CPU (default 1)")
    parser.add_argument("--folder", default=None, help="keep logs and runs here (default: a temporary folder)")
    parser.add_argument("--part", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.part:
        from gpu_check import parts

        parts.run(arguments.part, arguments.device, Path(arguments.folder), arguments.limit)
        return 0
    names = arguments.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--parts must be of {', '.join(PARTS)}, got {', '.join(unknown)}")
    end = time.perf_counter() + arguments.limit * arguments.patience
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)

        def part(name: str) -> list[Row]:
            left = end - time.perf_counter()
            if left < 10:
                return [Row(name, "the part itself", "no time left", "", "skipped")]
            return run_part(name, arguments.device, min(PARTS[name] * arguments.patience, left), folder)

        with ThreadPoolExecutor(1 if arguments.device == "cpu" else AT_ONCE) as pool:
            checks = list(pool.map(part, [name for name in names if name in CHECKS]))
        rows = [row for found in [*checks, *map(part, [name for name in names if name in TIMED])] for row in found]
    print("\n" + table(rows))
    return int(any(row.verdict == "FAIL" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
