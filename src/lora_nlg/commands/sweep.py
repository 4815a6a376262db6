"""`lora-nlg sweep`: a grid of adapters on one frozen base, each a run of its own, with tables and a figure.

Under `torchrun`, or started several times with the same flags, the processes share the work.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.batching import Example, read_examples
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.commands.sweep_arguments import GenerateArguments, GridArguments, SweepArguments, train_config
from lora_nlg.corpora.record import read_records, write_records
from lora_nlg.decoding import BeamSettings
from lora_nlg.distributed import World, joined_world
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file, read_hashed, read_json_object, write_json
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods import LoRA
from lora_nlg.progress import progress_bar
from lora_nlg.run_folder import PREDICTIONS, predictions_lock
from lora_nlg.sweep import (
    FIGURE,
    RESULTS,
    Generation,
    Member,
    SweepSettings,
    Task,
    chosen_records,
    from_place,
    group_id,
    groups_of,
    member_folder,
    read_results,
    read_row,
    share_out,
    train_group,
    write_figure,
    write_member,
    write_results,
    write_row,
    write_table,
)
from lora_nlg.sweep.generation import DATA
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.weights.adapter import AdapterInfo, BaseInfo, TokenizerInfo, describe_base, describe_tokenizer
from lora_nlg.weights.base import load_base
from lora_nlg.weights.tensor_files import find_weights
from nlg_metrics.suites.e2e import make_suite

log = logging.getLogger(__name__)
PLAN, GENERATION_PLAN = "sweep.json", "generation.json"
GROUPS = "groups"
"""Folder of what unfinished groups keep, and of the locks of those at work."""


@dataclass(frozen=True)
class Sweep:
    """What this process works with.

    Attributes:
        arguments, settings: the flags.
        base: on `world.device`.
        tokenizer: its vocabulary.
        described: base and vocabulary, for the adapters' descriptions.
        train, valid: examples.
        world: the ranks.
    """

    arguments: SweepArguments
    settings: SweepSettings
    base: GPT2
    tokenizer: Tokenizer
    described: tuple[BaseInfo, TokenizerInfo]
    train: Sequence[Example]
    valid: Sequence[Example]
    world: World

    @property
    def folder(self) -> Path:
        """The sweep's."""
        return Path(self.arguments.work_dir)


@naming_flags()
@naming_what_to_lower("--group, --train_batch_size, --valid_batch_size or --seq_len")
def main(argv: Sequence[str]) -> int:
    """Train and decode what isn't yet, then write tables and figure; returns the exit status."""
    parsed = parse_arguments(
        "sweep",
        "Train a grid of (targets, r, alpha, scaling, dropout, lr, seed) on one frozen base, several in one forward "
        "pass; continues where it stopped.",
        argv,
        GridArguments,
        SweepArguments,
        SweepSettings,
        GenerateArguments,
        BeamSettings,
        skip=["end_ids"],
    )
    grid, arguments, settings, generate, search = parsed.groups
    members = grid.members()
    with joined_world(arguments.device) as world:
        if not world.is_main:
            logging.getLogger("lora_nlg").setLevel(logging.ERROR)
        sweep, plan = _load(arguments, settings, world)
        world.require_equal(plan, "configuration or input")
        _main_first(world, partial(check_plan, sweep.folder / PLAN, plan))
        generation = _generation(sweep, generate, search) if generate.generate else None
        share_out(_tasks(sweep, members, generation))
        world.barrier()
        if world.is_main:
            _report(sweep.folder)
    return 0


def _load(arguments: SweepArguments, settings: SweepSettings, world: World) -> tuple[Sweep, dict[str, Any]]:
    """Base, vocabulary and data, and all that decides a member's result but its own values."""
    if (folder := Path(arguments.work_dir)).exists() and not folder.is_dir():
        raise InputError(f"--work_dir {folder} is a file; name a folder")
    files = [existing_file(getattr(arguments, name), f"--{name}") for name in ("train_data", "valid_data")]
    vocabulary = arguments.tokenizer or find_weights(arguments.init_checkpoint).parent
    tokenizer = load_tokenizer(vocabulary)
    base = load_base(arguments.init_checkpoint)
    window = base.config.n_positions
    if tokenizer.vocab_size > base.config.vocab_size or arguments.seq_len > window:
        raise InputError(
            f"the base has {base.config.vocab_size} embeddings and {window} positions; the vocabulary "
            f"has {tokenizer.vocab_size} ids and --seq_len is {arguments.seq_len}; neither may be more"
        )
    described = describe_base(base, arguments.init_checkpoint), describe_tokenizer(tokenizer, vocabulary)
    (train, train_sha256), (valid, valid_sha256) = (
        read_hashed(file, partial(read_examples, file, tokenizer, arguments.seq_len or window)) for file in files
    )
    valid = valid[: arguments.valid_examples or None]
    plan = {
        **settings.to_json(),
        "seq_len": arguments.seq_len,
        "valid_examples": len(valid),
        "base": described[0].sha256,
        "vocabulary": tokenizer.sha256,
        "data": [train_sha256, valid_sha256],
    }
    base.requires_grad_(False)
    return Sweep(arguments, settings, base.to(world.device), tokenizer, described, train, valid, world), plan


