"""`lora-nlg doctor`: check the environment and, if given, run directories and prepared data, before hours are spent."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from lora_nlg import __version__
from lora_nlg.commands.arguments import naming_flags, parse_arguments, with_flags
from lora_nlg.corpora.record import read_records
from lora_nlg.distributed import pick_device
from lora_nlg.errors import InputError, first_line
from lora_nlg.files import read_jsonl
from lora_nlg.gpt2 import FlatAttention, GPT2Config, empty_gpt2, lora_targets
from lora_nlg.lora import LoRASpec, fold, inject, mark_only_lora_as_trainable
from lora_nlg.run_folder import METRICS, SNAPSHOTS
from lora_nlg.weights.identify import identify
from lora_nlg.weights.run import load_run

OLDEST_TORCH = (2, 10)
SPLITS = ("train", "valid", "test")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        status: `ok`, `note` (worth knowing) or `FAIL`.
        text: what was found, and for a failure what to do.
    """

    name: str
    status: str
    text: str


@dataclass
class DoctorArguments:
    """What to look at besides the environment."""

    init_checkpoint: str | None = None
    """The base of a run that has moved."""


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Print the checks; status 1 if one failed."""
    parsed = parse_arguments(
        "doctor",
        "Check the environment, run directories and prepared data.",
        argv,
        DoctorArguments,
        positionals={
            "paths": {"nargs": "*", "type": str, "help": "Run directories, weights or prepared data folders."}
        },
    )
    arguments: DoctorArguments = parsed.groups[0]
    failed = 0
    for check in all_checks(parsed.positionals["paths"] or [], arguments.init_checkpoint):
        print(with_flags(f"{check.status:4}  {check.name}: {check.text}"), flush=True)
        failed += check.status == "FAIL"
    print(f"{failed} problem{'' if failed == 1 else 's'} found")
    return int(failed > 0)


def all_checks(paths: Sequence[str], base: str | None = None) -> Iterator[Check]:
    """The environment's checks, then those of each path."""
    yield from environment()
    for path in paths:
        yield from path_checks(Path(path), base)


