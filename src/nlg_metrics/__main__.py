"""`nlg-score COMMAND …`, also `python -m nlg_metrics`: every scorer and table by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nlg_metrics.files import escape_what_the_terminal_lacks

COMMANDS = {
    "texts": "two text files, references in any layout, metrics of your choice",
    "e2e": "E2E: BLEU, NIST, METEOR, ROUGE_L and CIDEr as measure_scores.py has them",
    "webnlg": "WebNLG and DART: BLEU, METEOR, chrF++ and TER as GenerationEval has them",
    "compare": "is the difference between two systems more than chance?",
    "report": "one run or many as one HTML page: scores, curves, every output, where they differ",
    "paper_table": "seeds beside the published rows",
    "methods": "tuning methods compared: a table with tests against LoRA and published rows, and a plot",
    "ablation_table": "length penalty × checkpoint × seed",
}
"""Command → what it does; the module of that name in nlg_metrics.commands holds it."""


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: nlg-score COMMAND … (each has --help)", "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; returns the exit status."""
    escape_what_the_terminal_lacks()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        # Imported here: a scorer does not wait for the others' libraries.
        module = importlib.import_module(f"nlg_metrics.commands.{arguments[0]}")
        status: int = module.main(arguments[1:], prog=f"nlg-score {arguments[0]}")
        return status
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    wrong = f"no command {arguments[0]!r}; " if arguments else ""
    print(f"nlg-score: {wrong}give one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
