"""`lora-nlg decode`: beam-search the contexts of a prepared file with a trained run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nlg.api.decoding import CheckpointSettings, TextSettings, make_decoder, open_run
from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.corpora.record import Record, read_records
from lora_nlg.decoding import (
    BeamSettings,
    Hypothesis,
    SamplingSettings,
    decode_records,
    remove_journals,
    write_predictions,
)
from lora_nlg.decoding.provenance import Hashed, describe, keep_other, write_config
from lora_nlg.distributed import World, joined_world
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file, is_stream, read_hashed
from lora_nlg.locking import locked
from lora_nlg.run_folder import ADAPTER, PREDICTIONS, predictions_lock, ranked_predictions
from lora_nlg.weights.run import Run

log = logging.getLogger(__name__)


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
    cuda_graph: bool = True
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
        """`more_length_penalties` as numbers.

        Raises:
            InputError: one is none.
        """
        try:
            return [float(part) for part in str(self.more_length_penalties or "").split(",") if part.strip()]
        except ValueError:
            raise InputError(
                f"--more_length_penalties must be numbers like 0.6,1.0, got {self.more_length_penalties!r}"
            ) from None


@naming_flags()
@naming_what_to_lower("--batch_size, --beam or --eval_len")
def main(argv: Sequence[str]) -> int:
    """Decode and write predictions; returns the exit status."""
    parsed = parse_arguments(
        "decode",
        "Beam-search the contexts of a prepared file with a trained run; an interrupted decode goes on where it was.",
        argv,
        CheckpointSettings,
        DecodeArguments,
        BeamSettings,
        TextSettings,
        SamplingSettings,
        skip=["end_ids"],
    )
    run_arguments, arguments, search, text, sampling = parsed.groups
    checkpoints = split_checkpoints(run_arguments)
    penalties = list(dict.fromkeys([search.length_penalty, *arguments.further_penalties()]))
    if text.sample and len(penalties) > 1:
        raise InputError("--sample draws samples, which --more_length_penalties can't rank; leave one of them out")
    outputs = {}
    for checkpoint in checkpoints:
        path = output_path(checkpoint, arguments.out, several=len(checkpoints) > 1)
        outputs[checkpoint] = [path, *(ranked_predictions(path, penalty) for penalty in penalties[1:])]
        check_outputs(outputs[checkpoint])
    data = existing_file(arguments.data, "--data")
    records, data_sha256 = read_hashed(data, lambda: read_records(data))
    share, run = None, None
    with joined_world(run_arguments.device) as world:
        for checkpoint in checkpoints:
            run, adapter_sha256 = _open_hashed(run_arguments, checkpoint, run)
            share = decoder = make_decoder(
                run,
                run_arguments,
                search,
                text,
                sampling,
                world=world,
                batch_size=arguments.batch_size,
                share=share,
                cuda_graph=arguments.cuda_graph,
            )
            about = Hashed(checkpoint, adapter_sha256), Hashed(arguments.data, data_sha256)
            paths = outputs[checkpoint]
            with _locked(paths, world):
                rankings = decode_records(decoder, records, paths, penalties, world)
                for path, penalty, found in zip(paths, penalties, rankings, strict=True):
                    if world.is_main:
                        _write(path, records, found, describe(decoder, penalty, run.info, *about))
                        log.info(
                            "%d predictions (%d distinct contexts): %s%s",
                            len(records), len(found), path, unfinished(records, found, search.eval_len),
                        )  # fmt: skip
    return 0


def check_outputs(paths: Sequence[Path]) -> None:
    """Refuse, before any work, files that can't be written.

    Raises:
        InputError: one is a folder, or several would go into one pipe.
    """
    for path in paths:
        if path.is_dir():
            raise InputError(f"--out {path} is a folder; name a file, such as {path / PREDICTIONS}")
    if len(paths) > 1 and is_stream(paths[0]):
        raise InputError(
            f"--out {paths[0]} is no regular file and takes one ranking; leave out --more_length_penalties"
        )


@contextmanager
def _locked(paths: Sequence[Path], world: World) -> Iterator[None]:
    """The main rank locks the files of predictions; the others are told if it can't."""
    problem = ""
    with ExitStack() as stack:
        if world.is_main:
            try:
                for path in paths:
                    if not is_stream(path):
                        stack.enter_context(locked(predictions_lock(path), f"--out {path}"))
            except (InputError, OSError) as error:
                problem = str(error)
        if problem := world.from_main(problem):
            world.fail(problem)
        yield


def _write(
    path: Path, records: Sequence[Record], found: Mapping[str, list[Hypothesis]], description: dict[str, Any]
) -> None:
    if is_stream(path):  # nothing lies beside a pipe
        write_predictions(path, records, found)
        return
    if kept := keep_other(path, description):
        log.warning("%s", kept)
    write_predictions(path, records, found)
    write_config(path, description)
    remove_journals(path)


def unfinished(records: Sequence[Record], found: Mapping[str, list[Hypothesis]], eval_len: int) -> str:
    """How many best outputs were cut off by the length limit, and what to do; empty if none was."""
    cut = sum(not found[record.context][0].finished for record in records)
    if not cut:
        return ""
    return (
        f"; warning: {cut} of {len(records)} outputs reached --eval_len {eval_len} without an end token: raise it, or "
        "see whether the model learnt to stop (references cut by --seq_len in training teach it not to)"
    )


def _open_hashed(arguments: CheckpointSettings, checkpoint: str, before: Run | None) -> tuple[Run, str]:
    """A run, and the SHA-256 of the adapter that was read; empty for a run without one."""
    adapter = Path(checkpoint) / ADAPTER if Path(checkpoint).is_dir() else Path(checkpoint)
    if not adapter.is_file():
        return open_run(arguments, checkpoint, before), ""
    return read_hashed(adapter, lambda: open_run(arguments, checkpoint, before))


def split_checkpoints(arguments: CheckpointSettings) -> list[str]:
    """The runs that `--checkpoint` names.

    Raises:
        InputError: it names none.
    """
    parts = arguments.checkpoint.split(",")
    checkpoints = []
    while parts:
        # A run's own name may hold commas: the longest that is there. Many runs together are longer than a name may be,
        # which `Path.exists` would raise.
        lengths = (n for n in range(len(parts), 1, -1) if os.path.exists(",".join(parts[:n]).strip()))
        taken = next(lengths, 1)
        checkpoints.append(",".join(parts[:taken]).strip())
        parts = parts[taken:]
    checkpoints = [name for name in checkpoints if name]
    if not checkpoints:
        raise InputError("--checkpoint: no run directory given")
    return checkpoints


def output_path(checkpoint: str, out: str | None, several: bool) -> Path:
    """Where a run's predictions go.

    Raises:
        InputError: several runs and a file that exists where their folder should be.
    """
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    if out is None:
        return folder / PREDICTIONS
    if not several:
        return Path(out)
    if Path(out).is_file():
        raise InputError(f"--out {out} is a file; several runs need a folder")
    return Path(out) / f"{checkpoint.strip('/').replace('/', '_')}.jsonl"
