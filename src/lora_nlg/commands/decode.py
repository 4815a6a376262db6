"""`lora-nlg decode`: beam-search the contexts of a prepared file with a trained run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lora_nlg.commands.arguments import existing_file, parse_arguments
from lora_nlg.corpora.record import Record, read_records
from lora_nlg.decoding import (
    BeamSettings,
    Decoder,
    Hypothesis,
    Journal,
    fold_for_decoding,
    remove_journals,
    write_predictions,
)
from lora_nlg.distributed import World, joined_world
from lora_nlg.errors import InputError
from lora_nlg.lora import lora_layers
from lora_nlg.weights.run import Run, load_run

log = logging.getLogger(__name__)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class RunArguments:
    """The model."""

    checkpoint: str
    """Run directory that `lora-nlg train` wrote, or any folder or adapter file it saved. Several, separated by
    commas, are decoded in turn."""
    init_checkpoint: str | None = None
    """Where the base is. Default: where the run says it was."""
    tokenizer: str | None = None
    """Where the vocabulary is. Default: in the run, or beside the base."""
    precision: str = "fp32"
    """fp32, or bf16 for the model's body (the output head stays fp32)."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads. Default: torch's."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"--precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads must be at least 1, got {self.threads}")


@dataclass(frozen=True)
class SearchArguments:
    """The search."""

    beam: int = 10
    """Hypotheses kept alive."""
    length_penalty: float = 0.8
    """Hypotheses are ranked by log-probability / length^penalty; any sign."""
    no_repeat_ngram_size: int = 4
    """No n-gram of this size occurs twice in a hypothesis; 0 allows all."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that occurred less likely."""
    min_length: int = 0
    """Tokens generated before an end token is allowed."""
    eval_len: int = 64
    """Most tokens generated."""
    eos_token_id: str | None = None
    """End tokens besides <|endoftext|>, separated by commas. Default: the vocabulary's blank line or newline (628
    for GPT-2)."""
    semantics: str = "lora"
    """lora: the search of microsoft/LoRA; hf: of transformers' generate with early_stopping="never"."""
    n_best: int = 1
    """Hypotheses given for each context."""
    seq_len: int = 512
    """Tokens of context and answer together; longer contexts keep their last tokens."""

    def __post_init__(self) -> None:
        self.settings(eos_id=0)

    def settings(self, eos_id: int) -> BeamSettings:
        """The search's settings, with the tokenizer's end tokens or those of the flag.

        Args:
            eos_id: id of `<|endoftext|>`.
        """
        values = {name: value for name, value in asdict(self).items() if name not in ("eos_token_id", "seq_len")}
        end_ids = None
        if self.eos_token_id is not None:
            try:
                given = [int(part) for part in str(self.eos_token_id).split(",")]
            except ValueError:
                raise InputError(f"--eos_token_id must be ids like 628 or 628,198, got {self.eos_token_id!r}") from None
            end_ids = tuple(dict.fromkeys([eos_id, *given]))
        return BeamSettings(end_ids=end_ids, **values)


@dataclass(frozen=True)
class DecodeArguments:
    """What to decode."""

    data: str
    """Prepared JSONL records."""
    out: str | None = None
    """File of predictions. Default: predictions.jsonl in the run directory. With several runs, a folder that gets
    one file a run."""
    batch_size: int = 16
    """Contexts at work at a time; the predictions don't depend on it."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"--batch_size must be at least 1, got {self.batch_size}")


def main(argv: Sequence[str]) -> int:
    """Decode and write predictions; returns the exit status."""
    parsed = parse_arguments(
        "decode",
        "Beam-search the contexts of a prepared file with a trained run; an interrupted decode goes on where it was.",
        argv,
        RunArguments,
        DecodeArguments,
        SearchArguments,
    )
    run_arguments, arguments, search = parsed.groups
    records = read_records(existing_file(arguments.data, "--data"))
    checkpoints = split_checkpoints(run_arguments)
    share = None
    with joined_world(run_arguments.device) as world:
        for checkpoint in checkpoints:
            run = open_run(run_arguments, checkpoint)
            decoder = make_decoder(run, run_arguments, search, arguments.batch_size, world, share)
            path = output_path(checkpoint, arguments.out, several=len(checkpoints) > 1)
            found = search_records(decoder, records, path, world)
            if world.is_main:
                count = write_predictions(path, records, found)
                remove_journals(path)
                log.info("%d predictions (%d distinct contexts): %s", count, len(found), path)
            share = decoder
    return 0


def split_checkpoints(arguments: RunArguments) -> list[str]:
    """The runs that `--checkpoint` names.

    Raises:
        InputError: none.
    """
    checkpoints = [part.strip() for part in arguments.checkpoint.split(",") if part.strip()]
    if not checkpoints:
        raise InputError("--checkpoint: no run directory given")
    return checkpoints


def open_run(arguments: RunArguments, checkpoint: str) -> Run:
    """The trained run that flags name."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return load_run(checkpoint, arguments.init_checkpoint, arguments.tokenizer)


def make_decoder(
    run: Run,
    arguments: RunArguments,
    search: SearchArguments,
    batch_size: int,
    world: World,
    share: Decoder | None = None,
) -> Decoder:
    """A decoder for a run, its LoRA layers merged into a copy."""
    adapted = len(lora_layers(run.model))
    if adapted and world.is_main:
        log.info("LoRA merged into a copy of %d layers for decoding", adapted)
    return Decoder(
        fold_for_decoding(run.model).to(world.device),
        run.tokenizer,
        search.settings(run.tokenizer.eos_id),
        batch_size=batch_size,
        seq_len=search.seq_len,
        dtype=PRECISIONS[arguments.precision],
        share=share,
    )


def output_path(checkpoint: str, out: str | None, several: bool) -> Path:
    """Where a run's predictions go.

    Raises:
        InputError: several runs and a file that exists where their folder should be.
    """
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    if out is None:
        return folder / "predictions.jsonl"
    if not several:
        return Path(out)
    if Path(out).is_file():
        raise InputError(f"--out {out} is a file; several runs need a folder")
    return Path(out) / f"{checkpoint.strip('/').replace('/', '_')}.jsonl"


def search_records(
    decoder: Decoder, records: Sequence[Record], path: Path, world: World
) -> dict[str, list[Hypothesis]]:
    """Search each distinct context that the journals beside `path` don't hold yet, each on one rank.

    Returns:
        Every context's hypotheses, on every rank.
    """
    contexts = list(dict.fromkeys(record.context for record in records))
    journal = Journal(path, decoder.fingerprint(), world.rank)
    # All ranks must have read all journals before any is written to, and agree on what is left to do.
    before = {context: journal.found[context] for context in contexts if context in journal.found}
    before = world.from_main(before)
    if before and world.is_main:
        log.info("%d of %d contexts were decoded before; going on with the rest", len(before), len(contexts))
    todo = [context for context in contexts if context not in before]
    # Dealt out by length, so that ranks have equally much to do.
    mine = sorted(todo, key=lambda context: (len(context), context))[world.rank :: world.size]
    found = {}
    bar = tqdm(total=len(mine), unit=" contexts", desc="decode", dynamic_ncols=True, disable=not world.is_main)
    with journal, bar:
        for index, hypotheses in decoder.decode(mine):
            journal.append(mine[index], hypotheses)
            found[mine[index]] = hypotheses
            bar.update()
    for part in world.gather(found):
        before.update(part)
    return before
