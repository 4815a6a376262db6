"""Puts the report together: one HTML file of one run or many, with styles, scripts and data in it.

Head, scores, table and curves are plain HTML and SVG, there at the first paint and without scripts; sorting, outputs
and the comparison of systems are the scripts in `assets/`. The page forbids itself any request (its content
security policy), so it can be mailed, kept and opened offline. It can be made while a run is still training; what isn't
there yet is left out.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlg_metrics.evaluation import Bootstrap
from nlg_metrics.report.charts import charts, heat_map
from nlg_metrics.report.forest import forest
from nlg_metrics.report.outputs import explorer, n_best_lists, packed
from nlg_metrics.report.run_files import RunFiles
from nlg_metrics.report.settings import decoding_note, described, loss_note, settings_of, split_settings
from nlg_metrics.report.systems import Scored, paired_tests
from nlg_metrics.report.table import RunColumns, run_table
from nlg_metrics.report.updates import update_section
from nlg_metrics.scores_file import caveats, file_record, scores_record

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = (
    *("dom.js", "data.js", "words.js", "query.js", "tables.js"),
    *("segment.js", "controls.js", "explorer.js", "differences.js", "main.js"),
)
"""The page's scripts, in the order in which they need each other."""
_MOST_TEXTS = 40


@dataclass(frozen=True)
class Run:
    """A run under the name it has on the page."""

    label: str
    files: RunFiles


@dataclass
class Contents:
    """What a page is made of.

    Attributes:
        runs: in the page's order.
        scored: the outputs of those that have predictions; None without a data file.
        data: the data file.
        bootstrap: how intervals and tests are made.
        refresh: seconds after which the page loads itself anew; 0: never.
    """

    runs: Sequence[Run]
    scored: Scored | None = None
    data: str | None = None
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    refresh: int = 0


def build(contents: Contents) -> str:
    """The page's HTML."""
    runs, scored = contents.runs, contents.scored
    decodings = [decoding_note(run.files) for run in runs]
    records = _records(contents)
    settings = [settings_of(run.files, note) for run, note in zip(runs, decodings, strict=True)]
    differing, shared = split_settings(settings)
    by_place = {place: record for place, _, record in records}
    columns = [RunColumns(run.label, run.files, by_place.get(place), settings[place]) for place, run in enumerate(runs)]
    logs = [(run.label, run.files.log) for run in runs]
    packs = _packs(contents)
    facts = [[*described(run.files, note), *_data_fact(contents)] for run, note in zip(runs, decodings, strict=True)]
    common = [fact for fact in facts[0] if len(runs) > 1 and all(fact in other for other in facts)]
    return render(
        "page.html",
        title=runs[0].label if len(runs) == 1 else f"{len(runs)} runs side by side",
        common=common,
        lines=[
            {
                "label": run.label,
                "place": place,
                "facts": [fact for fact in facts[place] if fact not in common],
                "drawn": run.files.log is not None,
            }
            for place, run in enumerate(runs)
        ],
        forest=forest(scored.corpus if scored else None, records),
        level=f"{100 * contents.bootstrap.level:g}%",
        credited=bool(scored and scored.corpus),
        unavailable=scored.systems[0].outcome.unavailable if scored else {},
        caveats=[caveat for _, label, record in records for caveat in caveats(label, record)],
        table=run_table(columns, differing),
        shared=shared,
        charts=charts(logs),
        notes=[(run.label, note) for run in runs if (note := loss_note(run.files))],
        heat_maps=[found for place, (label, log) in enumerate(logs) if (found := heat_map(place, label, log))],
        updates=update_section([(run.label, run.files.analysis) for run in runs]),
        texts=[(run.label, (run.files.log.texts if run.files.log else [])[-_MOST_TEXTS:]) for run in runs],
        provenance=[_provenance(run, by_place.get(place)) for place, run in enumerate(runs)],
        packs=packs,
        systems=[system.label for system in scored.systems] if scored else [],
        without_outputs=_without_outputs(contents),
        refresh=contents.refresh,
    )


def _data_fact(contents: Contents) -> list[str]:
    return [f"outputs for {'/'.join(Path(contents.data).parts[-2:])}"] if contents.data else []


def _without_outputs(contents: Contents) -> list[str]:
    shown = {system.label for system in contents.scored.systems} if contents.scored else set()
    return [run.label for run in contents.runs if run.label not in shown] if contents.data else []


def _records(contents: Contents) -> list[tuple[int, str, dict[str, Any]]]:
    """Place, label and scores of every run that has any: computed now, or those of its first scores file."""
    computed = _computed(contents.scored, contents.bootstrap) if contents.scored else {}
    records = []
    for place, run in enumerate(contents.runs):
        found = computed.get(run.label) or next(iter(run.files.scores.values()), None)
        if found:
            records.append((place, run.label, found))
    return records


def _computed(scored: Scored, bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    """Label -> scores computed now, in the form of scores.json."""
    return {
        system.label: scores_record(
            scored.suite,
            system.segments.unit,
            system.segments.references,
            system.outcome.all_results,
            {},
            bootstrap,
            system.outcome.subsets,
        )
        for system in scored.systems
    }


def _provenance(run: Run, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run's files, hashes and signatures."""
    files = [
        (role, file["path"], file["sha256"]) for one in run.files.scores.values() for role, file in one["files"].items()
    ]
    if run.files.predictions:
        stated = file_record({"predictions": run.files.predictions})["predictions"]
        files.append(("predictions", stated["path"], stated["sha256"]))
    return {
        "label": run.label,
        "folder": str(run.files.folder),
        "config": run.files.config,
        "adapter": json.dumps(run.files.adapter, indent=2, ensure_ascii=False) if run.files.adapter else None,
        "signatures": [(entry["name"], entry["signature"]) for entry in record["scores"].values()] if record else [],
        "files": list(dict.fromkeys(files)),
    }


def _packs(contents: Contents) -> dict[str, str]:
    """Element id -> packed data for the scripts."""
    scored = contents.scored
    if scored is None:
        return {}
    tests = paired_tests(scored, contents.bootstrap) if len(scored.systems) > 1 else {}
    labels = [run.label for run in contents.runs]
    packs = {"data": packed(explorer(scored, [labels.index(system.label) for system in scored.systems], tests))}
    paths = {run.label: run.files.predictions for run in contents.runs if run.files.predictions}
    if lists := n_best_lists(scored, paths):
        packs["n-best"] = packed(lists)
    return packs


def render(template: str, **values: Any) -> str:
    """A page from a template in `assets/`, with the styles and scripts inlined."""
    jinja2 = importlib.import_module("jinja2")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(ASSETS),
    )
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    page = environment.get_template(template).render(
        style=_asset("style.css"), script=script, script_hash=f"sha256-{digest}", **values
    )
    # Lone surrogates (JSON can hold them) have no UTF-8 form.
    return str(page).encode("utf-8", "replace").decode("utf-8")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
