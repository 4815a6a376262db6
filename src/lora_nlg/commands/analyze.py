"""`lora-nlg analyze`: what updates of trained runs are: the dial alpha/r, size, shape, amplification, similarity."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_nlg.analysis.dial import FACTORS, is_plain_lora, turn, turn_together
from lora_nlg.analysis.plots import write_figures
from lora_nlg.analysis.results import FORMAT, RESULTS, TABLE, Place, as_json, compared, parts_of, whole_norm
from lora_nlg.analysis.tables import markdown
from lora_nlg.analysis.updates import Update, updates_between, updates_of
from lora_nlg.api.decoding import CheckpointSettings, open_run
from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.batching import read_examples, validation_batches
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding.validation import GenerationSettings, GenerationValidation
from lora_nlg.distributed import World, pick_device
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, existing_file, read_yaml, write_json
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import adapted_layers
from lora_nlg.lora.batched import Rows
from lora_nlg.methods import is_plain
from lora_nlg.run_folder import ANALYSIS, CONFIG
from lora_nlg.training import LossValidation
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.together import validate_together
from lora_nlg.weights.base import base_hash, load_base
from lora_nlg.weights.run import Run, has_diverged, require_run
from nlg_metrics.metrics.bleu import ClippedBleu

log = logging.getLogger(__name__)
LONG_NAME = 24
"""Characters of a run's name that fit above a figure."""


@dataclass(frozen=True)
class AnalyzeArguments:
    """What to look at, and where the results go."""

    out: str | None = None
    """Folder for analysis.json, analysis.md and the figures. Default: `analysis` in the run, or beside several runs."""
    layer: int | None = None
    """Block whose subspaces are drawn. Default: the middle one."""
    init_checkpoint: str | None = None
    """Where the base is. Default: where each run says it was."""
    tokenizer: str | None = None
    """Where the vocabulary is. Default: in each run, or beside its base."""
    allow_other_base: bool = False
    """Accept a base of equal shape with other values than a run was trained on."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N: where the dial is measured."""
    threads: int | None = None
    """CPU threads. Default: torch's."""


@dataclass(frozen=True)
class DialArguments:
    """The dial: loss and BLEU with the update multiplied."""

    scales: str = ",".join(f"{factor:g}" for factor in FACTORS)
    """Factors of the trained update, separated by commas: 0 is the base, 1 as trained. Empty: no dial."""
    valid_data: str | None = None
    """Prepared JSONL records to measure on. Default: what each run was validated with, if it says so."""
    valid_examples: int = 0
    """Take the loss of the first so many examples; 0 takes all."""
    valid_batch_size: int = 16
    """Examples of a batch."""
    seq_len: int = 512
    """Longest input in tokens; the model's positions if they are fewer."""
    contexts: int = 50
    """Beam-search the first so many distinct contexts for BLEU; 0: loss alone."""
    beam: int = 4
    """Beam size."""
    eval_len: int = 64
    """Most tokens generated."""

    def __post_init__(self) -> None:
        for name, least in (
            *(("valid_examples", 0), ("contexts", 0)),
            *(("valid_batch_size", 1), ("seq_len", 2), ("beam", 1), ("eval_len", 1)),
        ):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        self.factors()

    def factors(self) -> list[float]:
        """`scales` as numbers.

        Raises:
            InputError: one is none, or below 0.
        """
        try:
            found = [float(part) for part in self.scales.split(",") if part.strip()]
        except ValueError:
            raise InputError(f"`scales` must be numbers like 0,0.5,1, got {self.scales!r}") from None
        if wrong := [factor for factor in found if not 0 <= factor < float("inf")]:
            raise InputError(f"`scales` must be 0 (the base) or more, got {wrong[0]}")
        return found


@naming_flags()
@naming_what_to_lower("--valid_batch_size, --beam or --seq_len")
def main(argv: Sequence[str]) -> int:
    """Analyse, print the tables and write everything; returns the exit status."""
    parsed = parse_arguments(
        "analyze",
        "What the updates of trained runs are: the dial alpha/r, size and shape by layer, what they amplify, and what "
        "the first run shares with each other (Hu et al. 2021, section 7).",
        argv,
        AnalyzeArguments,
        DialArguments,
        positionals={"runs": {"nargs": "+", "type": str, "help": "Runs or adapters; the first is compared with each."}},
        skip=["factors"],
    )
    arguments, dial = parsed.groups
    named = [Path(name) for name in parsed.positionals["runs"]]
    places = [place for place in named if not _is_passed_over(place)] or named
    labels = run_labels(places)
    folder = Path(arguments.out) if arguments.out else _default_folder(places)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; name a folder")
    for place in places:
        require_run(place)
    folder.mkdir(parents=True, exist_ok=True)
    study = analyse(places, labels, arguments, dial)
    for entry, place in zip(study["runs"], places, strict=True):
        entry["folder"] = os.path.relpath(place.resolve(), folder.resolve())
    study = as_json(study)
    write_json(folder / RESULTS, study)
    figures = write_figures(folder, study)
    table = markdown(study)
    with atomic_write(folder / TABLE) as file:
        file.write(table)
    print(table)
    print(f"{folder / RESULTS}; {TABLE}; figures: {', '.join(figure.name for figure in figures)}")
    return 0


