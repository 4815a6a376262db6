"""What the commands share: errors as one line, the flags of every scorer, and what those flags write."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from nlg_metrics.errors import InputError, one_line
from nlg_metrics.evaluation import Bootstrap, Result, segment_rows
from nlg_metrics.files import escape_what_the_terminal_lacks, write_json, write_jsonl
from nlg_metrics.scores_file import decoding_of, file_record, plain_values, scores_record, write_scores
from nlg_metrics.segments import UNITS, Segments
from nlg_metrics.significance import RESAMPLES, SEED, check_draws
from nlg_metrics.suites.further import FURTHER
from nlg_metrics.suites.suite import SuiteResult
from nlg_metrics.suites.text_notes import text_notes


def with_flags(parser: argparse.ArgumentParser, text: str) -> str:
    """A message of the rooms below with each `field` that has a flag here turned into it."""
    flags = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    return re.sub(r"`([a-z_]+)`", lambda match: flags.get(match[1], match[0]), text)


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], argv: Sequence[str] | None
) -> int:
    """Parse and run; returns the exit status: 1 after a user's mistake, said in one line, 130 after Ctrl-C."""
    escape_what_the_terminal_lacks()
    options = parser.parse_args(argv)
    try:
        run(options)
    except (InputError, OSError) as error:
        print(f"{parser.prog}: {one_line(with_flags(parser, str(error)))}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{parser.prog}: not enough memory for texts of this size; score fewer at a time", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped", file=sys.stderr)
        return 130
    return 0


def add_data_flags(group: argparse._ArgumentGroup) -> None:
    """The flags of our own files."""
    group.add_argument("--data", metavar="JSONL", help="data file with references, from `lora-nlg prepare`")
    group.add_argument("--predictions", metavar="JSONL", help="predictions file, from `lora-nlg decode`")
    add_segments_flag(group)


def add_segments_flag(group: argparse._ActionsContainer) -> None:
    """What a segment of a data file is."""
    group.add_argument(
        "--segments",
        choices=UNITS,
        default="contexts",
        help="with --data: contexts: references of equal contexts pooled; entries: every record by itself (default: "
        "contexts)",
    )


def add_metrics_flag(group: argparse._ActionsContainer, own: Sequence[str], default: Sequence[str]) -> None:
    """Which metrics."""
    group.add_argument(
        "-m",
        "--metrics",
        default=",".join(default),
        metavar="NAMES",
        help=f"metrics, of {', '.join((*own, *FURTHER))} (default: %(default)s)",
    )


def add_meteor_flag(group: argparse._ActionsContainer) -> None:
    """Where METEOR's resources are."""
    group.add_argument(
        "--meteor_data", metavar="DIR", help="folder with METEOR's jar and paraphrase table (default: pycocoevalcap)"
    )


def add_output_flags(group: argparse._ArgumentGroup) -> None:
    """What a scorer writes beside its table, and how intervals are made."""
    group.add_argument("--json", metavar="FILE", help="write {metric: value} at full precision")
    group.add_argument(
        "--scores", metavar="FILE", help="write the full record: parts, signatures, 95%% intervals, file hashes"
    )
    group.add_argument("--segment_scores", metavar="FILE", help="write every segment's scores as JSON lines")
    group.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="bootstrap resamples; 0: no intervals (default: 1000)"
    )
    group.add_argument("--seed", type=int, default=SEED, help="seed of the bootstrap (default: 12345)")
    add_meteor_flag(group)


def bootstrap_of(options: argparse.Namespace) -> Bootstrap:
    """How the intervals of `--scores` are made; none where it is not asked for.

    Raises:
        InputError: a number of resamples or a seed that can't be used; said before the work.
    """
    if options.resamples:
        check_draws(options.resamples, options.seed)
    return Bootstrap(resamples=options.resamples if options.scores else 0, seed=options.seed)


def write_outputs(
    options: argparse.Namespace, tool: str, segments: Segments, outcome: SuiteResult, paths: Mapping[str, str]
) -> None:
    """Write what `add_output_flags` asks for.

    Args:
        options: the command line.
        tool: the scorer's name.
        segments: what was scored.
        outcome: its scores.
        paths: role -> file that was read; under "predictions" a file of `lora-nlg decode`.
    """
    if options.json:
        write_json(options.json, plain_values(outcome.all_results, outcome.subsets))
    if options.scores:
        predictions = getattr(options, "predictions", None)
        decoding, note = decoding_of(predictions) if predictions else (None, "")
        if note:
            say(f"note: {note}")
        record = scores_record(
            tool,
            segments.unit,
            segments.references,
            outcome.all_results,
            file_record(paths),
            bootstrap_of(options),
            outcome.subsets,
            decoding,
        )
        write_scores(options.scores, record)
    if options.segment_scores:
        write_jsonl(options.segment_scores, segment_rows(segments.ids, outcome.all_results))


def say(text: str) -> None:
    """A line beside the results."""
    print(one_line(text), file=sys.stderr)


def say_notes(segments: Segments, results: Mapping[str, Result], advice: str = "") -> None:
    """What is odd about the texts, and which scores mean nothing: a line each.

    Args:
        segments: what was scored.
        results: key -> result.
        advice: what to do about such a score.
    """
    for note in text_notes(segments):
        say(f"note: {note}")
    for result in results.values():
        if result.caveat:
            say(f"note: {result.score.name} {result.score.value:.4f} means nothing: {result.caveat}{advice}")


def warn_unavailable(unavailable: Mapping[str, str]) -> None:
    """Why metrics have no score, a line each."""
    for key, reason in unavailable.items():
        say(f"{key}: unavailable ({reason})")