def environment() -> Iterator[Check]:
    """Python, packages, devices, disk, and one LoRA step that has to come out right."""
    version = platform.python_version()
    yield Check("python", "ok" if sys.version_info >= (3, 10) else "FAIL", f"{version} (3.10 or newer is needed)")
    absent, versions = [], []
    for package in _requirements():
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        yield Check("packages", "FAIL", f"not installed: {', '.join(absent)}; run `make setup`")
    else:
        yield Check("packages", "ok", ", ".join(versions))
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    yield Check("torch", "ok" if found >= OLDEST_TORCH else "FAIL", f"{torch.__version__} (2.10 or newer is needed)")
    yield Check("lora-nlg", "ok", __version__)
    yield _devices()
    yield _threads()
    backends = [name for name in ("gloo", "nccl") if getattr(torch.distributed, f"is_{name}_available")()]
    yield Check("several processes", "ok" if backends else "note", f"backends: {', '.join(backends) or 'none'}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Check("disk", "ok" if free >= 2 else "note", f"{free:.1f} GiB free here")
    yield _guarded("LoRA step", partial(_lora_step, torch.device("cpu")))
    if torch.cuda.is_available():
        yield _guarded("LoRA step on CUDA", partial(_lora_step, pick_device("cuda")))


def _requirements() -> list[str]:
    """What an installed lora-nlg says it needs, extras left out; itself, where it isn't installed."""
    try:
        stated = importlib.metadata.requires("lora-nlg") or []
    except importlib.metadata.PackageNotFoundError:
        return ["lora-nlg"]
    return [re.split(r"[^\w.-]", line)[0] for line in stated if "extra ==" not in line]


def _devices() -> Check:
    if not torch.cuda.is_available():
        return Check("device", "note", "no CUDA device: training runs on the CPU")
    names = []
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        names.append(f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
    return Check("device", "ok", f"{', '.join(names)}; bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}")


def _threads() -> Check:
    cores, threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, torch.get_num_threads()
    text = f"{threads} threads on {cores} cores"
    if threads > cores:
        return Check("cpu", "note", f"{text}: more threads than cores slow every step; set OMP_NUM_THREADS={cores}")
    return Check("cpu", "ok", text)


def _lora_step(device: torch.device) -> str:
    """A tiny adapted model: its loss falls in a few steps, and merged it computes the same."""
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=50, n_positions=16)
    model = empty_gpt2(config)
    model.reset_parameters()
    model.to(device)
    inject(model, lora_targets(config, {"q": LoRASpec(2, 16), "v": LoRASpec(2, 16)}))
    mark_only_lora_as_trainable(model)
    tokens, attention = torch.arange(12, device=device), FlatAttention([12], device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        hidden = model(tokens, tokens, attention)
        loss = torch.nn.functional.cross_entropy(model.logits(hidden[:-1]), tokens[1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        merged, apart = fold(model)(tokens, tokens, attention), model(tokens, tokens, attention)
    difference = float((merged - apart).abs().max())
    if not losses[-1] < losses[0] or not difference < 1e-3:
        raise InputError(
            f"loss {losses[0]:.4f} -> {losses[-1]:.4f}, merged differs by {difference:.2g}: broken install?"
        )
    return f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in 10 steps; merged and unmerged agree to {difference:.1g}"


def path_checks(path: Path, base: str | None) -> Iterator[Check]:
    """A run directory, a weights file, or a folder of prepared data."""
    splits = [path / f"{split}.jsonl" for split in SPLITS if (path / f"{split}.jsonl").is_file()]
    if splits:
        for file in splits:
            yield from _record_checks(file)
        yield from _folder_checks(path, [file.stem for file in splits])
        return
    try:
        identity = identify(path)
    except InputError as error:
        yield Check(str(path), "FAIL", str(error))
        return
    status = "FAIL" if identity.kind == "unknown" or identity.problems else "ok"
    yield Check(str(path), status, "; ".join([identity.title, *identity.problems]))
    if path.is_dir() and identity.kind in ("adapter", "model"):
        yield _guarded(f"{path}: decoding", partial(_decodable, path, base))
        if (path / METRICS).is_file():
            yield _guarded(f"{path}: metrics", partial(_metrics, path / METRICS))
        if (path / SNAPSHOTS).is_dir():
            names = sorted(entry.name for entry in (path / SNAPSHOTS).iterdir() if entry.is_dir())
            yield Check(f"{path}: snapshots", "ok" if names else "note", ", ".join(names) or "none to resume from")


def _guarded(name: str, run: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", run())
    except (InputError, OSError, RuntimeError) as error:  # the last is what a broken CUDA raises
        return Check(name, "FAIL", first_line(error))


def _record_checks(file: Path) -> Iterator[Check]:
    """What training will read, and what the scorers will refuse or count for nothing afterwards."""
    try:
        records = read_records(file)
    except (InputError, OSError) as error:
        yield Check(str(file), "FAIL", str(error))
        return
    references = [text for record in records for text in record.references]
    contexts = len({record.context for record in records})
    found = f"{len(records):,} records, {contexts:,} contexts, {len(references):,} references"
    without = sum(not record.references for record in records)
    if not references and file.stem == "train":
        yield Check(str(file), "FAIL", f"{found}: nothing to train on; a record needs texts in its references")
    elif without:
        yield Check(str(file), "note", f"{found}; {without:,} records have none and can be decoded, not scored")
    else:
        yield Check(str(file), "ok", found)
    wordless = [record.id for record in records if any(not _WORD.search(text) for text in record.references)]
    if wordless:
        yield Check(
            f"{file}: references",
            "note",
            f"{len(wordless):,} records have a reference without a word (first: id {wordless[0]!r}); take these texts "
            "out: they teach the model to say nothing, and the scorers can't use them",
        )


def _folder_checks(folder: Path, present: Sequence[str]) -> Iterator[Check]:
    """What a folder lacks, what that means, and contexts that stand in more than one of its sets."""
    parts = "`lora-nlg prepare --split 80/10/10` parts a training set by context"
    lacking = {
        "train": "nothing to train on",
        "valid": f"training has no validation loss and no best adapter; {parts}",
        "test": f"nothing to decode and to score; {parts}",
    }
    for split, text in lacking.items():
        if split not in present:
            yield Check(str(folder / f"{split}.jsonl"), "note", f"none: {text}")
    contexts: dict[str, set[str]] = {}
    for split in present:
        try:
            contexts[split] = {record.context for record in read_records(folder / f"{split}.jsonl")}
        except (InputError, OSError):  # said already
            continue
    for split in ("valid", "test"):
        shared = contexts.get(split, set()) & contexts.get("train", set())
        if shared:
            yield Check(
                str(folder / f"{split}.jsonl"),
                "note",
                f"{len(shared):,} of its {len(contexts[split]):,} contexts are in train too: scores on them say little "
                "of new ones",
            )


def _decodable(path: Path, base: str | None) -> str:
    run = load_run(path, base)
    return f"base, adapter and vocabulary fit together ({run.info.method}; step {run.info.step})"


def _metrics(file: Path) -> str:
    lines = [value for _, value in read_jsonl(file)]
    losses = [line["loss"] for line in lines if isinstance(line, dict) and "ppl" in line]
    last = f"; last validation loss {losses[-1]:.4f}" if losses else ""
    return f"{len(lines)} lines{last}"
