"""The index of a folder of runs: a table of all that lie below it, those with a page of their own linked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from nlg_metrics.errors import InputError
from nlg_metrics.report.page import render
from nlg_metrics.report.run_files import REPORT, RunFiles, is_run, read_run
from nlg_metrics.report.settings import decoding_note, settings_of, split_settings
from nlg_metrics.report.table import RunColumns, run_table

_DEEPEST = 4  # folders below the one given


@dataclass
class Folder:
    """The runs below a folder, by their paths from it; and those that can't be read, with the reason."""

    path: Path
    runs: dict[str, RunFiles] = field(default_factory=dict)
    broken: list[tuple[str, str]] = field(default_factory=list)


def run_folders(path: Path) -> Iterator[Path]:
    """Folders below `path` that hold a run, in the order of their names; a run's own folders are not looked into."""
    for folder, children, _ in os.walk(path):
        here = Path(folder)
        if here != path and is_run(here):
            children.clear()
            yield here
        elif len(here.relative_to(path).parts) >= _DEEPEST:
            children.clear()
        children.sort()


def read_folder(path: str | Path) -> Folder:
    """Read every run below a folder; a damaged one is noted, not fatal.

    Raises:
        InputError: no such folder, or no run in it.
    """
    folder = Folder(Path(path))
    if not folder.path.is_dir():
        raise InputError(f"no run directory {path}; give the `work_dir` of lora-nlg train, or a folder of such")
    for found in run_folders(folder.path):
        name = found.relative_to(folder.path).as_posix()
        try:
            folder.runs[name] = read_run(found)
        except InputError as error:
            folder.broken.append((name, str(error)))
    if not folder.runs and not folder.broken:
        raise InputError(f"{path} is no run and holds none (metrics.jsonl, predictions.jsonl or scores*.json)")
    return folder


def build_index(folder: Folder, refresh: int = 0) -> str:
    """The index page's HTML; `refresh` as in `Contents`."""
    settings = {name: settings_of(run, decoding_note(run)) for name, run in folder.runs.items()}
    differing, _ = split_settings(list(settings.values()))
    columns = [
        RunColumns(name, run, next(iter(run.scores.values()), None), settings[name])
        for name, run in folder.runs.items()
    ]
    linked = {name: f"{quote(name)}/{REPORT}" for name, run in folder.runs.items() if (run.folder / REPORT).is_file()}
    unlinked = [str(run.folder) for name, run in folder.runs.items() if name not in linked]
    return render(
        "index.html",
        title=f"Runs in {folder.path.resolve().name}",
        table=run_table(columns, differing),
        links=linked,
        unlinked=unlinked[0] if unlinked else "",
        broken=folder.broken,
        refresh=refresh,
    )
