"""Makes one HTML page of a run: scores with intervals, training curves, outputs beside their references, settings.

The page is self-contained: images and styles are in it, so it can be mailed or kept. It can be made while a run is
still training; what isn't there yet is left out.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.report.plots import curves, intervals
from nlg_metrics.report.run_files import ADAPTER, RunFiles
from nlg_metrics.segments import Segments

TEMPLATE = Path(__file__).with_name("template.html")
_MOST_TEXTS = 40


def examples(segments: Segments, count: int) -> tuple[list[dict[str, Any]], str]:
    """Outputs to look at: half of `count` evenly spread over the data, half those of lowest chrF++ among the others.

    Returns:
        The outputs in the data's order, and a sentence saying how they were chosen.
    """
    metric = ChrF()
    scores = metric.segment_scores(metric.statistics(segments.hypotheses, segments.references))
    total = len(segments)
    if total <= count:
        chosen, note = set(range(total)), f"All {total:,} outputs."
    else:
        chosen = {int(place) for place in np.linspace(0, total - 1, count - count // 2)}
        worst = [int(place) for place in np.argsort(scores, kind="stable") if int(place) not in chosen]
        chosen.update(worst[: count // 2])
        note = (
            f"{len(chosen)} of {total:,} outputs: {count - count // 2} evenly spread over the data, "
            f"{count // 2} of the lowest chrF++."
        )
    rows = [
        {
            "id": segments.ids[place],
            "context": segments.contexts[place],
            "hypothesis": segments.hypotheses[place],
            "references": list(dict.fromkeys(segments.references[place])),
            "chrf": float(scores[place]),
        }
        for place in sorted(chosen)
    ]
    return rows, note


def score_section(label: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs of one scores file.

    Raises:
        InputError: something is absent or of another type.
    """
    try:
        segments, bootstrap = record["segments"], record["bootstrap"]
        counts = segments["references"]
        groups = [_group("all", segments["count"], record["scores"])]
        groups += [_group(name, part["segments"], part["scores"]) for name, part in record["subsets"].items()]
        return {
            "label": label,
            "facts": [
                record["tool"],
                f"{segments['count']:,} segments ({segments['unit']})",
                f"{counts['min']} to {counts['max']} references each, {counts['total']:,} in all",
                f"{bootstrap['resamples']:,} bootstrap resamples, seed {bootstrap['seed']}",
                *_decoding_facts(record.get("decoding")),
            ],
            "level": f"{100 * bootstrap['level']:g}%",
            "groups": groups,
            "figures": _subset_figures(record),
            "signatures": [
                {"name": entry["name"], "signature": entry["signature"]} for entry in record["scores"].values()
            ],
            "files": [(role, file["path"], file["sha256"]) for role, file in record["files"].items()],
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{label} is not a record of scores as --scores writes it ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _decoding_facts(decoding: Mapping[str, Any] | None) -> list[str]:
    """How the scored predictions were made, where the scorer knew."""
    if decoding is None:
        return []
    model, search, sampling = decoding["model"], decoding["search"], decoding["sampling"]
    found = f"beam {search['beam']}, length penalty {search['length_penalty']:g}"
    if sampling:
        found = f"sampled: temperature {sampling['temperature']:g}, top-p {sampling['top_p']:g}"
    return [f"decoded from step {model['step']:,}" if model["step"] else "decoded", found]


def _group(name: str, segments: int, scores: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for entry in scores.values():
        interval = entry["interval"]
        rows.append(
            {
                "name": entry["name"],
                "value": f"{entry['value']:.4f}",
                "interval": "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}",
            }
        )
    return {"name": name, "segments": f"{segments:,}", "rows": rows}


def _subset_figures(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """A figure a metric with the intervals of all segments and of each subset; none without subsets."""
    groups = {"all": record["scores"], **{name: part["scores"] for name, part in record["subsets"].items()}}
    figures = []
    for key, entry in record["scores"].items():
        rows = {
            name: (scores[key]["value"], *scores[key]["interval"])
            for name, scores in groups.items()
            if key in scores and scores[key]["interval"] is not None
        }
        if len(rows) > 1:
            figures.append({"title": entry["name"], "image": intervals(rows)})
    return figures


def facts_of(run: RunFiles) -> list[str]:
    """The line under the page's title."""
    facts = []
    if run.log is not None:
        facts.append(f"{run.log.last_step:,} steps")
        valid = run.log.series.get("valid", {}).get("loss")
        finite = [value for value in valid.values if np.isfinite(value)] if valid else []
        if finite:
            facts.append(f"best validation loss {min(finite):.4f}")
    if run.adapter is not None:
        facts += adapter_facts(run.adapter)
    return facts


def adapter_facts(adapter: Mapping[str, Any]) -> list[str]:
    """What an adapter.json says of its step and of rank, alpha and scaling, target by target where they differ.

    Raises:
        InputError: a target's numbers are absent or no numbers.
    """
    targets = adapter.get("targets")
    settings: dict[str, list[str]] = {}
    for name, target in targets.items() if isinstance(targets, dict) else ():
        try:
            shown = ", ".join(f"{key} {target[key]:g}" for key in ("r", "alpha", "scaling"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{ADAPTER}: target {name!r} needs numbers r, alpha and scaling ({_reason(error)})"
            ) from None
        settings.setdefault(shown, []).append(name)
    facts = [f"adapter step {adapter['step']:,}"] if isinstance(adapter.get("step"), int) else []
    return facts + [f"adapter on {', '.join(names)}: {shown}" for shown, names in settings.items()]


def build(run: RunFiles, segments: Segments | None, example_count: int) -> str:
    """The page's HTML."""
    jinja2 = importlib.import_module("jinja2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    rows, note = examples(segments, example_count) if segments and example_count else ([], "")
    texts = run.log.texts[-_MOST_TEXTS:] if run.log else []
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=f"Run {run.folder.resolve().name}",
        facts=facts_of(run),
        scores=[score_section(label, record) for label, record in run.scores.items()],
        curves=curves(run.log) if run.log else [],
        texts=texts,
        examples=rows,
        examples_note=note,
        config=run.config,
        adapter=json.dumps(run.adapter, indent=2, ensure_ascii=False) if run.adapter else None,
        folder=str(run.folder),
    )
    # Lone surrogates (JSON can hold them) have no UTF-8 form.
    return str(page).encode("utf-8", "replace").decode("utf-8")
