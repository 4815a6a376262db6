"""Damaged snapshots, full disks, signals, numbers that blow up, and inputs that changed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROOT, Fault, result, run

Arguments = Callable[..., list[str]]


@pytest.fixture(scope="session")
def stopped_once(arguments: Arguments, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that SIGTERM reached in step 15: it holds snapshots of steps 14 and 15 or 16."""
    folder = tmp_path_factory.mktemp("stopped")
    ended = run(arguments(folder / "run"), folder / "log", Fault(signal_at_step=(15, signal.SIGTERM)))
    assert ended.code == 143, ended.output
    assert [path.name for path in snapshots(folder / "run")] == ["step-00000014", "step-00000016"]
    return folder / "run"


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A copy of `stopped_once` to damage."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def snapshots(folder: Path) -> list[Path]:
    return sorted((folder / "snapshots").glob("step-*"))


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path, seed: int = 0) -> None:
    content = bytearray(file.read_bytes())
    place = random.Random(seed).randrange(len(content))
    content[place] ^= 1 << (seed % 8)
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "torn tensors": lambda folder: cut_in_half(folder / "state.safetensors"),
    "torn description": lambda folder: cut_in_half(folder / "snapshot.json"),
    "flipped bit in the tensors": lambda folder: flip_a_bit(folder / "state.safetensors"),
    "flipped bit in the description": lambda folder: flip_a_bit(folder / "snapshot.json"),
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "no description": lambda folder: (folder / "snapshot.json").unlink(),
    "empty tensors": lambda folder: (folder / "state.safetensors").write_bytes(b""),
    "another's tensors": lambda folder: shutil.copy(
        folder.parent / "step-00000014/state.safetensors", folder / "state.safetensors"
    ),
}


def check_damage(damage: Callable[[Path], object], stopped: Path, arguments: Arguments, reference: dict) -> None:
    damage(snapshots(stopped)[-1])
    ended = run(arguments(stopped), stopped.parent / "log")
    assert ended.code == 0, ended.output
    assert "step-00000016 is damaged" in ended.output and "resuming" in ended.output
    assert "after step 14" in ended.output
    assert result(stopped) == reference


@pytest.mark.parametrize("name", ["torn tensors"])
def test_damaged_snapshot(name: str, stopped: Path, arguments: Arguments, reference: dict) -> None:
    check_damage(DAMAGES[name], stopped, arguments, reference)


@pytest.mark.faults
@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage(name: str, stopped: Path, arguments: Arguments, reference: dict) -> None:
    check_damage(DAMAGES[name], stopped, arguments, reference)


@pytest.mark.faults
def test_any_flipped_bit_is_noticed(stopped: Path) -> None:
    from lora_nlg.errors import InputError
    from lora_nlg.training import load_snapshot

    folder = snapshots(stopped)[-1]
    for name in ("state.safetensors", "snapshot.json"):
        sound = (folder / name).read_bytes()
        for seed in range(200):
            flip_a_bit(folder / name, seed)
            with pytest.raises(InputError, match="is damaged"):
                load_snapshot(folder)
            (folder / name).write_bytes(sound)
    load_snapshot(folder)


def test_all_snapshots_damaged_is_an_error_not_a_fresh_start(stopped: Path, arguments: Arguments) -> None:
    for folder in snapshots(stopped):
        cut_in_half(folder / "state.safetensors")
    ended = run(arguments(stopped), stopped.parent / "log")
    assert ended.code == 1
    assert "is sound; start afresh with --resume restart" in ended.output.splitlines()[-1]


