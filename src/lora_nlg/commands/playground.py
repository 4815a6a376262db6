"""`lora-nlg playground`: a page to try runs on, in the browser of this machine."""

from __future__ import annotations

import logging
import shlex
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lora_nlg.api.decoding import CheckpointSettings, as_trained, open_run
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.commands.decode import split_checkpoints
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings, SamplingSettings
from lora_nlg.distributed import pick_device
from lora_nlg.dtypes import named_dtype
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file, read_json, read_yaml
from lora_nlg.playground import Corpus, Playground, Question, SlotState, load_systems
from lora_nlg.run_folder import CONFIG, PREDICTIONS, predictions_config
from lora_nlg.weights.run import Run
from nlg_metrics.errors import InputError as MetricsInputError
from nlg_metrics.metrics.e2e_slots import parse_context
from nlg_metrics.metrics.slot_error_rate import slot_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlaygroundArguments:
    """The page."""

    data: str | None = None
    """Prepared JSONL records whose contexts are on offer. Default: those the first run was decoded on, or validated
    with."""
    port: int = 0
    """Port on 127.0.0.1; 0 takes one that is free."""
    open_browser: bool = True
    """Open the page in the browser; False only prints its address."""


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Serve the page until Ctrl-C; returns the exit status.

    Raises:
        InputError: what the page needs isn't installed, or a run or data that can't be read.
    """
    parsed = parse_arguments(
        "playground",
        "Try runs on a local page: ask them, turn alpha/r, rank anew, compare. Stops with Ctrl-C.",
        argv,
        CheckpointSettings,
        PlaygroundArguments,
    )
    run_arguments, arguments = parsed.groups
    try:
        from lora_nlg.playground import server
    except ModuleNotFoundError as error:
        raise InputError(
            f"the playground needs {error.name}, which isn't installed; `make playground` installs it, and so does "
            "pip install -r requirements-playground.txt"
        ) from None
    checkpoints = list(dict.fromkeys(split_checkpoints(run_arguments)))
    data = arguments.data or recorded_data(checkpoints[0])
    corpus = Corpus.of(read_records(existing_file(data, "--data"))) if data else Corpus()
    listening = server.listening_socket(arguments.port)
    runs: dict[str, Run] = {}
    before = None
    for checkpoint in checkpoints:
        runs[checkpoint] = before = open_run(replace(run_arguments, scale_factor=1.0), checkpoint, before)
    systems = load_systems(runs, pick_device(run_arguments.device), named_dtype(run_arguments.dtype))
    playground = Playground(
        systems, corpus, e2e_states, lambda question: shell_command(question, run_arguments), as_trained
    )
    address = f"http://{server.HOST}:{listening.getsockname()[1]}/"
    log.info("playground at %s (Ctrl-C stops it)", address)
    if arguments.open_browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        server.serve(playground, listening, run_arguments.scale_factor)
    except KeyboardInterrupt:  # uvicorn raises it again once it has closed down
        log.info("stopped")
    return 0


def recorded_data(checkpoint: str) -> str | None:
    """The data a run was decoded on, or else validated with, if it says so and it is still there."""
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    places = []
    for file, read, keys in (
        (predictions_config(folder / PREDICTIONS), read_json, ("data", "path")),
        (folder / CONFIG, read_yaml, ("valid_data",)),
    ):
        try:
            value = read(file)
        except InputError:  # absent or damaged, which is not what this command is about
            continue
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        places.append(value)
    return next((place for place in places if isinstance(place, str) and Path(place).is_file()), None)


def e2e_states(context: str, text: str) -> list[SlotState] | None:
    """The states of an E2E context's slots as the slot error rate counts them; None for another corpus' context."""
    try:
        slots = parse_context(context)
    except MetricsInputError:
        return None
    errors = slot_errors(context, text)
    missing = {item.partition(": ")[0] for item in errors.missing}
    wrong = {item.partition(": ")[0]: item.rpartition(" -> ")[2] for item in errors.wrong}
    states = []
    for slot, value in slots.items():
        if slot in wrong:
            states.append(SlotState(slot, value, "wrong", wrong[slot]))
        else:
            states.append(SlotState(slot, value, "missing" if slot in missing else "said"))
    added = (item.partition(": ") for item in errors.added)
    return states + [SlotState(slot, value, "added") for slot, _, value in added]


def shell_command(question: Question, arguments: CheckpointSettings) -> str:
    """`lora-nlg generate` that gives a question's answer, all but its length penalty."""
    words = ["lora-nlg", "generate", question.context, "--checkpoint", question.system]
    words += _flags(replace(arguments, checkpoint="", scale_factor=question.factor), skip=["checkpoint"])
    words += _flags(question.search, skip=["end_ids", "length_penalty"])
    if question.sampling:
        words += ["--sample", "true", *_flags(question.sampling)]
    return shlex.join(words)


def _flags(settings: CheckpointSettings | BeamSettings | SamplingSettings, skip: Sequence[str] = ()) -> list[str]:
    """The fields that differ from their defaults."""
    words = []
    for own in fields(settings):
        value = getattr(settings, own.name)
        if own.name not in skip and value != own.default:
            words += [f"--{own.name}", value if isinstance(value, str) else str(value).lower().removesuffix(".0")]
    return words
