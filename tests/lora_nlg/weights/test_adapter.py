"""Adapter files: round trips, self-description, and every refusal with its difference and its flag."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, lora_targets, targets_of
from lora_nlg.lora import LoRASpec, inject, mark_only_lora_as_trainable
from lora_nlg.methods import LoRA
from lora_nlg.weights import (
    AdapterInfo,
    describe_base,
    describe_tokenizer,
    load_adapter,
    load_base,
    read_adapter,
    save_adapter,
)

Adapted = Callable[..., GPT2]
Logits = Callable[[GPT2], Tensor]


def save(folder: Path, model: GPT2, base_folder: Path, **changes: object) -> AdapterInfo:
    info = AdapterInfo(LoRA.of(model), describe_base(load_base(base_folder), base_folder), **changes)
    save_adapter(folder, model, info)
    return info


@pytest.mark.parametrize("targets", ["q,v", "k", "q:r=1:alpha=2,k:r=3,v:r=8", "q,k,v,o,fc,proj,wte", "wte:r=2,proj"])
@pytest.mark.parametrize("rule", ["alpha/r", "rslora", "none"])
def test_round_trip(
    tmp_path: Path, base_folder: Path, adapted: Adapted, logits: Logits, targets: str, rule: str
) -> None:
    """Out and into a fresh base: equal logits bit for bit, unlike the base's, and equal descriptions."""
    model = adapted(targets, rule=rule)
    info = save(tmp_path, model, base_folder, step=7, extra={"valid_loss": 1.5})
    fresh = load_base(base_folder)
    before = logits(fresh)
    assert load_adapter(tmp_path, fresh) == info
    assert torch.equal(logits(fresh), logits(model))
    assert (logits(fresh) - before).abs().max() > 1e-2
    assert targets_of(fresh, fresh.config) == info.method.targets


def test_into_a_model_that_has_lora_already(
    tmp_path: Path, base_folder: Path, adapted: Adapted, logits: Logits
) -> None:
    """As a resumed run does; the dropout may differ, rank, alpha, rule and targets may not."""
    model = adapted("q,v", seed=1)
    save(tmp_path, model, base_folder)
    other = adapted("q,v", seed=2)
    assert not torch.equal(logits(other), logits(model))
    load_adapter(tmp_path, other)
    assert torch.equal(logits(other), logits(model))
    for changed, message in [
        ("q:r=8,v", "q is r=4 alpha=16 (alpha/r) there, r=8 alpha=16 (alpha/r) here"),
        ("q,v:alpha=32", "v is r=4 alpha=16 (alpha/r) there, r=4 alpha=32 (alpha/r) here"),
        ("q", "v is r=4 alpha=16 (alpha/r) there, absent here"),
        ("q,v,fc", "fc is absent there, r=4 alpha=16 (alpha/r) here"),
    ]:
        with pytest.raises(InputError) as error:
            load_adapter(tmp_path, adapted(changed))
        assert message in str(error.value)


def test_biases_travel_with_the_adapter(tmp_path: Path, base_folder: Path, adapted: Adapted, logits: Logits) -> None:
    model = adapted("q,v")
    info = AdapterInfo(LoRA.of(model, "lora_only"), describe_base(model, base_folder))
    mark_only_lora_as_trainable(model, "lora_only")
    with torch.no_grad():
        model.get_submodule("transformer.h.0.attn.c_attn").bias.add_(1.0)
    save_adapter(tmp_path, model, info)
    fresh = load_base(base_folder)
    load_adapter(tmp_path, fresh)
    assert torch.equal(logits(fresh), logits(model))


