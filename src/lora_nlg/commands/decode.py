"""`lora-nlg decode`: beam-search the contexts of a prepared file with a trained run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from lora_nlg.commands.arguments import existing_file, parse_arguments
from lora_nlg.commands.wrong_weights import explained
from lora_nlg.corpora.record import Record, read_records
from lora_nlg.decoding import (
    BeamSettings,
    Decoder,
    Hypothesis,
    Journal,
    SamplingSettings,
    fold_for_decoding,
    remove_journals,
    write_predictions,
)
from lora_nlg.decoding.provenance import write_config
from lora_nlg.distributed import World, joined_world
from lora_nlg.dtypes import named_dtype
from lora_nlg.errors import InputError
from lora_nlg.lora import lora_layers
from lora_nlg.progress import progress_bar
from lora_nlg.weights.adapter import WEIGHTS, load_adapter, read_adapter
from lora_nlg.weights.run import Run, load_run

log = logging.getLogger(__name__)


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
    allow_other_base: bool = False
    """Accept a base of equal shape with other values than the adapter was trained on."""
    allow_other_tokenizer: bool = False
    """Accept another vocabulary than the run was trained with."""
    dtype: str = "fp32"
    """fp32, bf16 or fp16: what the model's body computes in; the output head stays fp32."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads. Default: torch's."""

    def __post_init__(self) -> None:
        named_dtype(self.dtype)
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

    sample: bool = False
    """True draws n_best samples for each context instead of searching."""
    temperature: float = 1.0
    """Of sampling; below 1 is more careful."""
    top_p: float = 1.0
    """Of sampling: from the fewest most likely tokens whose probabilities reach this sum."""
    random_seed: int = 0
    """Of sampling."""

    def __post_init__(self) -> None:
        self.settings(eos_id=0)
        self.sampling()

    def sampling(self) -> SamplingSettings | None:
        """How to sample, or None to search."""
        settings = SamplingSettings(self.temperature, self.top_p, self.random_seed)
        return settings if self.sample else None

    def settings(self, eos_id: int) -> BeamSettings:
        """The search's settings, with the tokenizer's end tokens or those of the flag.

        Args:
            eos_id: id of `<|endoftext|>`.
        """
        values = {field.name: getattr(self, field.name) for field in fields(BeamSettings) if field.name != "end_ids"}
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
    batch_size: int | None = None
    """Contexts at work at a time; the predictions don't depend on it. Default: 32, on CUDA what its memory holds."""
    cuda_graphs: bool = True
    """Record the steps of a search on CUDA as graphs; False is slower and gives the same."""
    more_length_penalties: str | None = None
    """Further length penalties, separated by commas, ranked in the same search; each gets a file of its own,
    e.g. predictions.lp0.6.jsonl."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch_size must be at least 1, got {self.batch_size}")
        for penalty in self.further_penalties():
            BeamSettings(length_penalty=penalty)

    def further_penalties(self) -> list[float]:
        """`more_length_penalties` as numbers."""
        try:
            return [float(part) for part in str(self.more_length_penalties or "").split(",") if part.strip()]
        except ValueError:
            raise InputError(
                f"--more_length_penalties must be numbers like 0.6,1.0, got {self.more_length_penalties!r}"
            ) from None


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
    penalties = list(dict.fromkeys([search.length_penalty, *arguments.further_penalties()]))
    share, run = None, None
    with joined_world(run_arguments.device) as world:
        for checkpoint in checkpoints:
            run = open_run(run_arguments, checkpoint, run)
            share = decoder = make_decoder(
                run, run_arguments, search, arguments.batch_size, world, share, arguments.cuda_graphs
            )
            path = output_path(checkpoint, arguments.out, several=len(checkpoints) > 1)
            paths = [path, *(path.with_suffix(f".lp{penalty:g}{path.suffix}") for penalty in penalties[1:])]
            rankings = search_records(decoder, records, paths, penalties, world)
            for path, penalty, found in zip(paths, penalties, rankings, strict=True):
                if world.is_main:
                    count = write_predictions(path, records, found)
                    write_config(path, decoder, penalty, run.info, checkpoint, arguments.data)
                    remove_journals(path)
                    log.info("%d predictions (%d distinct contexts): %s", count, len(found), path)
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


def open_run(arguments: RunArguments, checkpoint: str, before: Run | None = None) -> Run:
    """The trained run that flags name.

    Args:
        arguments: where things are.
        checkpoint: the run.
        before: a run whose base is in memory already. If the two differ in nothing but the adapter's values, its
            model is given these values, so that one base serves both. Default: None.
    """
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    with explained(checkpoint, "--checkpoint"):
        return _load(arguments, checkpoint, before)


def _load(arguments: RunArguments, checkpoint: str, before: Run | None) -> Run:
    if before is not None and (Path(checkpoint) / WEIGHTS).is_file():
        info = read_adapter(checkpoint)[0]
        same = ("targets", "base", "tokenizer", "variant", "bias")
        if (
            info.base
            and info.bias == "none"
            and all(getattr(info, name) == getattr(before.info, name) for name in same)
        ):
            load_adapter(checkpoint, before.model, allow_other_base=arguments.allow_other_base)
            return Run(before.model, before.tokenizer, info)
    return load_run(
        checkpoint,
        arguments.init_checkpoint,
        arguments.tokenizer,
        allow_other_base=arguments.allow_other_base,
        allow_other_tokenizer=arguments.allow_other_tokenizer,
    )


def make_decoder(
    run: Run,
    arguments: RunArguments,
    search: SearchArguments,
    batch_size: int | None,
    world: World,
    share: Decoder | None = None,
    cuda_graphs: bool = True,
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
        dtype=named_dtype(arguments.dtype),
        sampling=search.sampling(),
        share=share,
        cuda_graphs=cuda_graphs,
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
    decoder: Decoder, records: Sequence[Record], paths: Sequence[Path], penalties: Sequence[float], world: World
) -> list[dict[str, list[Hypothesis]]]:
    """Search each distinct context that the journals beside the files don't hold yet, each on one rank.

    Args:
        decoder: model and settings.
        records: the data.
        paths: a file of predictions for each length penalty.
        penalties: the length penalties.
        world: this process among the ranks.

    Returns:
        For each penalty every context's hypotheses, on every rank.
    """
    contexts = list(dict.fromkeys(record.context for record in records))
    journals = [
        Journal(path, decoder.fingerprint(penalty), world.rank) for path, penalty in zip(paths, penalties, strict=True)
    ]
    # All ranks must have read all journals before any is written to, and agree on what is left to do.
    known = [context for context in contexts if all(context in journal.found for journal in journals)]
    found = world.from_main([{context: journal.found[context] for context in known} for journal in journals])
    todo = [context for context in contexts if context not in found[0]]
    if world.is_main and len(todo) < len(contexts):
        log.info("%d of %d contexts were decoded before; going on with the rest", len(found[0]), len(contexts))
    world.barrier()
    # Dealt out by length, so that ranks have equally much to do.
    mine = sorted(todo, key=lambda context: (len(context), context))[world.rank :: world.size]
    own: list[dict[str, list[Hypothesis]]] = [{} for _ in paths]
    with ExitStack() as stack:
        for journal in journals:
            stack.enter_context(journal)
        with progress_bar(total=len(mine), unit=" contexts", desc="decode", disable=not world.is_main) as bar:
            for index, rankings in decoder.decode_penalties(mine, penalties):
                for journal, ranking, hypotheses in zip(journals, own, rankings, strict=True):
                    journal.append(mine[index], hypotheses)
                    ranking[mine[index]] = hypotheses
                bar.update()
    for part in world.gather(own):
        for ranking, more in zip(found, part, strict=True):
            ranking.update(more)
    return list(found)
