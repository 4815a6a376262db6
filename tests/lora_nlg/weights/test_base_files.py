"""Bases as people have them: in shards, in a trainer's state dict, under one of two names; and what is no base."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.weights import base_hash, load_base
from lora_nlg.weights.identify import identify
from lora_nlg.weights.tensor_files import read_any, read_tensors

EMBEDDING, HEAD = "transformer.wte.weight", "lm_head.weight"


@pytest.fixture
def folder(tmp_path: Path, base_folder: Path) -> Path:
    return shutil.copytree(base_folder, tmp_path / "base")


@pytest.fixture
def tensors(base_folder: Path) -> dict[str, Tensor]:
    return load_file(base_folder / "model.safetensors")


@pytest.fixture
def same(base_folder: Path) -> Callable[[Path], bool]:
    """Whether what a path holds is the base."""
    wanted = base_hash(load_base(base_folder))
    return lambda path: base_hash(load_base(path)) == wanted


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def in_shards(tensors: dict[str, Tensor], folder: Path, kind: str) -> Path:
    """Two shards and their index, as transformers writes them. Returns the index."""
    stem, end = ("model", ".safetensors") if kind == "safetensors" else ("pytorch_model", ".bin")
    names = sorted(tensors)
    places = {name: f"{stem}-0000{1 + i % 2}-of-00002{end}" for i, name in enumerate(names)}
    for place in set(places.values()):
        part = {name: tensors[name] for name in names if places[name] == place}
        save_file(part, folder / place) if kind == "safetensors" else torch.save(part, folder / place)
    index = folder / f"{stem}{end}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(folder: Path, tensors: dict[str, Tensor], same: Callable[[Path], bool], kind: str) -> None:
    (folder / "model.safetensors").unlink()
    index = in_shards(tensors, folder, kind)
    if kind == "safetensors":  # of an earlier save, and older than the shards
        torch.save({name: value + 1 for name, value in tensors.items()}, folder / "pytorch_model.bin")
    for place in (folder, index):
        assert same(place) and not identify(place).problems


def test_shards_written_by_transformers(tmp_path: Path, base_folder: Path, same: Callable[[Path], bool]) -> None:
    transformers.GPT2LMHeadModel.from_pretrained(base_folder).save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file() and same(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ([], "its weight_map must say which file holds which tensor"),
        ({}, "its weight_map must say"),
        ({"a": 3}, "its weight_map must say"),
        ({"a": "../base/model.safetensors"}, "a shard is a weights file in the same folder"),
        ({"a": "/etc/passwd"}, "a shard is a weights file in the same folder"),
        ({"a": "model.safetensors.index.json"}, "a shard is a weights file in the same folder"),
        ({"a": "absent.safetensors"}, r"no file .*absent\.safetensors"),
        ({"a": "model-00001-of-00002.safetensors"}, "lacks a, which"),
        ({"lm_head.bias": "model-00001-of-00002.safetensors"}, "lacks lm_head.bias, which"),
        ({EMBEDDING: "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"}, "lacks"),
    ],
)
def test_an_index_that_does_not_fit(folder: Path, tensors: dict[str, Tensor], weight_map: Any, message: str) -> None:
    index = in_shards(tensors, folder, "safetensors")
    edit(index, weight_map=weight_map)
    with pytest.raises(InputError, match=message):
        read_tensors(index)


@pytest.mark.parametrize("wrapper", ["", "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_a_trainers_state_dict_is_a_base(
    tmp_path: Path,
    base_folder: Path,
    tensors: dict[str, Tensor],
    same: Callable[[Path], bool],
    wrapper: str,
    prefix: str,
) -> None:
    shutil.copy(base_folder / "config.json", tmp_path)
    state = {f"{prefix}{name}": value for name, value in tensors.items()}
    state[f"{prefix}{HEAD}"] = state[f"{prefix}{EMBEDDING}"]
    file = tmp_path / "checkpoint.pt"
    torch.save({wrapper: state, "epoch": 3, "optimizer": {"state": {}}} if wrapper else state, file)
    assert same(file) and identify(file).kind == "model"


def test_compiled_blocks(tmp_path: Path, base_folder: Path, tensors: dict[str, Tensor], same) -> None:
    shutil.copy(base_folder / "config.json", tmp_path)
    state = {name.replace(".h.1.", ".h.1._orig_mod."): value for name, value in tensors.items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert same(tmp_path)


def test_the_embedding_under_the_heads_name(folder: Path, base_folder: Path, same: Callable[[Path], bool]) -> None:
    """safetensors' save_model keeps one of the names of a shared tensor, and says in the header which."""
    save_model(transformers.GPT2LMHeadModel.from_pretrained(base_folder), str(folder / "model.safetensors"))
    assert EMBEDDING not in load_file(folder / "model.safetensors")
    assert same(folder) and not identify(folder).problems
    edit(folder / "config.json", tie_word_embeddings=False)
    assert same(folder), "the file says that the two are one"


