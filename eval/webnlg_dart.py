"""Scores a system on WebNLG or DART as GenerationEval's eval.py does: BLEU, BLEU NLTK, METEOR, chrF++, TER.

    python eval/webnlg_dart.py -R refs/reference -H hyps -nr 4 -m bleu,meteor,chrf++,ter      eval.py's inputs
    python eval/webnlg_dart.py --data test.jsonl --predictions predictions.jsonl --scores scores.json
    python eval/webnlg_dart.py --data test.jsonl -H hyps       plain text for our data: one line a context (or entry)

No Java, no Perl, no download; METEOR needs the resources of `pip install pycocoevalcap==1.2`.
"""

from __future__ import annotations

import argparse
import sys

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, segment_rows
from nlg_metrics.files import write_json, write_jsonl
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.scores_file import decoding_of, file_record, plain_values, scores_record, write_scores
from nlg_metrics.segments import UNITS, Segments, read_segments, read_segments_and_lines
from nlg_metrics.significance import RESAMPLES, SEED
from nlg_metrics.suites import webnlg as webnlg_suite
from nlg_metrics.suites import webnlg_files

TITLES = {"bleu": "BLEU", "bleu_nltk": "BLEU NLTK", "meteor": "METEOR", "chrf++": "chrF++", "ter": "TER"}


def parser() -> argparse.ArgumentParser:
    """The command line; the short flags are eval.py's."""
    arguments = argparse.ArgumentParser(
        prog="webnlg_dart.py",
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
    add(
        "-m",
        "--metrics",
        default=",".join(webnlg_suite.NAMES),
        help="metrics (default %(default)s; bleu gives bleu_nltk too)",
    )
    add("-lng", "--language", default="en", help="language; only en")
    add("-nc", "--ncorder", type=int, default=6, help="chrF++: longest character n-gram (default 6)")
    add("-nw", "--nworder", type=int, default=2, help="chrF++: longest word n-gram (default 2)")
    add("-b", "--beta", type=float, default=2.0, help="chrF++: weight of recall (default 2)")
    ours = arguments.add_argument_group("our files, with any number of references a segment")
    ours.add_argument("--data", metavar="JSONL", help="data file with references, from `lora-nlg prepare`")
    ours.add_argument("--predictions", metavar="JSONL", help="predictions file, from `lora-nlg decode`")
    ours.add_argument(
        "--segments",
        choices=UNITS,
        default="contexts",
        help="contexts: references of equal contexts pooled; entries: every record by itself (default contexts)",
    )
    ours.add_argument(
        "--style",
        choices=webnlg_suite.STYLES,
        help="lora: lower case, punctuation split off, as the LoRA papers' numbers; raw: text as it is "
        "(default: lora with --data, raw with -R)",
    )
    more = arguments.add_argument_group("more output")
    more.add_argument("--json", metavar="FILE", help="write {metric: value} at full precision")
    more.add_argument(
        "--scores", metavar="FILE", help="write the full record: parts, signatures, 95%% intervals, hashes"
    )
    more.add_argument("--segment_scores", metavar="FILE", help="write every segment's scores as JSON lines")
    more.add_argument("--sacrebleu", action="store_true", help="add sacrebleu's BLEU, chrF++ and corpus-level TER")
    more.add_argument("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples, 0: none (default 1000)")
    more.add_argument("--seed", type=int, default=SEED, help="seed of the bootstrap (default 12345)")
    more.add_argument("--meteor_data", metavar="DIR", help="METEOR's jar and paraphrase table (default: pycocoevalcap)")
    return arguments


def style_of(options: argparse.Namespace) -> str:
    """The style asked for, or the default of the kind of files given."""
    return options.style or ("lora" if options.data else "raw")


def read(options: argparse.Namespace) -> tuple[Segments, dict[str, str]]:
    """What is scored, in the style asked for, and the files it came from by role.

    Raises:
        InputError: a file can't be used, or the flags don't go together.
    """
    if options.data and not options.reference and bool(options.predictions) != bool(options.hypothesis):
        if options.predictions:
            segments = read_segments(options.data, options.predictions, options.segments)
        else:
            segments = read_segments_and_lines(options.data, options.hypothesis, options.segments)
        segments = webnlg_suite.styled(segments, style_of(options), options.num_refs)
        return segments, {"data": options.data, "hypotheses": options.predictions or options.hypothesis}
    if options.reference and options.hypothesis and not (options.data or options.predictions):
        paths = webnlg_files.reference_paths(options.reference, 4 if options.num_refs is None else options.num_refs)
        segments = webnlg_files.read_files(options.hypothesis, paths)
        files = {f"references{number}": str(path) for number, path in enumerate(paths)}
        segments = webnlg_suite.styled(segments, style_of(options), len(paths))
        return segments, {**files, "hypotheses": options.hypothesis}
    raise InputError("give -R and -H, or --data and --predictions (or -H); see --help")


def show(outcome: webnlg_suite.SuiteResult, segments: Segments) -> None:
    """Print eval.py's table, with a row for each subset, then what it doesn't have."""
    rows = {"all": plain_values(outcome.results)}
    rows.update({name: plain_values(results) for name, results in outcome.subsets.items()})
    titles = {key: title for key, title in TITLES.items() if key in outcome.results or key in outcome.unavailable}
    print(webnlg_files.table(rows, titles))
    for key, result in outcome.unpadded.items():
        print(f"{TITLES[key]} without the padding by empty references: {result.score.value:.4f}")
    for key, result in outcome.results.items():
        if key not in TITLES:
            print(f"{result.score.name}: {result.score.value:.4f}")
    for key, reason in outcome.unavailable.items():
        print(f"{TITLES[key]}: {reason}", file=sys.stderr)


def record(
    outcome: webnlg_suite.SuiteResult,
    segments: Segments,
    paths: dict[str, str],
    bootstrap: Bootstrap,
    predictions: str | None = None,
) -> dict[str, object]:
    """The value of scores.json; says on stderr where the note on the predictions is not of them."""
    decoding, note = decoding_of(predictions) if predictions else (None, "")
    if note:
        print(f"webnlg_dart.py: note: {note}", file=sys.stderr)
    return scores_record(
        "webnlg_dart",
        segments.unit,
        segments.references,
        outcome.all_results,
        file_record(paths),
        bootstrap,
        outcome.subsets,
        decoding,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        if options.language != "en":
            raise InputError(f"-lng is {options.language!r}; only en is offered")
        names = webnlg_suite.parse_names(options.metrics)
        chrf = ChrF(options.ncorder, options.nworder, options.beta)
        segments, paths = read(options)
        bootstrap = Bootstrap(resamples=options.resamples if options.scores else 0, seed=options.seed)
        labels = {"segments": segments.unit, "style": style_of(options)}
        outcome = webnlg_suite.run(segments, names, bootstrap, chrf, options.meteor_data, options.sacrebleu, labels)
        show(outcome, segments)
        if options.json:
            write_json(options.json, plain_values(outcome.all_results, outcome.subsets))
        if options.scores:
            write_scores(options.scores, record(outcome, segments, paths, bootstrap, options.predictions))
        if options.segment_scores:
            write_jsonl(options.segment_scores, segment_rows(segments.ids, outcome.all_results))
    except InputError as error:
        print(f"webnlg_dart.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("webnlg_dart.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
