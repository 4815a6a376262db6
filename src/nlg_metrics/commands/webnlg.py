"""Scores a system on WebNLG or DART as GenerationEval's eval.py does: BLEU, BLEU NLTK, METEOR, chrF++, TER.

No Java, no Perl, no download; METEOR needs the resources of `pip install pycocoevalcap==1.2`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nlg_metrics.commands.wrapper import (
    add_data_flags,
    add_metrics_flag,
    add_output_flags,
    bootstrap_of,
    run_command,
    say,
    say_notes,
    write_outputs,
)
from nlg_metrics.errors import InputError
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.scores_file import plain_values
from nlg_metrics.segments import Segments
from nlg_metrics.suites.suite import Suite, SuiteResult, parse_names
from nlg_metrics.suites.suite import run as run_suite
from nlg_metrics.suites.text_files import unused_note
from nlg_metrics.suites.webnlg import NAMES, NUM_REFS, OWN, STYLES, make_suite
from nlg_metrics.suites.webnlg_files import reference_paths, table

LANGUAGES = ("en", "ru")
TITLES = {"bleu": "BLEU", "bleu_nltk": "BLEU NLTK", "meteor": "METEOR", "chrf++": "chrF++", "ter": "TER"}


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line; the short flags are eval.py's."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="WebNLG and DART metrics as GenerationEval's eval.py computes them.",
    )
    add = arguments.add_argument
    add("-R", "--reference", metavar="PATH", help="reference file; with -nr above 1, the prefix of PATH0, PATH1, …")
    add("-H", "--hypothesis", metavar="FILE", help="hypotheses, one a line")
    add(
        "-nr",
        "--num_refs",
        type=int,
        metavar="N",
        help="number of reference files (default 4); with --data, the most "
        "references of a segment to use (default: 6 in style lora, all in style raw)",
    )
    add_metrics_flag(arguments, OWN, NAMES)
    add("-lng", "--language", default="en", help="language of the texts, en or ru (default %(default)s)")
    add("-nc", "--ncorder", type=int, default=6, help="chrF++: longest character n-gram (default 6)")
    add("-nw", "--nworder", type=int, default=2, help="chrF++: longest word n-gram (default 2)")
    add("-b", "--beta", type=float, default=2.0, help="chrF++: weight of recall (default 2)")
    ours = arguments.add_argument_group("our files, with any number of references a segment")
    add_data_flags(ours)
    ours.add_argument(
        "--style",
        choices=STYLES,
        help="lora: lower case, punctuation split off, as the LoRA papers' numbers; raw: text as it is "
        "(default: lora with --data, raw with -R)",
    )
    more = arguments.add_argument_group("more output")
    add_output_flags(more)
    more.add_argument("--sacrebleu", action="store_true", help="add sacrebleu's BLEU, chrF++ and corpus-level TER")
    return arguments


def suite_of(options: argparse.Namespace, chrf: ChrF | None = None, sacrebleu: bool = False) -> Suite:
    """The scorer that the flags ask for; without `--style`, lora for our files and raw for the official tool's.

    Raises:
        InputError: an unknown metric or language, or a number of references below 1.
    """
    if options.num_refs is not None and options.num_refs < 1:
        raise InputError(f"-nr is {options.num_refs}; at least 1 reference is needed")
    if options.language not in LANGUAGES:
        raise InputError(f"-lng is {options.language!r}; it must be one of {', '.join(LANGUAGES)}, as in eval.py")
    names, style = parse_names(options.metrics, OWN), options.style or ("lora" if options.data else "raw")
    return make_suite(names, chrf, options.meteor_data, sacrebleu, style, options.num_refs, options.language)


def read(options: argparse.Namespace, suite: Suite) -> tuple[Segments, dict[str, str]]:
    """What is scored, and the files it came from by role.

    Raises:
        InputError: a file can't be used, or the flags don't go together.
    """
    if options.data and not options.reference and bool(options.predictions) != bool(options.hypothesis):
        files = {"data": options.data, "hypotheses": options.predictions or options.hypothesis}
        if options.predictions:
            return suite.read_predictions(options.data, options.predictions, options.segments), files
        return suite.read_texts(options.data, options.hypothesis, options.segments), files
    if options.reference and options.hypothesis and not (options.data or options.predictions):
        segments = suite.read(options.reference, options.hypothesis)
        paths = reference_paths(options.reference, NUM_REFS if options.num_refs is None else options.num_refs)
        if note := unused_note(paths):
            say(f"note: {note}")
        files = {f"references{number}": str(path) for number, path in enumerate(paths)}
        return segments, {**files, "hypotheses": options.hypothesis}
    raise InputError("give -R and -H, or --data and --predictions (or -H); see --help")


def show(outcome: SuiteResult) -> None:
    """Print eval.py's table, with a row for each subset, then what it doesn't have."""
    rows = {"all": plain_values(outcome.results)}
    rows.update({name: plain_values(results) for name, results in outcome.subsets.items()})
    titles = {key: title for key, title in TITLES.items() if key in outcome.results or key in outcome.unavailable}
    print(table(rows, titles))
    for key, result in outcome.unpadded.items():
        print(f"{TITLES[key]} without the padding by empty references: {result.score.value:.4f}")
    for key, result in outcome.results.items():
        if key not in TITLES:
            print(f"{result.score.name}: {result.score.value:.4f}")
    for key, reason in outcome.unavailable.items():
        say(f"{TITLES.get(key, key)}: unavailable ({reason})")


def run(options: argparse.Namespace) -> None:
    """Score, print and write."""
    suite = suite_of(options, ChrF(options.ncorder, options.nworder, options.beta), options.sacrebleu)
    segments, paths = read(options, suite)
    outcome = run_suite(suite, segments, bootstrap_of(options))
    show(outcome)
    say_notes(segments, outcome.results)
    write_outputs(options, suite.tool, segments, outcome, paths)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
