"""`lora-nlg sweep`: a grid of adapters on one frozen base in one process, with a table and a figure."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.batching import Example, read_examples
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.distributed import pick_device
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file, read_hashed, read_json_object, write_json, write_jsonl
from lora_nlg.gpt2 import GPT2
from lora_nlg.progress import progress_bar
from lora_nlg.sweep.engine import train_group
from lora_nlg.sweep.grid import Member, expand_grid
from lora_nlg.sweep.plots import FIGURE, write_figure
from lora_nlg.sweep.results import RESULTS, read_results, write_table
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.adapter import (
    AdapterInfo,
    BaseInfo,
    TokenizerInfo,
    describe_base,
    describe_tokenizer,
    save_adapter,
)
from lora_nlg.weights.base import load_base
from lora_nlg.weights.tensor_files import find_weights

log = logging.getLogger(__name__)
PLAN = "sweep.json"


@dataclass(frozen=True)
class GridArguments:
    """The grid: every combination of these comma-separated values is trained."""

    lora_dim: str = "1,4,16"
    """Ranks r."""
    lora_alpha: str = "32"
    """Alphas: numbers, or multiples of the rank such as 2r."""
    lora_scaling: str = "alpha/r"
    """Scaling rules: alpha/r, rslora (alpha/sqrt r), none."""
    lr: str = "1e-4,1e-3,1e-2"
    """Peak learning rates."""
    random_seed: str = "1"
    """Seeds."""

    def members(self) -> list[Member]:
        """The grid's members."""
        return expand_grid(
            _numbers("lora_dim", self.lora_dim, int),
            _parts(self.lora_alpha),
            _parts(self.lora_scaling),
            _numbers("lr", self.lr, float),
            _numbers("random_seed", self.random_seed, int),
        )


