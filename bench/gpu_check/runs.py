"""Whole runs of the commands: the device against the CPU, a run against itself, together against alone."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file

from gpu_check.commands import BASE, SAMPLE, adapter_hash, command, killed_at, texts_of, train, train_words
from lora_nlg.batching import Loader, Sampler, make_example
from lora_nlg.decoding import BeamSettings, beam_search
from lora_nlg.distributed import World
from lora_nlg.gpt2 import lora_targets
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.lora import LoRASpec, inject, load_lora_state_dict, mark_only_lora_as_trainable
from lora_nlg.methods import METHODS
from lora_nlg.run_folder import snapshot_folders
from lora_nlg.training import EagerStep, OptimisationSettings, Schedule, TrainingState
from lora_nlg.weights.base import load_base

if TYPE_CHECKING:
    from gpu_check.parts import Setting
    from gpu_check.rows import Report

SHARED = Path(os.environ.get("LORA_NLG_SHARED", SAMPLE.parents[2] / "shared"))
VARIANTS: dict[str, tuple[list[str], float]] = {
    "fp32": ([], 1e-3),
    "bf16": (["--dtype", "bf16"], 3e-2),
    "fp16": (["--dtype", "fp16"], 1e-2),
    "checkpointing": (["--gradient_checkpointing", "true"], 1e-3),
    "accumulation": (["--train_batch_size", "4", "--grad_acc", "2"], 1e-3),
    "DoRA": (["--lora_variant", "dora"], 2e-3),
    "PiSSA": (["--lora_variant", "pissa"], 2e-3),
    "full": (["--lora_dim", "0", "--lr", "1e-4"], 2e-3),
}
"""Name -> flags, and the largest difference of a loss allowed. Types below fp32 are compared with fp32 on the CPU."""

IN_STEPS = {"lora", "full"}
"""Methods that `steps` trains; `methods` trains the others."""


def difference(a: list[float], b: list[float]) -> float:
    """The largest difference of two curves; infinite if one is shorter."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) if len(a) == len(b) else math.inf


def steps(setting: Setting) -> None:
    """Steps on the CPU and on the device."""
    report, folder, device = setting.report, setting.folder, setting.name
    n = 4 if setting.is_small else 20
    curves: dict[str, list[float]] = {}
    for name, (flags, most) in VARIANTS.items():
        plain = name in ("bf16", "fp16", "checkpointing", "accumulation")
        if not plain:
            curves[name] = train(folder / "cpu", "cpu", n, *flags)
        # At the usual first scale, 65536, fp16 skips a step here, as it should; the curve would lag by one.
        with _loss_scale(2.0**10):
            there = train(folder / name, device, n, *flags)
        report.at_most(f"{n} steps, {name}", difference(curves["fp32" if plain else name], there), most)
        curves[f"{name} there"] = there
    moved = curves["fp32"][0] - curves["fp32"][-1]
    report.note("the loss fell meanwhile by", f"{moved:.3f}")
    for dtype in ("fp32", "bf16") if setting.device.type == "cuda" else ():
        eager = train(folder / "eager", device, n, "--dtype", dtype, "--cuda_graph", "false")
        graph = train(folder / "graph", device, n, "--dtype", dtype, "--cuda_graph", "auto")
        report.at_most(f"graph against eager, {dtype}", difference(eager, graph), 1e-5 if dtype == "fp32" else 2e-2)
    dropped = train(folder / "dropout", device, n, "--lora_dropout", "0.5")
    off = difference(dropped, curves["fp32 there"])
    report.require("dropout changes the curve", 1e-5 < off < 1, f"{off:.2g}", "1e-05 to 1")
    with _loss_scale(2.0**30):
        overflowed = train(folder / "overflow", device, max(n, 20), "--dtype", "fp16")
    norms = [json.loads(line).get("grad_norm") for line in (folder / "overflow/metrics.jsonl").read_text().splitlines()]
    skipped = sum(1 for norm in norms if norm is not None and not math.isfinite(norm))
    fine = skipped > 0 and all(map(math.isfinite, overflowed)) and overflowed[-1] < overflowed[0]
    report.require(
        "fp16, forced overflow", fine, f"{skipped} steps skipped, loss {overflowed[0]:.3f} to {overflowed[-1]:.3f}"
    )


class _loss_scale:
    """Makes fp16 begin with a loss scale of one's own."""

    def __init__(self, scale: float) -> None:
        self.scale, self.usual = scale, torch.amp.GradScaler

    def __enter__(self) -> None:
        torch.amp.GradScaler = functools.partial(self.usual, init_scale=self.scale)  # type: ignore[assignment,misc]

    def __exit__(self, *_: object) -> None:
        torch.amp.GradScaler = self.usual  # type: ignore[misc]


