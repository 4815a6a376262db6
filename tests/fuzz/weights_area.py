"""Weights, vocabularies and snapshots, spoiled: what loads must be what was saved, wherever its hash is known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from fuzzing import Target, exit_status
from mutation import JSON, PICKLE, SAFETENSORS, damaged, mixed, reworded
from tokenizers import Tokenizer as Theirs
from tokenizers import pre_tokenizers

from lora_nlg.__main__ import main
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, lora_targets, parse_targets
from lora_nlg.lora import LoRASpec, inject
from lora_nlg.methods import LoRA
from lora_nlg.methods.full import Full
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.tokenizers.gpt2_bpe import GPT2Tokenizer
from lora_nlg.training.snapshots import Snapshot, load_snapshot, save_snapshot
from lora_nlg.weights import (
    AdapterInfo,
    base_hash,
    describe_base,
    describe_tokenizer,
    load_base,
    save_adapter,
    save_base,
)
from lora_nlg.weights.adapter import read_adapter, tensors_hash
from lora_nlg.weights.base import released_tensors
from lora_nlg.weights.loralib import from_loralib, read_loralib, write_loralib
from lora_nlg.weights.lowrank import LowRank, extract
from lora_nlg.weights.peft import read_peft, write_peft
from lora_nlg.weights.run import load_run, save_full_model

CONFIG = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=262, n_positions=16)


def small_model(adapted: bool = False) -> GPT2:
    """A random GPT-2, with an adapter that changes it."""
    torch.manual_seed(0)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    if adapted:
        inject(model, lora_targets(CONFIG, parse_targets("q,v,fc", LoRASpec(2, 8.0))))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_()
    return model.eval()


def vocabulary() -> GPT2Tokenizer:
    """GPT-2's bytes, five merges, and the token that ends texts."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "a"), ("i", "n"), ("e", "r")]
    return GPT2Tokenizer(
        {token: i for i, token in enumerate([*tokens, *(a + b for a, b in merges), "<|endoftext|>"])}, merges
    )


@contextlib.contextmanager
def weights(folder: Path) -> Iterator[list[Target]]:
    """Bases, adapters, runs, other programs' files and vocabularies."""
    base, run, whole = folder / "base", folder / "run", folder / "whole"
    plain, adapted, tokenizer = small_model(), small_model(adapted=True), vocabulary()
    save_base(plain, base)
    tokenizer.save(run / "tokenizer")
    tokenizer.save(whole / "tokenizer")
    about = describe_tokenizer(tokenizer, run / "tokenizer")
    info = AdapterInfo(LoRA.of(adapted), describe_base(plain, base), about, step=5)
    save_adapter(run, adapted, info)
    save_full_model(whole / "model", plain, AdapterInfo(Full(), describe_base(plain, base), about, step=5))
    write_peft(folder / "peft", extract(adapted), str(base))
    write_loralib(folder / "loralib.pt", extract(adapted))
    (folder / "pickled").mkdir()
    torch.save(released_tensors(plain), folder / "pickled/pytorch_model.bin")
    (folder / "pickled/config.json").write_bytes((base / "config.json").read_bytes())
    saved, tensors = read_adapter(run)
    hashed = tensors_hash(tensors)  # now: they are a view of the file, which is about to change

    def adapter(_: bytes) -> str:
        found, values = read_adapter(run)
        same = found == saved and tensors_hash(values) == hashed
        return "" if same else f"another adapter was read: {found}"

    def same_run(path: Path):
        before = load_run(path)

        def read(_: bytes) -> str:
            loaded = load_run(path)
            same = (
                base_hash(loaded.model),
                loaded.model.config,
                loaded.tokenizer.sha256,
                loaded.info.method,
            )
            return "" if same == was else f"another run was loaded: {same}, not {was}"

        was = (base_hash(before.model), before.model.config, before.tokenizer.sha256, before.info.method)
        return read

    def some_base(path: Path):
        def read(_: bytes) -> str:
            finite = all(parameter.isfinite().all() for parameter in load_base(path).parameters())
            return "" if finite else "a base with NaN was loaded"

        return read

    def foreign(read_it):
        def read(_: bytes) -> str:
            found: LowRank = read_it()
            parts = [part for parts in found.parts.values() for part in parts]
            finite = all(
                part.A.isfinite().all() and part.B.isfinite().all() and abs(part.scaling) < 1e30 for part in parts
            )
            return "" if parts and finite else "an adapter of nothing or of NaN was read"

        return read

    def inspect(path: Path):
        return lambda _: exit_status(main, ["inspect", str(path)])

    loralib = foreign(lambda: from_loralib(read_loralib(folder / "loralib.pt"), 8.0, ("q", "v")))
    peft = foreign(lambda: read_peft(folder / "peft")[0])
    yield [
        Target(name, file, file.read_bytes(), mutate, read)
        for name, file, mutate, read in (
            ("adapter", run / "adapter.safetensors", SAFETENSORS, adapter),
            ("adapter's description", run / "adapter.json", JSON, adapter),
            ("run's adapter", run / "adapter.safetensors", SAFETENSORS, same_run(run)),
            ("run's vocabulary", run / "tokenizer/vocab.json", JSON, same_run(run)),
            ("run's merges", run / "tokenizer/merges.txt", mixed(reworded, damaged), same_run(run)),
            ("run's base", base / "model.safetensors", SAFETENSORS, same_run(run)),
            ("run's base's config", base / "config.json", JSON, same_run(run)),
            ("whole model", whole / "model/model.safetensors", SAFETENSORS, same_run(whole)),
            ("whole model's config", whole / "model/config.json", JSON, same_run(whole)),
            ("whole model's description", whole / "model/lora_nlg.json", JSON, same_run(whole)),
            ("base", base / "model.safetensors", SAFETENSORS, some_base(base)),
            ("base's config", base / "config.json", JSON, some_base(base)),
            ("pickled base", folder / "pickled/pytorch_model.bin", PICKLE, some_base(folder / "pickled")),
            ("loralib", folder / "loralib.pt", PICKLE, loralib),
            ("PEFT weights", folder / "peft/adapter_model.safetensors", SAFETENSORS, peft),
            ("PEFT config", folder / "peft/adapter_config.json", JSON, peft),
            ("inspect adapter", run / "adapter.safetensors", SAFETENSORS, inspect(run)),
            ("inspect loralib", folder / "loralib.pt", PICKLE, inspect(folder / "loralib.pt")),
            ("inspect PEFT", folder / "peft/adapter_config.json", JSON, inspect(folder / "peft")),
            ("inspect base", base / "config.json", JSON, inspect(base)),
        )
    ] + list(vocabularies(folder, tokenizer))  # fmt: skip