@dataclass(frozen=True)
class SweepArguments:
    """What to train on and where to; how many members at once."""

    train_data: str
    """Prepared JSONL records to train on."""
    valid_data: str
    """Prepared JSONL records to validate on; the final validation loss is the result."""
    init_checkpoint: str
    """The frozen base: folder or file."""
    work_dir: str
    """Folder for results.jsonl, table.md, scaling.png and the members' adapters; continued if it is there."""
    tokenizer: str | None = None
    """Vocabulary. Default: the one beside --init_checkpoint."""
    seq_len: int = 512
    """Longest input in tokens."""
    valid_examples: int = 0
    """Validate on the first so many examples; 0 takes all."""
    group: int = 8
    """Members trained in one forward pass."""
    save_adapters: bool = False
    """Keep every member's adapter, from which decode works."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        for name in ("group", "seq_len"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.valid_examples < 0:
            raise InputError(f"--valid_examples must be at least 0 (all), got {self.valid_examples}")


@naming_flags()
@naming_what_to_lower("--group, --train_batch_size, --valid_batch_size or --seq_len")
def main(argv: Sequence[str]) -> int:
    """Train what isn't trained yet, then write table and figure; returns the exit status."""
    parsed = parse_arguments(
        "sweep",
        "Train a grid of (r, alpha, lr, scaling, seed) on one frozen base in one process; continues where it stopped.",
        argv,
        GridArguments,
        SweepArguments,
        SweepSettings,
    )
    grid, arguments, settings = parsed.groups
    members = grid.members()
    folder = Path(arguments.work_dir)
    device = pick_device(arguments.device)
    vocabulary = arguments.tokenizer or find_weights(arguments.init_checkpoint).parent
    tokenizer = load_tokenizer(vocabulary)
    base = load_base(arguments.init_checkpoint)
    if tokenizer.vocab_size > base.config.vocab_size or arguments.seq_len > base.config.n_positions:
        raise InputError(
            f"the base has {base.config.vocab_size} embeddings and {base.config.n_positions} positions; the vocabulary "
            f"has {tokenizer.vocab_size} ids and --seq_len is {arguments.seq_len}; neither may be more"
        )
    described = describe_base(base, arguments.init_checkpoint), describe_tokenizer(tokenizer, vocabulary)
    files = [existing_file(getattr(arguments, name), f"--{name}") for name in ("train_data", "valid_data")]
    (train, train_sha256), (valid, valid_sha256) = (
        read_hashed(file, partial(read_examples, file, tokenizer, arguments.seq_len)) for file in files
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
    _check_plan(folder, plan)
    done = {row["name"] for row in read_results(folder)}
    todo = [member for member in members if member.name not in done]
    log.info("%d members, %d of them done; %d steps each, %d together", len(members), len(members) - len(todo),
             settings.max_step, arguments.group)  # fmt: skip
    base.requires_grad_(False)
    run_groups(base.to(device), todo, train, valid, arguments, settings, described)
    results = read_results(folder)  # of all its members: a study can be put together from several grids
    table, figure = write_table(folder, results), write_figure(folder / FIGURE, results)
    print(table.read_text(encoding="utf-8"))
    shown = figure or "no figure, since every member diverged"
    print(f"{folder / RESULTS}: {len(results)} members; {table}; {shown}")
    return 0


def run_groups(
    base: GPT2,
    todo: Sequence[Member],
    train: Sequence[Example],
    valid: Sequence[Example],
    arguments: SweepArguments,
    settings: SweepSettings,
    described: tuple[BaseInfo, TokenizerInfo],
) -> None:
    """Train members group by group, adding each group's results to `results.jsonl` as it ends.

    Args:
        base: the frozen base, on the device to train on.
        todo: the members without a result.
        train, valid: examples.
        arguments: where to, and how many together.
        settings: what they share.
        described: base and vocabulary, for the adapters' descriptions.
    """
    folder = Path(arguments.work_dir)
    with progress_bar(total=len(todo) * settings.max_step, desc="sweep", unit="member-step") as bar:
        for first in range(0, len(todo), arguments.group):
            members = todo[first : first + arguments.group]
            start = time.perf_counter()
            results, models = train_group(base, members, train, valid, settings, folder, bar)
            seconds = round((time.perf_counter() - start) / len(members), 2)
            if arguments.save_adapters:
                _save_adapters(folder / "members", members, results, models, settings, described)
            rows = [{"name": m.name, **row, "seconds": seconds} for m, row in zip(members, results, strict=True)]
            write_jsonl(folder / RESULTS, [*read_results(folder), *rows])
            for snapshot in folder.glob("group-*.safetensors"):  # its own, and those of parts of it
                snapshot.unlink()


def _save_adapters(
    folder: Path,
    members: Sequence[Member],
    results: Sequence[dict[str, Any]],
    models: Sequence[GPT2],
    settings: SweepSettings,
    described: tuple[BaseInfo, TokenizerInfo],
) -> None:
    for member, model, row in zip(members, models, results, strict=True):
        if not row["diverged"]:
            specs = dict.fromkeys(settings.targets, member.spec(settings.lora_dropout))
            extra = {"valid_loss": row["valid_loss"]}
            save_adapter(folder / member.name, model, AdapterInfo(specs, *described, step=row["steps"], extra=extra))


def _check_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Refuse to mix members of different settings in one folder; the grid itself may grow."""
    path = folder / PLAN
    if path.is_file():
        before = {"dtype": "fp32", **read_json_object(path)}  # what was the only type at first isn't written there
        if differ := [name for name in plan if before.get(name) != plan[name]]:
            shown = "; ".join(f"{name}: {before.get(name)} there, {plan[name]} now" for name in differ)
            raise InputError(f"{folder} holds members trained with other settings ({shown}); use another --work_dir")
    else:
        os.makedirs(folder, exist_ok=True)
        write_json(path, plan)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(flag: str, text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in _parts(text)]
    except ValueError:
        raise InputError(f"--{flag} takes numbers separated by commas, got {text!r}") from None
