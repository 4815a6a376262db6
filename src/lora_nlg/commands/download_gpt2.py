"""`lora-nlg download-gpt2`: a released GPT-2 from the Hugging Face hub, checksummed and resumable."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lora_nlg.commands.arguments import parse_arguments
from lora_nlg.weights.download import REPOSITORIES, download_gpt2

log = logging.getLogger(__name__)


@dataclass
class DownloadArguments:
    """Where to."""

    out: str | None = None
    """Folder to write. Default: pretrained/ and the model card, e.g. pretrained/gpt2.md."""
    revision: str = "main"
    """Branch, tag or commit of the repository."""


def main(argv: Sequence[str]) -> int:
    """Download the model; returns the exit status."""
    parsed = parse_arguments(
        "download-gpt2",
        "Download a released GPT-2 from the Hugging Face hub; an interrupted download continues where it stopped.",
        argv,
        DownloadArguments,
        positionals={"model": {"type": str, "help": f"One of {', '.join(REPOSITORIES)} (or sm, md, lg, xl)."}},
    )
    arguments: DownloadArguments = parsed.groups[0]
    model = parsed.positionals["model"]
    card = model if model.startswith("gpt2.") else f"gpt2.{model}"
    folder = download_gpt2(card, arguments.out or f"pretrained/{card}", arguments.revision)
    print(f"{folder}: {card}, complete; train with --model_card {card} --init_checkpoint {folder} --tokenizer {folder}")
    return 0