def _is_passed_over(place: Path) -> bool:
    """Whether what `members/*` names is no run: the folder of the analysis before, or a member that diverged."""
    if has_diverged(place):
        log.warning("%s diverged and has no adapter: passed over", place)
        return True
    return place.name == ANALYSIS and (place / RESULTS).is_file()


def run_labels(places: Sequence[Path]) -> list[str]:
    """What the runs are called: their paths from the folder they share; of one run its folder's name.

    Of long names, as a sweep's members have, the words that all share are left out.

    Raises:
        InputError: a run is given twice.
    """
    paths = [place.resolve() for place in places]
    if twice := [place for place, path in zip(places, paths, strict=True) if paths.count(path) > 1]:
        raise InputError(f"{twice[0]} is given twice; name each run once")
    shared = os.path.commonpath([path.parent for path in paths])
    names = [os.path.relpath(path, shared) for path in paths]
    words = [name.split("-") for name in names]
    if len(names) == 1 or max(map(len, names)) <= LONG_NAME or len(set(map(len, words))) > 1:
        return names
    telling = [column for column in zip(*words, strict=True) if len(set(column)) > 1]
    return ["-".join(own) for own in zip(*telling, strict=True)]


def _default_folder(places: Sequence[Path]) -> Path:
    if len(places) == 1:
        return (places[0] if places[0].is_dir() else places[0].parent) / ANALYSIS
    return Path(os.path.commonpath([place.resolve().parent for place in places])) / ANALYSIS


def analyse(
    places: Sequence[Path], labels: Sequence[str], arguments: AnalyzeArguments, dial: DialArguments
) -> dict[str, Any]:
    """The study of the runs, as `analysis.results` describes it, without the folders."""
    notes: list[str] = []
    entries: list[dict[str, Any]] = []
    found: list[tuple[str, list[Update]]] = []
    weight_values: dict[str, dict[Place, torch.Tensor]] = {}
    run = None
    for place, label in zip(places, labels, strict=True):
        log.info("%s", label)
        run = _open(arguments, place, run)
        base, identity = _base_of(run, arguments, label)
        updates = updates_of(run.model) if base is None else updates_between(run.model, base)
        if base is not None and not any(own.norm for own in updates):
            raise InputError(f"{label} was trained by {run.info.method.title}, which changes no weight of a layer")
        blocks = {own.layer for own in updates if own.layer is not None}
        if arguments.layer is not None and arguments.layer not in blocks:
            raise InputError(f"--layer {arguments.layer}: {label} has updates in {', '.join(map(str, sorted(blocks)))}")
        parts = parts_of(updates, weight_values.setdefault(identity, {}))
        entry = {
            "label": label,
            "base": {"name": run.info.base.name if run.info.base else "", "sha256": identity},
            "method": run.info.method.to_json().get("variant", run.info.method.name),
            "targets": run.info.method.to_json().get("targets", {}),
            "step": run.info.step,
            "norm": whole_norm(parts),
            "relative": whole_norm(parts) / whole_norm(parts, "weight_norm"),
            "parts": parts,
            **_dial_of(run, base, place, label, arguments, dial, notes),
        }
        entries.append(entry)
        found.append((identity, updates))
    return {
        "format": FORMAT,
        "runs": entries,
        "similarity": _similarity(labels, found, arguments.layer, notes),
        "notes": notes,
    }


def _open(arguments: AnalyzeArguments, place: Path, before: Run | None) -> Run:
    flags = CheckpointSettings(
        checkpoint=str(place),
        init_checkpoint=arguments.init_checkpoint,
        tokenizer=arguments.tokenizer,
        allow_other_base=arguments.allow_other_base,
        threads=arguments.threads,
    )
    return open_run(flags, str(place), before)


def _base_of(run: Run, arguments: AnalyzeArguments, label: str) -> tuple[GPT2 | None, str]:
    """The base of a run that was trained as a whole, and the hash of any run's base.

    Raises:
        InputError: such a run's base isn't there, or isn't the one it started from.
    """
    recorded, method = run.info.base, run.info.method
    if adapted_layers(run.model):
        return None, recorded.sha256 if recorded else base_hash(run.model)
    if not is_plain(run.model):
        raise InputError(f"{label} was trained by {method.title}, which changes no weight: nothing to analyze")
    place = arguments.init_checkpoint or (recorded.path if recorded else None)
    if place is None or not Path(place).exists():
        raise InputError(
            f"{label} holds trained weights of its base's: its update is the difference to its base, "
            f"{f'{recorded}, which is not there any more' if recorded else 'which it does not name'}; say where it is "
            "with --init_checkpoint"
        )
    base = load_base(place).eval()
    found = base_hash(base)
    if recorded is not None and found != recorded.sha256 and not arguments.allow_other_base:
        raise InputError(f"{label} was trained from {recorded}; {place} has other values (hash {found[:12]})")
    return base, found


