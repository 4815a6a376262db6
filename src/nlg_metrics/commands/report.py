"""Makes one HTML page of a run or of several: scores, settings, curves, every output, where the systems differ.

A folder that is no run but holds some gets an index of them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nlg_metrics.commands.wrapper import add_segments_flag, run_command
from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap
from nlg_metrics.files import write_text
from nlg_metrics.report.analysis_file import is_study
from nlg_metrics.report.index import build_index, read_folder
from nlg_metrics.report.page import Contents, Run, build
from nlg_metrics.report.run_files import REPORT, is_run, read_run
from nlg_metrics.report.systems import SUITES, score_systems
from nlg_metrics.significance import RESAMPLES, SEED

INDEX = "index.html"


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog=prog, description="One self-contained HTML page of one run or many, or the index of a folder of runs."
    )
    add = arguments.add_argument
    add("runs", metavar="RUN", nargs="+", help="run directories of lora-nlg train or decode; or a folder of runs")
    add("--data", metavar="JSONL", help="the data file that was decoded; without it the page shows no outputs")
    add(
        "--predictions",
        metavar="JSONL",
        nargs="+",
        help="a predictions file for each RUN (default RUN/predictions.jsonl)",
    )
    add("--suite", choices=SUITES, help="whose metrics (default: by the form of the contexts; e2e if in doubt)")
    add_segments_flag(arguments)
    add("--resamples", type=int, default=RESAMPLES, help="of intervals and tests (default: 1000)")
    add("--seed", type=int, default=SEED, help="seed of the resamples (default: 12345)")
    add("--refresh", type=int, metavar="SECONDS", help="write the page anew whenever a run has written, until Ctrl-C")
    add("--out", metavar="FILE", help="the page (default: report.html in the run or the folder around the runs)")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Read, make the page and write it; with --refresh again and again.

    Raises:
        InputError: flags that don't go together, or files that can't be used.
    """
    for flag, value in (("--resamples", options.resamples), ("--refresh", options.refresh)):
        if value is not None and value < 1:
            raise InputError(f"{flag} is {value}; it must be at least 1")
    # `runs/*` has in it what `lora-nlg analyze` left beside the runs.
    options.runs = [run for run in options.runs if not is_study(Path(run))] or options.runs
    folder = Path(options.runs[0])
    index = len(options.runs) == 1 and folder.is_dir() and not is_run(folder) and not options.predictions
    if index and options.data:
        raise InputError(f"{folder} is no run; --data goes with runs (an index shows no outputs)")
    out = Path(options.out) if options.out else _default_out(options.runs, INDEX if index else REPORT)
    make = _index_maker(options) if index else _page_maker(options)
    if not options.refresh:
        write_text(out, make(0))
        print(f"written: {out}")
        return
    _refresh(options, out, make)


def _default_out(runs: Sequence[str], name: str) -> Path:
    folders = [Path(run).resolve() for run in runs]
    return Path(runs[0]) / name if len(runs) == 1 else Path(os.path.commonpath([f.parent for f in folders])) / name


def _index_maker(options: argparse.Namespace) -> Callable[[int], str]:
    return lambda refresh: build_index(read_folder(options.runs[0]), refresh)


def _page_maker(options: argparse.Namespace) -> Callable[[int], str]:
    given = options.predictions or [None] * len(options.runs)
    if options.predictions and not options.data:
        raise InputError("--predictions needs --data, the file they were made from")
    if len(given) != len(options.runs):
        raise InputError(f"{len(given)} --predictions for {len(options.runs)} runs; give one for each")
    labels = run_labels(options.runs)
    bootstrap = Bootstrap(options.resamples, options.seed)

    def make(refresh: int) -> str:
        pairs = zip(labels, options.runs, given, strict=True)
        runs = [Run(label, read_run(path, predictions)) for label, path, predictions in pairs]
        scored = None
        outputs = {run.label: run.files.predictions for run in runs if run.files.predictions}
        if options.data and outputs:
            scored = score_systems(options.data, outputs, options.suite, options.segments, bootstrap)
        return build(Contents(runs, scored, options.data, bootstrap, refresh))

    return make


def run_labels(runs: Sequence[str]) -> list[str]:
    """What the runs are called: their folders' names, with as much of the path as tells them apart.

    Raises:
        InputError: a run is given twice.
    """
    paths = [Path(run).resolve() for run in runs]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise InputError(f"{runs[place]} is given twice; name each run once")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    return labels


def _refresh(options: argparse.Namespace, out: Path, make: Callable[[int], str]) -> None:
    """Write the page whenever a file of the runs has changed; after Ctrl-C once more, for good."""
    print(f"writing {out} every {options.refresh} s where something is new; Ctrl-C ends it")
    before: object = None
    try:
        while True:
            now = _state(options.runs)
            if now != before:
                write_text(out, make(options.refresh))
                before = now
            time.sleep(options.refresh)
    except KeyboardInterrupt:
        write_text(out, make(0))
        print(f"\nwritten: {out}")


def _state(runs: Sequence[str]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files a page is made from."""
    found = []
    for run in runs:
        for path in sorted(Path(run).rglob("*.json*")):
            try:
                status = path.stat()
            except OSError:  # replaced at this moment
                continue
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