def test_one_name_without_a_note_of_it(folder: Path, tensors: dict[str, Tensor], same: Callable[[Path], bool]) -> None:
    tensors[HEAD] = tensors.pop(EMBEDDING)
    save_file(tensors, folder / "model.safetensors")
    assert same(folder)
    edit(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(InputError, match="wte is absent"):
        load_base(folder)


def test_a_head_that_is_not_there(folder: Path) -> None:
    edit(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(InputError, match=r'has no head, though its config.json says "tie_word_embeddings": false'):
        load_base(folder)
    edit(folder / "config.json", tie_word_embeddings="no")
    with pytest.raises(InputError, match="tie_word_embeddings is 'no'; it must be true or false"):
        load_base(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to(torch.int8), "is int8; weights are fp32, fp16, bf16 or fp64"),
        (lambda t: t.bool(), "is bool; weights are"),
        (lambda t: t.to(torch.uint16), "is uint16; weights are"),
        (lambda t: t.long(), "is int64; weights are"),
        (lambda t: t.to(torch.float8_e5m2), "is float8_e5m2; weights are"),
        (lambda t: t.to(torch.complex64), "is complex64; weights are"),
        (lambda t: t / 0, "holds values that are not finite"),
        (lambda t: t * torch.nan, "holds values that are not finite"),
        (lambda t: t.double() * 1e300, "holds values that are not finite"),
    ],
)
@pytest.mark.parametrize("name", [EMBEDDING, "transformer.h.1.mlp.c_fc.weight", "transformer.ln_f.bias"])
def test_values_that_are_no_weights(
    folder: Path, tensors: dict[str, Tensor], name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    save_file({**tensors, name: change(tensors[name] + 1).contiguous()}, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"{name} {message}"):
        load_base(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_number_types_of_weights(folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    save_file({name: value.to(dtype) for name, value in tensors.items()}, folder / "model.safetensors")
    loaded: GPT2 = load_base(folder)
    assert torch.equal(loaded.transformer.wte.weight, tensors[EMBEDDING].to(dtype).float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 10**7}, r"n_layer is 2, the model needs 10000000"),
        ({"n_layer": 1}, "n_layer is 2, the model needs 1"),
        ({"n_positions": 10**12}, r"wpe is \(64, 48\), the model needs \(1000000000000, 48\)"),
        ({"n_embd": 3 * 10**9}, r"wte is \(420, 48\), the model needs \(420, 3000000000\)"),
        ({"vocab_size": 419}, r"wte is \(420, 48\), the model needs \(419, 48\)"),
        ({"n_layer": "2"}, "sizes must be positive whole numbers, got n_layer '2'"),
        ({"n_layer": 2.0}, "sizes must be positive whole numbers, got n_layer 2.0"),
        ({"n_head": True}, "sizes must be positive whole numbers, got n_head True"),
        ({"n_embd": None}, "sizes must be positive whole numbers, got n_embd None"),
        ({"vocab_size": [420]}, "sizes must be positive whole numbers"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon must be a number from 0 to 1, got '1e-5'"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon must be a number"),
        ({"scale_attn_weights": 1}, "scale_attn_weights is 1"),
        ({"activation_function": ["gelu_new"]}, r"activation_function is \['gelu_new'\]"),
        ({"model_type": ["gpt2"]}, "describes a .* model, not gpt2"),
    ],
    ids=str,
)
def test_a_config_of_other_sizes_or_types_is_one_line(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message) as error:
        load_base(folder)
    assert "\n" not in str(error.value) and identify(folder).problems


@pytest.mark.parametrize("text", ["[]", "3", "null", '"gpt2"', "{"])
def test_a_config_that_is_no_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load_base(folder)


def test_two_names_for_one_thing(folder: Path, tensors: dict[str, Tensor]) -> None:
    for name, value in (("h.0.ln_1.bias", tensors["transformer.h.0.ln_1.bias"] + 1), ("lm_head.decoder.weight", None)):
        both = {**tensors, name: value if value is not None else tensors[EMBEDDING] + 1}
        both |= {HEAD: tensors[EMBEDDING] + 2} if value is None else {}
        save_file(both, folder / "model.safetensors")
        with pytest.raises(InputError, match="is there under two names, with other values under each"):
            load_base(folder)


def test_a_pickle_of_objects_gets_our_advice_not_torchs(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.bin")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    for name, message in (
        ("whole.bin", "it is a pickle of Python objects, not of tensors alone; save model.state_dict() in their place"),
        ("x.jsonl", "it is neither safetensors nor a file that torch.save wrote"),
    ):
        with pytest.raises(InputError) as error:
            read_any(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name} is not a readable weights file: {message}"


def test_a_file_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    assert read_any(tmp_path / "plain.pt")["a"].shape == (10**6,)
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 10**5
    with pytest.raises(InputError, match=r"is compressed and unpacks to 4,0.*torch\.save compresses nothing"):
        read_any(tmp_path / "bomb.pt")
    torch.save({"a": torch.zeros(1).expand(10**9)}, tmp_path / "view.pt")
    with pytest.raises(InputError, match="holds tensors that unpack to 4,000,000,000"):
        read_any(tmp_path / "view.pt")


def test_one_flipped_bit_in_a_header(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Whatever bit of the header flips, the file is read as it was or refused in one line."""
    file = folder / "model.safetensors"
    save_file({name: tensors[name] for name in list(tensors)[:3]}, file, {"format": "pt"})
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for position in range(end):
        for bit in (1, 16, 128):
            damaged = bytearray(content)
            damaged[position] ^= bit
            file.write_bytes(damaged)
            try:
                load_base(folder)
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused == 3 * end, "three tensors are no base, whole or not"
