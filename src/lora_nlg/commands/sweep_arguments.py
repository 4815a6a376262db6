"""The flags of `lora-nlg sweep` that are its own, and a member's as `lora-nlg train` would be given them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lora_nlg.api.fields import settings_from
from lora_nlg.api.train_settings import GROUPS, TrainSettings
from lora_nlg.errors import InputError
from lora_nlg.sweep import Member, SweepSettings, expand_grid, parse_target_lists


@dataclass(frozen=True)
class GridArguments:
    """The grid: every combination of these comma-separated values is trained."""

    lora_targets: str = "q+v"
    """Lists of targets, those of one list joined by +: q+v,q,v,q+k+v+o are four."""
    lora_dim: str = "1,4,16"
    """Ranks r."""
    lora_alpha: str = "32"
    """Alphas: numbers, or multiples of the rank such as 2r (the paper's NLU rule; its NLG code has 128)."""
    lora_scaling: str = "alpha/r"
    """Scaling rules: alpha/r, rslora (alpha/sqrt r), none."""
    lora_dropout: str = "0"
    """Dropouts on the input of the low-rank branch."""
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
            parse_target_lists(self.lora_targets),
            _numbers("lora_dropout", self.lora_dropout, float),
        )


@dataclass(frozen=True)
class SweepArguments:
    """What to train on and where to; how many members at once."""

    train_data: str
    """Prepared JSONL records to train on."""
    valid_data: str
    """Prepared JSONL records to validate on."""
    init_checkpoint: str
    """The frozen base: folder or file."""
    work_dir: str
    """Folder for the members' runs (members/NAME), results.json, results.csv, table.md and scaling.png; continued if it
    is there, by as many processes as are started with it."""
    tokenizer: str | None = None
    """Vocabulary. Default: the one beside --init_checkpoint."""
    seq_len: int = 512
    """Longest input in tokens; 0 takes the model's positions."""
    valid_examples: int = 0
    """Validate on the first so many examples; 0 takes all."""
    group: int = 8
    """Members of equal targets and dropout trained in one forward pass, at most."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        for name, least in (("group", 1), ("seq_len", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.valid_examples < 0:
            raise InputError(f"--valid_examples must be at least 0 (all), got {self.valid_examples}")


@dataclass(frozen=True)
class GenerateArguments:
    """Validation by generation, once a member is trained."""

    generate: bool = False
    """Decode with every member as `lora-nlg decode` does, in fp32 by its last adapter, and score BLEU as eval/e2e.py
    does; can be added to a sweep that is done."""
    generate_data: str | None = None
    """Prepared JSONL records to decode. Default: --valid_data."""
    generate_contexts: int = 0
    """Decode the first so many distinct contexts; 0 takes all."""

    def __post_init__(self) -> None:
        if self.generate_contexts < 0:
            raise InputError(f"--generate_contexts must be at least 0 (all), got {self.generate_contexts}")
        if self.generate_data is not None and not self.generate:
            raise InputError("--generate_data is decoded only with --generate true")


def train_config(member: Member, arguments: SweepArguments, settings: SweepSettings, work_dir: str) -> str:
    """The `config.yaml` that `lora-nlg train` would leave for a member.

    Args:
        member: it.
        arguments, settings: the sweep's.
        work_dir: the member's folder.
    """
    flags: dict[str, Any] = {
        **asdict(settings),
        **{name: getattr(arguments, name) for name in ("train_data", "valid_data", "init_checkpoint", "device")},
        **{name: getattr(arguments, name) for name in ("seq_len", "valid_examples")},
        **({} if arguments.tokenizer is None else {"tokenizer": arguments.tokenizer}),
        "work_dir": work_dir,
        "lora_targets": member.targets.replace("+", ","),
        "lora_dim": member.r,
        "lora_alpha": member.alpha,
        "lora_scaling": member.rule,
        "lora_dropout": member.dropout,
        "lr": member.lr,
        "random_seed": member.seed,
    }
    return TrainSettings.of(*settings_from(GROUPS, flags)).to_yaml()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(flag: str, text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in _parts(text)]
    except ValueError:
        raise InputError(f"--{flag} takes numbers separated by commas, got {text!r}") from None