def _dial_of(
    run: Run,
    base: GPT2 | None,
    place: Path,
    label: str,
    arguments: AnalyzeArguments,
    dial: DialArguments,
    notes: list[str],
) -> dict[str, Any]:
    """`dial`, and `dial_about`: what it was measured on; empty, with a note that says why, where it can't be."""
    data = dial.valid_data or _recorded_data(place)
    if not dial.factors():
        return {"dial": [], "dial_about": {}}
    if data is None:
        notes.append(f"no dial of {label}: it names no validation data; give --valid_data")
    elif dial.valid_data is None and not Path(data).is_file():
        notes.append(f"no dial of {label}: its validation data, {data}, is not there; give --valid_data")
    elif base is None and not run.info.method.keeps_base:
        notes.append(f"no dial of {label}: parameters of its base were trained with its update")
    else:
        path = existing_file(data, "--valid_data")
        device = pick_device(arguments.device)
        measured = _Dial(run, path, dial, World(device=device))
        points = measured.turned(run.model.to(device), None if base is None else base.to(device))
        run.model.cpu()
        return {"dial": points, "dial_about": measured.about}
    return {"dial": [], "dial_about": {}}


def _recorded_data(place: Path) -> str | None:
    """The validation data that a run's arguments, or those of the run it lies in, name."""
    folder = place if place.is_dir() else place.parent
    for config in (folder / CONFIG, folder.parent / CONFIG):
        if config.is_file():
            value = read_yaml(config)
            path = value.get("valid_data") if isinstance(value, dict) else None
            return path if isinstance(path, str) else None
    return None


class _Dial:
    """What is measured at every factor.

    Attributes:
        about: the file, and how many examples and contexts that is.
    """

    def __init__(self, run: Run, data: Path, settings: DialArguments, world: World) -> None:
        self.settings, self.world, self.tokenizer = settings, world, run.tokenizer
        self.seq_len = min(settings.seq_len, run.model.config.n_positions)
        examples = read_examples(data, run.tokenizer, self.seq_len)[: settings.valid_examples or None]
        self.batches = validation_batches(examples, settings.valid_batch_size)
        self.records = read_records(data) if settings.contexts else []
        self.about: dict[str, Any] = {"data": str(data), "examples": len(examples)}
        if self.records:
            contexts = min(settings.contexts, len({record.context for record in self.records}))
            self.about |= {"contexts": contexts, "beam": settings.beam}

    def turned(self, model: GPT2, base: GPT2 | None) -> list[dict[str, Any]]:
        """The dial of a model on the device, see `analysis.dial.turn`."""
        factors = self.settings.factors()
        # One factor's batch is work enough for the CPU, but not for a CUDA device.
        if self.world.device.type != "cuda" or not is_plain_lora(model):
            return turn(model, factors, lambda own: {**self.loss(own), **self.bleu(own)}, base)
        points = turn_together(model, factors, self.losses)
        if not self.records:
            return points
        return [{**one, **other} for one, other in zip(points, turn(model, factors, self.bleu), strict=True)]

    def loss(self, model: GPT2) -> dict[str, float]:
        """Of one factor."""
        # A graph would be recorded for each factor and used once.
        validation = LossValidation(model, self.batches, "fp32", self.world, TargetLoss(), cuda_graph="false")
        return {"loss": validation()[0]["loss"]}

    def losses(self, model: GPT2, rows: Rows, n_factors: int) -> list[dict[str, float]]:
        """Of several factors in one forward pass."""
        return [{"loss": loss} for loss in validate_together(model, rows, n_factors, self.batches)]

    def bleu(self, model: GPT2) -> Mapping[str, float]:
        """Of one factor, if there are contexts."""
        if not self.records:
            return {}
        settings = self.settings
        generation = GenerationValidation(
            model,
            self.tokenizer,
            self.records,
            settings=GenerationSettings(
                valid_beam=settings.beam, valid_eval_len=settings.eval_len, valid_contexts=settings.contexts
            ),
            seq_len=self.seq_len,
            score=lambda texts, references: ClippedBleu().score(texts, references).value,
            world=self.world,
        )
        return generation()[0]


def _similarity(
    labels: Sequence[str], found: Sequence[tuple[str, list[Update]]], layer: int | None, notes: list[str]
) -> list[dict[str, Any]]:
    """The first run against each other one on its base."""
    pairs = []
    (base, first), *others = found
    for label, (other_base, updates) in zip(labels[1:], others, strict=True):
        if other_base != base:
            notes.append(f"{label} isn't compared with {labels[0]}: their bases differ")
            continue
        pair = compared(first, updates, layer)
        if pair["diagonals"]:
            pairs.append({"runs": [labels[0], label], **pair})
        else:
            notes.append(f"{label} isn't compared with {labels[0]}: they adapt no part in common")
    return pairs
