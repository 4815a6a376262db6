"""A training run from its settings to its end, as the command and `lora_nlg.train` both have it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lora_nlg.api.building import build_trainer, describe_run, load_base_of, read_data
from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.api.train_settings import TrainSettings
from lora_nlg.distributed import World, be_deterministic, joined_world
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write
from lora_nlg.locking import locked
from lora_nlg.run_folder import CONFIG, TOKENIZER, prepare_run_folder, run_lock
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.training import (
    OpenTracker,
    Outcome,
    Trackers,
    Trainer,
    check_graph_mode,
    find_trackers,
    open_trackers,
)

log = logging.getLogger(__name__)


@naming_what_to_lower(
    "`train_batch_size` (a higher `grad_acc` keeps the global batch), `valid_batch_size` or `seq_len`, or add "
    "`gradient_checkpointing` true"
)
def run_training(settings: TrainSettings) -> Outcome:
    """Train, or continue, in the folder the settings name. Under `torchrun` every rank calls this.

    Returns:
        How it ended; after SIGINT or SIGTERM, when there is a snapshot of the last step.

    Raises:
        InputError: the settings, the base, the data or the folder can't be used, or the loss is no longer finite.
        OSError: the disk is full or can't be written.
    """
    if settings.run.deterministic:
        be_deterministic()
    with joined_world(settings.run.device) as world:
        return _train(settings, world)


def _train(settings: TrainSettings, world: World) -> Outcome:
    data, run = settings.data, settings.run
    if not world.is_main:
        logging.getLogger("lora_nlg").setLevel(logging.ERROR)
    check_graph_mode(run.cuda_graph, world.device)
    trackers = find_trackers(run.report_to)
    model, tokenizer, info = load_base_of(settings)
    window = info.method.window(model.config)
    if data.seq_len > window:
        log.info("%s leaves %d positions for text; longer examples lose their end", info.method, window)
    longest = min(window, data.longest(model.config.n_positions))
    train, train_sha256 = read_data(data.train_data, tokenizer, longest, data.obj)
    valid, valid_sha256 = read_data(data.valid_data, tokenizer, longest, data.obj) if data.valid_data else ([], "none")
    valid = valid[: data.valid_examples or None]
    hashes = {"train_data (sha256)": train_sha256, "valid_data (sha256)": valid_sha256}
    trainer = build_trainer(settings, model, tokenizer, info, train, valid, hashes, world)
    # After all checks of the settings: an old run may be removed.
    with _prepared_folder(Path(run.work_dir), run.resume, world):
        return _fit(trainer, settings, tokenizer, trackers, describe_run(settings, trainer, train, valid))


def _fit(
    trainer: Trainer, settings: TrainSettings, tokenizer: Tokenizer, trackers: list[OpenTracker], description: str
) -> Outcome:
    """Train in a folder that is ours; rank 0 leaves the run's record there."""
    folder, world = Path(settings.run.work_dir), trainer.world
    resumed = trainer.resume()
    if world.is_main:
        with atomic_write(folder / CONFIG) as file:
            file.write(settings.to_yaml())
        tokenizer.save(folder / TOKENIZER)
        log.info("%s", description)
        if resumed:
            log.info("resuming %s after step %d", folder, trainer.step)
    tracker, problem = Trackers(), ""
    if world.is_main:
        try:
            tracker = open_trackers(trackers, folder, trainer.step, settings.values())
        except InputError as error:
            problem = str(error)
    if problem := world.from_main(problem):
        world.fail(problem)
    outcome = trainer.fit(tracker)
    log.info("%s; written to %s", _summary(outcome, settings.loop.best_by, trainer.schedule.max_step), folder)
    return outcome


@contextmanager
def _prepared_folder(folder: Path, resume: str, world: World) -> Iterator[None]:
    """The run's folder, ready, and locked by the main rank; the others are told if it can't be."""
    problem = ""
    with ExitStack() as stack:
        if world.is_main:
            try:
                stack.enter_context(locked(run_lock(folder), f"`work_dir` {folder}"))
                for line in prepare_run_folder(folder, resume == "restart"):
                    log.info("%s", line)
            except (InputError, OSError) as error:
                problem = str(error)
        if problem := world.from_main(problem):
            world.fail(problem)
        yield


def _summary(outcome: Outcome, measure: str, max_step: int) -> str:
    best = outcome.best
    selected = "" if best.value is None else f"; best validation {measure} {best.value:.4f} at step {best.step}"
    return f"{outcome.reason} at step {outcome.step} of {max_step}{selected}"
