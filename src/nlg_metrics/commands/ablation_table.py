"""The factorial behind "70.4 or 68.8": length penalty × checkpoint × seed, as one table with main effects.

Reads ROOT/seed-S/CHECKPOINT/penalty-P/scores.json, as scripts/ablation_704.sh leaves them, and the checkpoints' steps
from ROOT/train-S. A main effect is the mean over seeds (and over the other factor) of the paired difference between two
levels; its deviation is over seeds.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nlg_metrics.commands.wrapper import run_command, say
from nlg_metrics.errors import InputError
from nlg_metrics.files import read_json, write_text
from nlg_metrics.report.run_files import ADAPTER
from nlg_metrics.scores_file import caveats, read_scores

Key = tuple[str, str, str]
"""Seed, checkpoint, penalty."""
ORDER = ("last", "best_loss", "best_bleu")
"""Checkpoints as the table lists them; others follow by name."""
FOLDERS = {"last": ".", "best_loss": "best", "best_bleu": "best_bleu"}
"""Checkpoint → its folder in ROOT/train-S."""
PAPER, README = ("best_loss", "0.9"), ("last", "0.8")
"""The paper's and the predecessor's README's (checkpoint, penalty)."""


def read_factorial(root: Path, metric: str) -> dict[Key, float]:
    """(seed, checkpoint, penalty) → score.

    Raises:
        InputError: no score file, or one without the metric.
    """
    found = {}
    for path in sorted(root.glob("seed-*/*/penalty-*/scores.json")):
        seed, checkpoint, penalty = (part.removeprefix("seed-").removeprefix("penalty-") for part in path.parts[-4:-1])
        record = read_scores(path)
        scores = record["scores"]
        if metric not in scores:
            raise InputError(f"{path} has no {metric}; it has {', '.join(scores)}")
        for caveat in caveats(path, record):
            say(f"note: {caveat}")
        found[seed, checkpoint, penalty] = float(scores[metric]["value"])
    if not found:
        raise InputError(f"no scores under {root} (expected seed-S/CHECKPOINT/penalty-P/scores.json)")
    return found


def checkpoint_steps(root: Path) -> dict[str, list[int]]:
    """Checkpoint → the optimiser step of each seed's, where ROOT/train-S tells.

    Raises:
        InputError: an adapter's description that can't be read.
    """
    steps: dict[str, list[int]] = {}
    for run in sorted(root.glob("train-*")):
        for checkpoint, folder in FOLDERS.items():
            described = run / folder / ADAPTER
            if described.is_file():
                value = read_json(described)
                if not isinstance(value, dict) or not isinstance(value.get("step"), int):
                    raise InputError(f'{described} is not an adapter\'s description: it needs a whole number "step"')
                steps.setdefault(checkpoint, []).append(value["step"])
    return steps


def ordered(levels: Iterable[str]) -> list[str]:
    """A factor's distinct levels: checkpoints as in `ORDER`, the rest by name."""
    return sorted(set(levels), key=lambda level: (ORDER.index(level) if level in ORDER else len(ORDER), level))


def spread(values: Sequence[float], digits: int = 2, sign: bool = False) -> str:
    """`mean ± sample deviation`, or the value alone."""
    mean = f"{statistics.fmean(values):{'+' if sign else ''}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def effects(scores: dict[Key, float], factor: int) -> list[tuple[str, str, list[float]]]:
    """Paired differences between a factor's levels and its first, per seed, averaged over the other factor.

    Args:
        scores: from `read_factorial`.
        factor: 1 for the checkpoint, 2 for the penalty.

    Returns:
        (level, first level, one difference a seed) for each further level.
    """
    levels = ordered(key[factor] for key in scores)
    others = ordered(key[3 - factor] for key in scores)
    seeds = sorted({key[0] for key in scores})

    def at(seed: str, level: str, other: str) -> float | None:
        return scores.get((seed, level, other) if factor == 1 else (seed, other, level))

    result = []
    for level in levels[1:]:
        per_seed = []
        for seed in seeds:
            pairs = [(at(seed, level, other), at(seed, levels[0], other)) for other in others]
            known = [a - b for a, b in pairs if a is not None and b is not None]
            if known:
                per_seed.append(statistics.fmean(known))
        if per_seed:
            result.append((level, levels[0], per_seed))
    return result


def render(scores: dict[Key, float], metric: str, scale: float, steps: Mapping[str, Sequence[int]] = {}) -> str:
    """The table, the main effects and what the two published ways differ by, as Markdown.

    Args:
        scores: from `read_factorial`.
        metric: what they are.
        scale: factor applied to them.
        steps: from `checkpoint_steps`.
    """
    scaled = {key: value * scale for key, value in scores.items()}
    checkpoints, penalties = ordered(key[1] for key in scaled), ordered(key[2] for key in scaled)
    seeds = sorted({key[0] for key in scaled})
    lines = [f"{metric}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}: {', '.join(seeds)}", ""]
    lines += [
        f"| checkpoint | {' | '.join('penalty ' + p for p in penalties)} |",
        "|" + " --- |" * (len(penalties) + 1),
    ]
    for checkpoint in checkpoints:
        cells = []
        for penalty in penalties:
            values = [v for (s, c, p), v in sorted(scaled.items()) if (c, p) == (checkpoint, penalty)]
            cells.append(spread(values) if values else "–")
        where = f" (step {', '.join(str(step) for step in steps[checkpoint])})" if checkpoint in steps else ""
        lines.append(f"| {checkpoint}{where} | {' | '.join(cells)} |")
    lines += ["", "| main effect | difference |", "| --- | --- |"]
    for factor, name in ((2, "penalty"), (1, "checkpoint")):
        for level, first, differences in effects(scaled, factor):
            lines.append(f"| {name}: {level} instead of {first} | {spread(differences, sign=True)} |")
    ways = [(scaled.get((seed, *PAPER)), scaled.get((seed, *README))) for seed in seeds]
    both = [paper - readme for paper, readme in ways if paper is not None and readme is not None]
    if both:
        lines.append(
            f"| the paper's way ({', '.join(PAPER)}) instead of the README's ({', '.join(README)}) "
            f"| {spread(both, sign=True)} |"
        )
    return "\n".join(lines)


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    add = arguments.add_argument
    add("root", type=Path, help="folder of the ablation's runs")
    add("--metric", default="BLEU", help="key in scores.json (default: %(default)s)")
    add("--scale", type=float, default=100.0, help="multiply scores by this (default: %(default)s)")
    add("--out", type=Path, help="also write the table to this file")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    scores, steps = read_factorial(options.root, options.metric), checkpoint_steps(options.root)
    shown = render(scores, options.metric, options.scale, steps)
    if options.out:
        write_text(options.out, shown + "\n")
    print(shown)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
