"""What holds for every method, whatever it is: it trains, is kept, resumes bitwise, decodes; batching is no matter."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lora_nlg.decoding import BeamSettings, decode_contexts
from lora_nlg.errors import InputError
from lora_nlg.lora import fold
from lora_nlg.methods import METHODS, own_state
from lora_nlg.weights import load_base
from lora_nlg.weights.adapter import load_adapter, read_adapter, write_adapter
from lora_nlg.weights.identify import identify
from lora_nlg.weights.merged import probe_logits
from lora_nlg.weights.run import load_run

SMALL = {"vera": {"vera_dim": 8}, "lora": {"lora_alpha": 16}}
NAMES = sorted(METHODS)
Train = Callable[..., Path]


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def weights(folder: Path) -> Path:
    file = folder / "adapter.safetensors"
    return file if file.is_file() else folder / "model/model.safetensors"


def logits(folder: Path) -> Tensor:
    return probe_logits(load_run(folder).model)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_trains_and_resumes_bitwise(name: str, dtype: str, inputs: Path, tmp_path: Path, train: Train) -> None:
    run = train(tmp_path / "run", method=name, dtype=dtype, **SMALL.get(name, {}))
    assert (logits(run) - probe_logits(load_base(inputs / "base"))).abs().max() > 1e-3, "it must have trained"
    assert not (identity := identify(run)).problems, identity.text()
    part = tmp_path / "part"
    part.mkdir()
    shutil.copytree(run / "snapshots/step-00000002", part / "snapshots/step-00000002")
    train(part, method=name, dtype=dtype, **SMALL.get(name, {}))
    assert losses(part) == losses(run)[2:]
    assert weights(part).read_bytes() == weights(run).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_and_packing_change_nothing(name: str, tmp_path: Path, train: Train) -> None:
    whole = train(tmp_path / "whole", method=name, pack_weights="false", **SMALL.get(name, {}))
    parts = train(tmp_path / "parts", method=name, train_batch_size=4, grad_acc=2, **SMALL.get(name, {}))
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)
    torch.testing.assert_close(logits(parts), logits(whole), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_is_loaded_strictly_folds_and_decodes(name: str, inputs: Path, tmp_path: Path, train: Train) -> None:
    folder = train(tmp_path / "run", method=name, **SMALL.get(name, {}))
    run = load_run(folder)
    merged = fold(run.model)
    torch.testing.assert_close(probe_logits(merged), probe_logits(run.model), rtol=0, atol=1e-4)
    beam = BeamSettings(beam=2, eval_len=5)
    contexts = ["food : thai", "food : pub"]
    said = [[h.text for h in decode_contexts(one, run.tokenizer, contexts, beam)] for one in (run.model, merged)]
    assert said[0] == said[1]
    if not own_state(merged):  # as a plain model it needs nothing of the method
        assert own_state(run.model) or not run.info.method.keeps_base
    if run.info.method.is_whole:
        return
    info, tensors = read_adapter(folder)
    assert type(info.method) is METHODS[name] and str(info.method) == str(run.info.method)
    absent = next(iter(tensors))
    write_adapter(tmp_path / "less", {k: v for k, v in tensors.items() if k != absent}, info)
    with pytest.raises(InputError, match=f"missing {absent}"):
        load_adapter(tmp_path / "less", load_base(inputs / "base"))
    write_adapter(tmp_path / "more", {**tensors, "transformer.h.0.other": torch.ones(2)}, info)
    with pytest.raises(InputError, match=r"unexpected transformer\.h\.0\.other"):
        load_adapter(tmp_path / "more", load_base(inputs / "base"))


RANK = """
import json, os, sys
from lora_nlg.__main__ import main
for port, arguments in json.load(open(sys.argv[1])):
    os.environ["MASTER_PORT"] = str(port)
    assert main(arguments) == 0, arguments
"""


def test_ranks_change_nothing(inputs: Path, tmp_path: Path, train: Train) -> None:
    """Two processes, joined by gloo, train each method in turn."""
    runs, sockets = [], []
    for name in NAMES:
        sockets.append(socket.socket())
        sockets[-1].bind(("127.0.0.1", 0))
        flags = {
            "train_data": inputs / "train.jsonl", "init_checkpoint": inputs / "base", "seq_len": 64, "max_step": 4,
            "warmup_step": 1, "lr": 1e-2, "work_dir": tmp_path / name, "report_to": "none", "device": "cpu",
            "train_batch_size": 4, "method": name, **SMALL.get(name, {}),
        }  # fmt: skip
        runs.append((sockets[-1].getsockname()[1], ["train", *(f"--{k}={v}" for k, v in flags.items())]))
    for held in sockets:
        held.close()
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path / "runs.json")],
            env={
                **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [rank.communicate(timeout=500)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    for name in NAMES:
        one = train(tmp_path / f"{name}-one", method=name, **SMALL.get(name, {}))
        assert losses(tmp_path / name) == pytest.approx(losses(one), abs=1e-5), name
        torch.testing.assert_close(logits(tmp_path / name), logits(one), rtol=0, atol=1e-5)