def methods(setting: Setting) -> None:
    """Steps and texts of every other method, on the CPU and on the device."""
    report, folder, device = setting.report, setting.folder, setting.name
    n = 4 if setting.is_small else 20
    data = _contexts(folder, 2 if setting.is_small else 20)
    for name in sorted(METHODS.keys() - IN_STEPS):
        flags = ["--method", name, "--train_batch_size", "4"]
        here, there = train(folder / name, "cpu", n, *flags), train(folder / f"{name} there", device, n, *flags)
        report.at_most(f"{n} steps, {name}", difference(here, there), 1e-3)
        texts = [_decode(folder / name, data, place, "fp32") for place in ("cpu", device)]
        _require_same(report, f"texts, {name}", *texts, least=0.95)


def decoding(setting: Setting) -> None:
    """The same run decoded on the CPU and on the device: texts that agree."""
    report, folder = setting.report, setting.folder
    train(folder / "run", "cpu", 10 if setting.is_small else 60)
    data = _contexts(folder, 8 if setting.is_small else 60)
    expected = _decode(folder / "run", data, "cpu", "fp32")
    for dtype, least in (("fp32", 0.95), ("bf16", 0.5)):
        found = _decode(folder / "run", data, setting.name, dtype)
        _require_same(report, f"texts as on the CPU in fp32, {dtype}", expected, found, least)


def _contexts(folder: Path, n: int) -> Path:
    """A file with the sample's first contexts."""
    data = folder / "contexts.jsonl"
    data.write_text("\n".join((SAMPLE / "test.jsonl").read_text().splitlines()[:n]) + "\n")
    return data


def _decode(run: Path, data: Path, device: str, dtype: str) -> list[str]:
    out = run / f"{device.replace(':', '')}-{dtype}.jsonl"
    words = ["--checkpoint", str(run), "--data", str(data), "--out", str(out), "--device", device]
    command("decode", *words, "--dtype", dtype, "--eval_len", "32")
    return texts_of(out)


def _require_same(report: Report, check: str, expected: list[str], found: list[str], least: float) -> None:
    same = sum(a == b for a, b in zip(expected, found, strict=True)) / len(expected)
    report.require(check, same >= least, f"{same:.0%}", f"at least {least:.0%}")


def golden(setting: Setting) -> None:
    """The predecessor's recorded curves and beams, on the device."""
    report, recorded = setting.report, SHARED / "reference" / "golden"
    if not (recorded / "beam.json").is_file():
        report.skip("recorded curves and beams", f"not in {SHARED}; LORA_NLG_SHARED names another folder")
        return
    beams = json.loads((recorded / "beam.json").read_text())
    model = InferenceGPT2(load_base(recorded / "base.safetensors").to(setting.device))
    same = total = 0
    for result in beams["results"][: 2 if setting.is_small else None]:
        values = dict(result["settings"])
        settings = BeamSettings(end_ids=tuple(values.pop("eos_token_id")), **values)
        found = dict(beam_search(model, beams["contexts"], settings, 32))
        same += sum(list(found[i][0].tokens) == tokens for i, tokens in enumerate(result["outputs"]))
        total += len(result["outputs"])
    report.require("recorded beams", same >= 0.98 * total, f"{same} of {total}", "at least 98%")
    for file in sorted(recorded.glob("train_*.json")):
        record = json.loads(file.read_text())
        off = difference(_recorded_curve(record, file.with_suffix(".safetensors"), setting), record["losses"])
        report.at_most(f"recorded curve {file.stem[6:]}, {len(record['losses'])} steps", off, 1e-4)


def _recorded_curve(record: dict[str, Any], adapter: Path, setting: Setting) -> list[float]:
    """The losses of a recorded run, trained again from its first adapter."""
    words = record["flags"].split()
    flags = {name[2:]: value for name, value in pairwise(words) if name.startswith("--")}
    model = load_base(adapter.with_name("base.safetensors"))
    spec = LoRASpec(record["r"], record["alpha"])
    inject(model, lora_targets(model.config, {"q": spec, "v": spec}))
    mark_only_lora_as_trainable(model)
    first = {name.removeprefix("initial."): value for name, value in load_file(adapter).items() if "initial." in name}
    load_lora_state_dict(model, first)
    model.to(setting.device).train()
    settings = OptimisationSettings(
        optimizer="adamw_lora",
        adam_beta2=float(flags["adam_beta2"]),
        weight_decay=float(flags["weight_decay"]),
        correct_bias="--correct_bias" in words,
        label_smooth=record["label_smooth"],
    )
    examples = [
        make_example(str(i), context, completion[:-1], completion[-1], record["objective"], 160)
        for i, (context, completion) in enumerate(record["rows"])
    ]
    steps = record["steps"]
    schedule = Schedule(flags["scheduler"], float(flags["lr"]), steps, int(flags["warmup_step"]))
    take = EagerStep(model, TrainingState(model, settings), settings, World(device=setting.device))
    sampler = Sampler([example.n_inputs for example in examples], record["batch_size"], 5, shuffle=False)
    return [float(take(data, schedule(data.step - 1))[0]) for data in Loader(examples, sampler).steps(1, steps)]