def vocabularies(folder: Path, tokenizer: GPT2Tokenizer) -> Iterator[Target]:
    """`tokenizer.json`, which must encode as the library `tokenizers` does it, and a SentencePiece model."""
    content = json.loads(tokenizer._backend.to_str())
    content["added_tokens"] = [
        {
            "id": 262,
            "content": "<pad>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ]
    file, text = folder / "tokenizer.json", "the inner <pad> é\n 't there<|endoftext|>"

    def encode(_: bytes) -> str:
        ours = load_tokenizer(file).encode(text.replace("<|endoftext|>", ""))
        try:
            theirs = Theirs.from_file(str(file)).encode(text.replace("<|endoftext|>", ""), add_special_tokens=False).ids
        except Exception:  # the library's own kind
            return ""
        return "" if ours == theirs else f"encoded as {ours}, by tokenizers as {theirs}"

    yield Target("tokenizer.json", file, json.dumps(content, ensure_ascii=False).encode(), JSON, encode)
    model = Path(__file__).resolve().parents[2] / "data/sample/base/sentencepiece.model"

    def pieces(_: bytes) -> str:
        loaded = load_tokenizer(folder / "x.model")
        loaded.decode(loaded.encode(text))
        return ""

    yield Target("SentencePiece", folder / "x.model", model.read_bytes(), mixed(damaged), pieces)


def snapshot_targets(folder: Path) -> list[Target]:
    """The two files of a snapshot."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "exp_avg.a": torch.ones(2)}
    where = save_snapshot(folder / "snapshots", Snapshot(7, tensors, {"best": 2.5, "epoch": [1, 2]}, {"lr": 1e-3}))

    def read(_: bytes) -> str:
        found = load_snapshot(where)
        same = (found.step, found.state, found.identity) == (7, {"best": 2.5, "epoch": [1, 2]}, {"lr": 1e-3})
        equal = found.tensors.keys() == tensors.keys() and all(
            torch.equal(found.tensors[name], tensors[name]) for name in tensors
        )
        return "" if same and equal else f"another snapshot was read: {found}"

    return [
        Target(
            "snapshot's tensors",
            where / "state.safetensors",
            (where / "state.safetensors").read_bytes(),
            SAFETENSORS,
            read,
        ),
        Target("snapshot's description", where / "snapshot.json", (where / "snapshot.json").read_bytes(), JSON, read),
    ]