def test_the_weights_file_describes_itself(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    info = save(tmp_path, adapted(), base_folder, step=3)
    description = json.loads((tmp_path / "adapter.json").read_text())
    assert description["targets"]["q"] == {
        "r": 4, "alpha": 16.0, "dropout": 0.1, "rule": "alpha/r", "scaling": 4.0,
    }  # fmt: skip
    assert description["step"] == 3 and description["base"]["config"]["n_embd"] == 48
    (tmp_path / "adapter.json").unlink()
    assert read_adapter(tmp_path)[0] == info
    (tmp_path / "adapter.safetensors").rename(tmp_path / "elsewhere.safetensors")
    assert read_adapter(tmp_path / "elsewhere.safetensors")[0] == info


def test_an_edited_description_is_refused(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    save(tmp_path, adapted(), base_folder)
    file = tmp_path / "adapter.json"
    file.write_text(file.read_text().replace('"alpha": 16.0', '"alpha": 32.0'))
    with pytest.raises(InputError, match=r"contradicts adapter.safetensors about targets.*delete it"):
        read_adapter(tmp_path)


def test_a_changed_value_is_noticed(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    save(tmp_path, adapted(), base_folder)
    file = tmp_path / "adapter.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: its values don't have the hash it states"):
        read_adapter(tmp_path)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_adapter(tmp_path)


def header_of(file: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    with safe_open(file, framework="pt") as handle:
        return load_file(file), json.loads(handle.metadata()["lora_nlg"])


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["targets"]["q"].update(alpha=32.0, scaling=8.0),
        lambda value: value["targets"]["v"].update(dropout=0.5),
        lambda value: value.update(step=99),
        lambda value: value["base"].update(sha256="0" * 64),
        lambda value: value["base"]["config"].update(n_head=2),
        lambda value: value.update(variant="pissa"),
        lambda value: value.update(checksum="0" * 64),
        lambda value: value.update(checksun=value.pop("checksum")),
    ],
)
def test_a_changed_description_is_noticed(
    tmp_path: Path, base_folder: Path, adapted: Adapted, change: Callable[[dict], None]
) -> None:
    """In the weights file itself, with its JSON changed alike or gone."""
    save(tmp_path, adapted(), base_folder)
    tensors, value = header_of(tmp_path / "adapter.safetensors")
    change(value)
    save_file(tensors, tmp_path / "adapter.safetensors", {"lora_nlg": json.dumps(value)})
    (tmp_path / "adapter.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"checksum it states|unknown field 'checksun'"):
        read_adapter(tmp_path)
    (tmp_path / "adapter.json").unlink()
    with pytest.raises(InputError, match=r"checksum it states|unknown field 'checksun'"):
        read_adapter(tmp_path)


def test_an_adapter_of_a_release_before_checksums_loads(
    tmp_path: Path, base_folder: Path, adapted: Adapted, logits: Logits, caplog: pytest.LogCaptureFixture
) -> None:
    model = adapted()
    info = save(tmp_path, model, base_folder)
    tensors, value = header_of(tmp_path / "adapter.safetensors")
    del value["checksum"]
    save_file(tensors, tmp_path / "adapter.safetensors", {"lora_nlg": json.dumps(value)})
    (tmp_path / "adapter.json").write_text(json.dumps(value))
    for _ in range(2):
        fresh = load_base(base_folder)
        assert load_adapter(tmp_path, fresh) == info and torch.equal(logits(fresh), logits(model))
    assert caplog.text.count("is of a release before checksums") == 1


def test_a_flipped_bit_in_an_adapters_header_is_one_line(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    """A flip in what is read is refused; the few that don't matter (blanks, `"format": "pt"`) change no value."""
    info = save(tmp_path, adapted("q:r=1"), base_folder)
    (tmp_path / "adapter.json").unlink()
    file = tmp_path / "adapter.safetensors"
    content, plain = file.read_bytes(), load_file(file)
    end = 8 + int.from_bytes(content[:8], "little")
    for position in range(0, end, 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            read, tensors = read_adapter(tmp_path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert read == info and all(torch.equal(tensors[name], plain[name]) for name in plain)


def test_another_base_is_refused(tmp_path: Path, base_folder: Path, adapted: Adapted, logits: Logits) -> None:
    model = adapted()
    save(tmp_path, model, base_folder)
    other = load_base(base_folder)
    with torch.no_grad():
        other.transformer.h[0].mlp.c_fc.weight[0, 0] += 1e-4
    with pytest.raises(InputError, match=r"same shape but other values \(hash .*`allow_other_base`"):
        load_adapter(tmp_path, other)
    load_adapter(tmp_path, other, allow_other_base=True)
    torch.testing.assert_close(logits(other), logits(model), rtol=0, atol=1e-2)

    wider = empty_gpt2(GPT2Config(n_layer=2, n_embd=96, n_head=3, vocab_size=420, n_positions=64))
    for allow in (False, True):
        with pytest.raises(InputError, match="of another size: n_embd is 48 there, 96 here"):
            load_adapter(tmp_path, wider, allow_other_base=allow)


def test_another_vocabulary_is_refused(tmp_path: Path, base_folder: Path, adapted: Adapted, vocabulary) -> None:
    from lora_nlg.tokenizers.sentencepiece import train_sentencepiece

    model = adapted()
    save(tmp_path, model, base_folder, tokenizer=describe_tokenizer(vocabulary, tmp_path))
    load_adapter(tmp_path, load_base(base_folder), tokenizer=vocabulary)
    other = train_sentencepiece([" quite another text", " and one more"] * 9, 290)
    with pytest.raises(InputError, match=r"sentencepiece of 330 ids .* sentencepiece of 290 ids .*`allow_other_token"):
        load_adapter(tmp_path, load_base(base_folder), tokenizer=other)
    load_adapter(tmp_path, load_base(base_folder), tokenizer=other, allow_other_tokenizer=True)


def test_a_diverged_adapter_is_refused(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    model = adapted()
    with torch.no_grad():
        model.get_submodule("transformer.h.1.attn.c_attn").lora_B[0, 0] = torch.nan
    save(tmp_path, model, base_folder)
    with pytest.raises(InputError, match=r"not finite \(transformer.h.1.attn.c_attn.lora_B\): training had diverged"):
        load_adapter(tmp_path, load_base(base_folder))


def test_a_description_must_fit_the_model(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    with pytest.raises(InputError, match=r"doesn't fit the model: q is r=2 alpha=1"):
        save_adapter(tmp_path, adapted("q"), AdapterInfo(LoRA({"q": LoRASpec(2, 1)})))
    assert not list(tmp_path.iterdir())


def test_what_is_not_an_adapter(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    with pytest.raises(InputError, match="is not an adapter lora-nlg wrote; `lora-nlg inspect"):
        read_adapter(base_folder / "model.safetensors")
    with pytest.raises(InputError, match=r"no adapter\.safetensors in"):
        read_adapter(tmp_path)
    with pytest.raises(InputError, match="no adapter at"):
        read_adapter(tmp_path / "absent")
    save(tmp_path, adapted(), base_folder)
    with pytest.raises(InputError, match="holds LoRA weights, not a base"):
        load_base(tmp_path / "adapter.safetensors", GPT2Config(n_layer=2, n_embd=48, n_head=3))
    tensors = load_file(tmp_path / "adapter.safetensors")
    save_file(tensors, tmp_path / "newer.safetensors", {"lora_nlg": '{"format": "lora-nlg adapter 2"}'})
    with pytest.raises(InputError, match="'lora-nlg adapter 2', not 'lora-nlg adapter 1'; was it written by a newer"):
        read_adapter(tmp_path / "newer.safetensors")


def test_an_interrupted_save_keeps_an_adapter(
    tmp_path: Path, base_folder: Path, adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two writes fails, what is in the folder still loads: the old adapter or the new one."""
    from lora_nlg.weights import adapter

    first = save(tmp_path, adapted(seed=1), base_folder, step=1)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    for name, step in (("save_tensors", 1), ("write_json", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(adapter, name, fail)
            with pytest.raises(OSError, match="no space"):
                save(tmp_path, adapted(seed=2), base_folder, step=2)
        info, _ = read_adapter(tmp_path)
        assert info.step == step
    assert first.step == 1


def test_shipping_to_a_model_with_part_of_the_blocks(tmp_path: Path, base_folder: Path, adapted: Adapted) -> None:
    """A model whose blocks are not adapted alike can't be described by target names, so it isn't saved as such."""
    model = load_base(base_folder)
    targets = lora_targets(model.config, {"q": LoRASpec()})
    inject(model, dict(list(targets.items())[:1]))
    with pytest.raises(InputError, match="not adapted alike"):
        save_adapter(tmp_path, model, AdapterInfo(LoRA({"q": LoRASpec()})))