def repeat(setting: Setting) -> None:
    """The same run twice, and one that was killed and continued, by the hash of the adapter."""
    report, folder, device = setting.report, setting.folder, setting.name
    n = 12 if setting.is_small else 40
    flags = ["--lora_dropout", "0.1", "--save_interval", str(n // 4)]
    dtypes = ["fp32"] if setting.is_small else ["fp32", "bf16"]  # a CPU's bf16 can be very slow
    for dtype in dtypes:
        hashes = []
        for deterministic in ("false", "true"):
            own = [*flags, "--dtype", dtype, "--deterministic", deterministic]
            twice = []
            for name in ("one", "two"):
                train(folder / name, device, n, *own)
                twice.append(adapter_hash(folder / name))
            hashes.append(len(set(twice)) == 1)
        report.note(f"twice, {dtype}", "the same bits" if hashes[0] else "other bits")
        report.require(
            f"twice, {dtype}, --deterministic",
            hashes[1] or dtype == "fp32",
            "the same bits" if hashes[1] else "other bits",
        )
    expected = adapter_hash(folder / "two")
    place = folder / "killed"
    words = train_words(place, device, n, *flags, "--dtype", dtypes[-1], "--deterministic", "true")
    status = killed_at(n // 2, words, folder / "killed.log")
    is_cut = status == -signal.SIGKILL and bool(snapshot_folders(place / "snapshots"))
    if is_cut:
        command(*words)
    is_same = is_cut and adapter_hash(place) == expected
    found = "the same bits" if is_same else "other bits" if is_cut else f"exit status {status}, not cut off"
    report.require(f"killed and continued, {dtypes[-1]}", is_same, found)


def sweep(setting: Setting) -> None:
    """Members trained together and alone."""
    report, folder, n = setting.report, setting.folder, "4" if setting.is_small else "20"

    def results(name: str, group: str, device: str) -> dict[str, float]:
        place = folder / name
        command(
            "sweep", "--train_data", str(SAMPLE / "train.jsonl"), "--valid_data", str(SAMPLE / "valid.jsonl"),
            "--init_checkpoint", str(BASE), "--work_dir", str(place), "--device", device, "--lora_dim", "2,4",
            "--lr", "1e-3", "--random_seed", "1,2", "--max_step", n, "--seq_len", "256",
            "--valid_examples", "32", "--group", group, "--lora_dropout", "0.1" if device != "cpu" else "0",
        )  # fmt: skip
        rows = json.loads((place / "results.json").read_text())
        return {f"{row['r']}/{row['seed']}": row["valid_loss"] for row in rows}

    together, alone = results("together", "4", setting.name), results("alone", "1", setting.name)
    report.at_most("4 members together and alone", max(abs(together[k] - alone[k]) for k in alone), 2e-3)
    report.note("spread of the members", f"{max(alone.values()) - min(alone.values()):.3f}")


def ranks(setting: Setting) -> None:
    """Two ranks on one device over gloo against one, and a process group of NCCL."""
    report, folder, n = setting.report, setting.folder, 4 if setting.is_small else 20
    if setting.device.type == "cuda" and setting.is_small:
        report.skip("two ranks", "no GPU")
        return
    one = train(folder / "one", setting.name, n)
    words = train_words(
        folder / "two", "cuda" if setting.device.type == "cuda" else "cpu", n, "--train_batch_size", "4"
    )
    context = multiprocessing.get_context("spawn")
    port = 29000 + os.getpid() % 1000
    workers = [context.Process(target=_rank, args=(rank, port, words)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        report.require("two ranks over gloo", False, f"exit status {[worker.exitcode for worker in workers]}")
    else:
        lines = [json.loads(line) for line in (folder / "two/metrics.jsonl").read_text().splitlines()]
        two = [line["loss"] for line in lines if line["kind"] == "train"]
        report.at_most("two ranks over gloo against one", difference(one, two), 1e-3)
    if setting.device.type != "cuda" or setting.is_small:
        report.skip("NCCL", "no GPU")
        return
    store = dist.FileStore(str(folder / "store"), 1)
    dist.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=setting.device)
    value = torch.ones(3, device=setting.device)
    dist.all_reduce(value)
    dist.barrier()
    dist.destroy_process_group()
    report.require("NCCL, one rank", value.tolist() == [1, 1, 1], str(value.tolist()))


def _rank(rank: int, port: int, words: list[str]) -> None:
    """One of two ranks on the same device, which NCCL would refuse: gloo takes its place."""
    join = dist.init_process_group
    dist.init_process_group = lambda backend, device_id=None, **rest: join("gloo", **rest)  # type: ignore[assignment]
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command(*words)