def _generation(sweep: Sweep, generate: GenerateArguments, search: BeamSettings) -> Generation:
    """What decodes, its records in the sweep's folder."""
    flag = "--generate_data" if generate.generate_data else "--valid_data"
    file = existing_file(generate.generate_data or sweep.arguments.valid_data, flag)
    records, data = chosen_records(read_records(file), generate.generate_contexts), sweep.folder / DATA
    content = json.dumps([asdict(record) for record in records])
    plan = {"records": hashlib.sha256(content.encode()).hexdigest(), **asdict(search)}

    def prepare() -> None:
        check_plan(sweep.folder / GENERATION_PLAN, plan)
        write_records(data, records)

    _main_first(sweep.world, prepare)
    return Generation(sweep.base, sweep.tokenizer, records, data, search, e2e_bleu)


def e2e_bleu(data: Path, predictions: Path) -> float:
    """BLEU as eval/e2e.py gives it; 0 where outputs too short have none."""
    suite = make_suite(["BLEU"])
    segments = suite.read_predictions(str(data), str(predictions), "contexts")
    value = suite.metrics["BLEU"].score(segments.hypotheses, segments.references).value
    return value if abs(value) < float("inf") else 0.0


def _main_first(world: World, prepare: Callable[[], None]) -> None:
    """Have the main rank prepare what all need; the others are told if it can't be."""
    problem = ""
    if world.is_main:
        try:
            prepare()
        except (InputError, OSError) as error:
            problem = str(error)
    if problem := world.from_main(problem):
        world.fail(problem)


def check_plan(path: Path, plan: dict[str, Any]) -> None:
    """Refuse to mix members of different settings in one folder; the grid itself may grow."""
    if not path.is_file():
        write_json(path, plan)
        return
    before = read_json_object(path)
    if differ := [name for name in plan if name not in before or before[name] != plan[name]]:
        shown = "; ".join(f"{name}: {before.get(name)} there, {plan[name]} now" for name in differ)
        raise InputError(f"{path.parent} holds members with other settings ({shown:.600}); use another --work_dir")


def _tasks(sweep: Sweep, members: Sequence[Member], generation: Generation | None) -> list[Task]:
    """What there is to do: the groups, as the main rank sees them, and the members to decode."""
    world, folder = sweep.world, sweep.folder
    done = world.from_main({row["name"] for row in read_results(folder)} if world.is_main else set())
    # Of all members, done or not: so a process that comes later makes the same groups.
    groups = [
        [member for member in group if member.name not in done] for group in groups_of(members, sweep.arguments.group)
    ]
    left, steps = sum(len(group) for group in groups), sweep.settings.max_step
    log.info("%d members, %d of them done; %d steps each, at most %d together", len(members),
             len(members) - left, steps, sweep.arguments.group)  # fmt: skip
    bar = progress_bar(total=left * steps, desc="sweep", unit="member-step", disable=not (world.is_main and left))
    tasks = from_place([_training(sweep, group, bar) for group in groups if group], world.rank, world.size)
    if generation is not None:
        decoding = [_decoding(folder, member, generation) for member in sorted(members)]
        tasks += from_place(decoding, world.rank, world.size)
    return tasks


def _training(sweep: Sweep, members: Sequence[Member], bar: tqdm[Any]) -> Task:
    name, folder = group_id(members), sweep.folder

    def run() -> None:
        start = time.perf_counter()
        own = folder / GROUPS / name
        found = train_group(sweep.base, members, sweep.train, sweep.valid, sweep.settings, own, bar)
        for member, trained in zip(members, found, strict=True):
            if trained.model is not None:
                place = member_folder(folder, member.name)
                info = AdapterInfo(LoRA(member.specs()), *sweep.described)
                config = train_config(member, sweep.arguments, sweep.settings, str(place))
                write_member(place, trained, info, sweep.tokenizer, config)
        seconds = round((time.perf_counter() - start) / len(members), 2)
        for member, trained in zip(members, found, strict=True):
            write_row(folder, {"name": member.name, **trained.row, "seconds": seconds})
        shutil.rmtree(own, ignore_errors=True)

    return Task(
        lock=folder / GROUPS / f"{name}.lock",
        is_done=lambda: all(read_row(folder, member.name) for member in members),
        is_ready=lambda: True,
        run=run,
    )


def _decoding(folder: Path, member: Member, generation: Generation) -> Task:
    place = member_folder(folder, member.name)

    def is_done() -> bool:
        row = read_row(folder, member.name)
        return row is not None and (row["diverged"] or row["bleu"] is not None)

    def run() -> None:
        bleu = generation.bleu(place)
        write_row(folder, {**(read_row(folder, member.name) or {}), "bleu": bleu})

    return Task(
        lock=predictions_lock(place / PREDICTIONS),
        is_done=is_done,
        is_ready=lambda: read_row(folder, member.name) is not None,
        run=run,
    )


def _report(folder: Path) -> None:
    """Write the tables and the figure, and print the first."""
    with suppress(OSError):  # not empty: another sweep is at work, or groups were never finished
        (folder / GROUPS).rmdir()
    results = read_results(folder)  # of all its members: a study can be put together from several grids
    write_results(folder, results)
    table, figure = write_table(folder, results), write_figure(folder / FIGURE, results)
    print(table.read_text(encoding="utf-8"))
    shown = figure or "no figure, since every member diverged"
    print(f"{folder / RESULTS}: {len(results)} members; {table}; {shown}")
