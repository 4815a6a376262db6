"""The command line: `lora-nlg COMMAND …`, the same as `python -m lora_nlg COMMAND …`."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from lora_nlg.commands.usage_errors import did_you_mean
from lora_nlg.errors import InputError, one_line

COMMANDS = {
    "download-data": "fetch a corpus's released files from its public home or a mirror, checked and resumable",
    "download-gpt2": "fetch a released GPT-2 from the Hugging Face hub, checked and resumable",
    "prepare": "convert a released corpus (or the built-in sample) to JSONL records",
    "data-report": "counts, lengths, overlaps and duplicates of prepared corpora, as a table and a plot",
    "extract-text": "the references of prepared files without contexts, to pretrain a base on",
    "train-tokenizer": "train a SentencePiece vocabulary on text",
    "methods": "list the tuning methods: what each trains and keeps on a base of a size",
    "recipe": "show the values the scripts run a corpus with, as YAML or as flags",
    "train": "fine-tune GPT-2 with LoRA (or in full: --lora_dim 0)",
    "decode": "beam-search a prepared file with a trained run",
    "generate": "verbalise one meaning representation given on the command line",
    "playground": "try runs on a local page: ask them, turn alpha/r, rank anew, compare",
    "convert": "adapters and merged models to and from loralib, PEFT and Hugging Face",
    "inspect": "say what a weights file is, what it fits and its scaling",
    "sweep": "train a grid of (r, alpha, lr, scaling, seed) on one frozen base in one process",
    "analyze": "what a trained update is: the dial alpha/r, size, shape, amplification, similarity",
    "doctor": "check the environment and a run directory",
}


def usage() -> str:
    """The text of `lora-nlg --help`."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: lora-nlg COMMAND [options]\n\n"
        "GPT-2 with LoRA for data-to-text generation: train, decode and score E2E, WebNLG and DART.\n\n"
        f"commands:\n{lines}\n\n`lora-nlg COMMAND --help` lists a command's options."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed input, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no → shows \\u2192
            stream.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from lora_nlg import __version__

        print(f"lora-nlg {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        near = did_you_mean(command, COMMANDS) or f"; choose from {', '.join(COMMANDS)}"
        print(f"lora-nlg: error: no command {command!r}{near} (see: lora-nlg --help)", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    module = importlib.import_module(f"lora_nlg.commands.{command.replace('-', '_')}")
    try:
        return int(module.main(rest) or 0)
    except (InputError, OSError) as error:
        if os.environ.get("LORA_NLG_TRACEBACK"):
            raise
        print(f"lora-nlg {command}: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nlora-nlg {command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