def test_sigint_and_sigterm_snapshot_and_say_which(arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    for number, code, step in ((signal.SIGINT, 130, 5), (signal.SIGTERM, 143, 12)):
        ended = run(arguments(tmp_path / "run"), tmp_path / "log", Fault(signal_at_step=(step, number)))
        assert ended.code == code, ended.output
        assert f"{number.name} at step {step + 1} of 30" in ended.output
        assert snapshots(tmp_path / "run")[-1].name == f"step-{step + 1:08d}"
        assert "Traceback" not in ended.output
    assert run(arguments(tmp_path / "run"), tmp_path / "log").code == 0
    assert result(tmp_path / "run") == reference


def test_full_disk(stopped: Path, arguments: Arguments, reference: dict) -> None:
    """Files that can't grow past a limit (EFBIG, errno's neighbour of ENOSPC) while a snapshot is written."""
    before = {path.name: (path / "state.safetensors").read_bytes() for path in snapshots(stopped)}
    limit = len(before["step-00000016"]) // 2
    ended = run(arguments(stopped), stopped.parent / "log", Fault(file_limit=limit))
    assert ended.code == 1, ended.output
    assert "Traceback" not in ended.output
    assert "error:" in ended.output.splitlines()[-1] and "large" in ended.output.splitlines()[-1]
    assert {path.name: (path / "state.safetensors").read_bytes() for path in snapshots(stopped)} == before
    assert run(arguments(stopped), stopped.parent / "log").code == 0
    assert result(stopped) == reference


@pytest.mark.faults
@pytest.mark.parametrize("kibibytes", [24, 48, 72, 96])
def test_full_file_system(kibibytes: int, inputs: Path, arguments: Arguments, reference: dict, tmp_path: Path) -> None:
    """A tmpfs of a few KiB (ENOSPC) in a mount namespace of its own; what it held is copied out afterwards."""
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("needs unprivileged mount namespaces (unshare -rm)")
    mount, kept = tmp_path / "mount", tmp_path / "kept"
    mount.mkdir()
    flags = " ".join(f"'{flag}'" for flag in arguments(mount / "run"))
    script = (
        f"mount -t tmpfs -o size={kibibytes}k none {mount} && {sys.executable} -m lora_nlg train {flags}; "
        f"code=$?; cp -r {mount} {kept}; exit $code"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr.splitlines()[-1], done.stderr
    for folder in snapshots(kept / "run"):
        from lora_nlg.training import load_snapshot

        load_snapshot(folder)
    shutil.rmtree(kept / "run/tb", ignore_errors=True)
    shutil.copytree(kept / "run", tmp_path / "run")
    ended = run(arguments(tmp_path / "run"), tmp_path / "log")
    assert ended.code == 0, ended.output
    assert result(tmp_path / "run") == reference


def test_loss_that_blows_up(arguments: Arguments, tmp_path: Path) -> None:
    flags = arguments(tmp_path / "run", lr=1e25, warmup_step=0, save_interval=1)
    ended = run(flags, tmp_path / "log")
    assert ended.code == 1
    message = ended.output.splitlines()[-1]
    assert "Traceback" not in ended.output
    step = int(message.split("step ")[1].split(":")[0])
    named = message.split("examples ")[1].split(";")[0].split(", ")
    assert len(named) == 4 and all(id.endswith("/0") for id in named)
    if step > 1:
        assert f"step-{step - 1:08d}" in message


def test_changed_inputs_are_refused_by_name(stopped: Path, arguments: Arguments, inputs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(inputs, copy)
    records = (copy / "train.jsonl").read_text().splitlines()
    (copy / "train.jsonl").write_text("\n".join(records[::-1]) + "\n")
    changed = arguments(stopped, lr=1e-3, lora_dim=2, train_data=copy / "train.jsonl")
    ended = run(changed, tmp_path / "log")
    assert ended.code == 1
    message = ended.output.splitlines()[-1]
    for expected in ("lr: 0.003 in the snapshot, 0.001 now", "lora_dim: 4", "train_data (sha256)"):
        assert expected in message
    assert "base (sha256)" not in message and "label_smooth" not in message
    # The same content under another path is the same run.
    moved = arguments(stopped, valid_data=shutil.copy(inputs / "valid.jsonl", tmp_path / "moved.jsonl"))
    assert run(moved, tmp_path / "log").code == 0


@pytest.mark.faults
def test_changed_base_and_vocabulary_are_refused(
    stopped: Path, arguments: Arguments, inputs: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(inputs, copy)
    tensors = load_file(copy / "base/model.safetensors")
    tensors[next(iter(tensors))].flatten()[0] += 1e-3
    save_file(tensors, copy / "base/model.safetensors")
    vocabulary = json.loads((copy / "base/encoder.json").read_text())
    first, second, *_ = vocabulary
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (copy / "base/encoder.json").write_text(json.dumps(vocabulary))
    ended = run(arguments(stopped, init_checkpoint=copy / "base"), tmp_path / "log")
    assert ended.code == 1
    assert "base (sha256)" in ended.output.splitlines()[-1]
    assert "vocabulary (sha256)" in ended.output.splitlines()[-1]
