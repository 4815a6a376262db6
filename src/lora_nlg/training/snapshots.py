"""Snapshots: everything a run needs to continue as if it had never stopped.

A snapshot is a folder `step-00000500/` with `state.safetensors` and `snapshot.json`, which holds the checksum of the
former and of itself. It is written under a temporary name, flushed to disk and renamed, so it is there whole or not
at all; a torn or altered one is noticed by its checksums and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, sync_folder
from lora_nlg.run_folder import SNAPSHOT_DESCRIPTION, SNAPSHOT_TENSORS, snapshot_folders, snapshot_name

FORMAT = "lora-nlg snapshot 1"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after a step.

    Attributes:
        step: optimiser steps taken.
        tensors: trainable parameters, optimiser moments, by name; on the CPU.
        state: everything else, as JSON values.
        identity: what the run is (its configuration and the hashes of its inputs).
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    identity: Mapping[str, Any]


def save_snapshot(folder: str | Path, snapshot: Snapshot, keep_last: int = 2) -> Path:
    """Write a snapshot, then remove the oldest ones.

    Args:
        folder: where the snapshots lie.
        snapshot: what to write.
        keep_last: how many to keep, at least 1. Default: 2, so that one is left if the newest is damaged.

    Returns:
        The snapshot's folder.

    Raises:
        OSError: it can't be written, for instance because the disk is full; earlier snapshots are untouched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / snapshot_name(snapshot.step)
    temporary = folder / f".{target.name}.tmp"
    _remove(temporary)
    try:
        temporary.mkdir()
        _write_files(temporary, snapshot)
        _remove(target)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder)
    for old in snapshot_folders(folder)[:-keep_last]:
        _remove(old)
    return target


def _write_files(folder: Path, snapshot: Snapshot) -> None:
    tensors = folder / SNAPSHOT_TENSORS
    try:
        save_file({name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}, tensors)
    except SafetensorError as error:  # how the library reports a failed write
        raise OSError(f"can't write {tensors}: {error}") from None
    with open(tensors, "rb") as file:
        os.fsync(file.fileno())
    value = {
        "format": FORMAT,
        "step": snapshot.step,
        "identity": snapshot.identity,
        "state": snapshot.state,
        "sha256": sha256_file(tensors),
    }
    with open(folder / SNAPSHOT_DESCRIPTION, "w", encoding="utf-8") as text:
        json.dump({**value, "checksum": _checksum(value)}, text, ensure_ascii=False, indent=1)
        text.flush()
        os.fsync(text.fileno())
    sync_folder(folder)


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _remove(folder: Path) -> None:
    """Delete a folder; a crash midway leaves it under a name that no one takes for a snapshot."""
    if folder.exists():
        rubbish = folder.with_name(f".{folder.name.lstrip('.')}.old")
        shutil.rmtree(rubbish, ignore_errors=True)
        os.replace(folder, rubbish)
        shutil.rmtree(rubbish)


def load_snapshot(folder: str | Path) -> Snapshot:
    """Read a snapshot and check it.

    Raises:
        InputError: a file is absent, torn or altered.
    """
    folder = Path(folder)
    try:
        value = json.loads((folder / SNAPSHOT_DESCRIPTION).read_bytes())
        checksum = value.pop("checksum")
        if value.pop("format") != FORMAT or _checksum({"format": FORMAT, **value}) != checksum:
            raise InputError(f"snapshot {folder} is damaged: {SNAPSHOT_DESCRIPTION} doesn't match its checksum")
        if sha256_file(folder / SNAPSHOT_TENSORS) != value["sha256"]:
            raise InputError(f"snapshot {folder} is damaged: {SNAPSHOT_TENSORS} doesn't match its checksum")
        return Snapshot(value["step"], load_file(folder / SNAPSHOT_TENSORS), value["state"], value["identity"])
    except InputError:
        raise
    except (OSError, MemoryError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"snapshot {folder} is damaged: {type(error).__name__}: {error}") from None
    except SafetensorError as error:
        raise InputError(f"snapshot {folder} is damaged: {type(error).__name__}: {error}") from None


def latest_snapshot(folder: str | Path) -> Snapshot | None:
    """The newest sound snapshot, or None; every damaged one on the way is warned about.

    Raises:
        InputError: there are snapshots, but none is sound: starting afresh must be asked for.
    """
    folders = snapshot_folders(folder)
    for path in reversed(folders):
        try:
            return load_snapshot(path)
        except InputError as error:
            log.warning("warning: %s; trying the one before it", error)
    if folders:
        raise InputError(f"no snapshot in {folder} is sound; start afresh with `resume` restart")
    return None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two identities, one line a value: `lr: 0.0002 in the snapshot, 0.001 now`."""
    absent = object()
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, absent), new.get(key, absent)
        if before != after:
            was = "absent" if before is absent else before
            now = "absent" if after is absent else after
            lines.append(f"{key}: {was} in the snapshot, {now} now")
    return lines
