"""A run directory is enough: base, adapter and vocabulary are found and checked, or their absence is explained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, lora_targets
from lora_nlg.lora import LoRASpec, inject, lora_layers
from lora_nlg.methods import LoRA
from lora_nlg.methods.full import Full
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights import (
    AdapterInfo,
    describe_base,
    describe_tokenizer,
    load_base,
    load_run,
    save_adapter,
    save_base,
    save_full_model,
)
from lora_nlg.weights.identify import identify
from lora_nlg.weights.run import Run, rescaled

Adapted = Callable[..., GPT2]
Logits = Callable[[GPT2], Tensor]


@pytest.fixture
def base(tmp_path: Path, base_folder: Path) -> Path:
    return shutil.copytree(base_folder, tmp_path / "base")


@pytest.fixture
def run(tmp_path: Path, base: Path, adapted: Adapted, vocabulary: Tokenizer) -> Path:
    """A LoRA run as the trainer leaves it: last and best adapter, its vocabulary inside."""
    folder = tmp_path / "run"
    vocabulary.save(folder / "tokenizer")
    for place, seed in ((folder, 1), (folder / "best", 2)):
        model = adapted(seed=seed)
        info = AdapterInfo(
            LoRA.of(model),
            describe_base(model, base),
            describe_tokenizer(vocabulary, folder / "tokenizer"),
            step=seed,
        )
        save_adapter(place, model, info)
    return folder


def test_from_the_directory_alone(run: Path, adapted: Adapted, logits: Logits, vocabulary: Tokenizer) -> None:
    for place, seed in ((run, 1), (run / "best", 2), (run / "best" / "adapter.safetensors", 2)):
        model, tokenizer, info = load_run(place)
        assert torch.equal(logits(model), logits(adapted(seed=seed))) and info.step == seed
        assert tokenizer.sha256 == vocabulary.sha256 and not model.training


def test_moved_base(run: Path, base: Path, tmp_path: Path, logits: Logits, adapted: Adapted) -> None:
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"trained on base \(hash .*not there any more; .*`base`"):
        load_run(run)
    assert torch.equal(logits(load_run(run, base=moved).model), logits(adapted(seed=1)))


def test_replaced_base(run: Path, base: Path) -> None:
    """Another model saved over the base's path is noticed by its values."""
    model = load_base(base)
    with torch.no_grad():
        model.transformer.wte.weight[5] *= 1.01
    save_base(model, base)
    with pytest.raises(InputError, match="same shape but other values"):
        load_run(run)
    assert load_run(run, allow_other_base=True).info.step == 1


def test_vocabulary_is_found_or_asked_for(run: Path, base: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    from lora_nlg.tokenizers.sentencepiece import train_sentencepiece

    shutil.rmtree(run / "tokenizer")
    with pytest.raises(InputError, match=r"needs the vocabulary sentencepiece of 330 ids .*with `tokenizer`"):
        load_run(run)
    vocabulary.save(tmp_path / "vocabulary")
    assert load_run(run, tokenizer=tmp_path / "vocabulary").tokenizer.sha256 == vocabulary.sha256
    vocabulary.save(base)
    assert load_run(run / "best").tokenizer.sha256 == vocabulary.sha256
    other = train_sentencepiece([" quite another text", " and one more"] * 9, 290)
    other.save(base)
    other.save(tmp_path / "other")
    with pytest.raises(InputError, match=r"base has another \("):
        load_run(run)
    with pytest.raises(InputError, match="`allow_other_tokenizer`"):
        load_run(run, tokenizer=tmp_path / "other")
    assert load_run(run, tokenizer=tmp_path / "other", allow_other_tokenizer=True).tokenizer.vocab_size == 290


def test_a_vocabulary_too_large_for_the_model(run: Path, tmp_path: Path, vocabulary: Tokenizer) -> None:
    class Large:
        def __getattr__(self, name: str) -> object:
            return getattr(vocabulary, name)

        vocab_size = 5000

    from lora_nlg.weights import run as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_tokenizer", lambda _: Large())
        with pytest.raises(InputError, match="vocabulary has 5000 ids, the model only 420"):
            load_run(run)


def test_full_model_run_and_bare_base(base: Path, tmp_path: Path, logits: Logits, vocabulary: Tokenizer) -> None:
    folder = tmp_path / "full"
    vocabulary.save(folder / "tokenizer")
    model = load_base(base)
    info = AdapterInfo(Full(), describe_base(model, base), describe_tokenizer(vocabulary, folder / "tokenizer"), step=9)
    with torch.no_grad():
        model.transformer.ln_f.weight.mul_(1.5)
    save_full_model(folder / "model", model, info)
    shutil.rmtree(base)
    for place in (folder, folder / "model"):
        loaded = load_run(place)
        assert torch.equal(logits(loaded.model), logits(model)) and loaded.info == info
        assert loaded.tokenizer.sha256 == vocabulary.sha256
    vocabulary.save(tmp_path / "bare")
    save_base(model, tmp_path / "bare")
    assert load_run(tmp_path / "bare").info.method == Full()


def swap(file: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def swap_layers(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if ".h.0." in name]:
        other = name.replace(".h.0.", ".h.1.")
        tensors[name], tensors[other] = tensors[other], tensors[name]


def transpose_a_square(tensors: dict[str, Tensor]) -> None:
    name = "transformer.h.0.attn.c_proj.weight"
    tensors[name] = tensors[name].t().contiguous()


def flip_a_bit(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.h.1.mlp.c_fc.bias"].view(torch.int32)[3] ^= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 4}, "a config.json of another shape than lora_nlg.json recorded"),
        ({"layer_norm_epsilon": 1e-3}, "a config.json of another shape than lora_nlg.json recorded"),
        (swap_layers, "weights that don't have the hash lora_nlg.json recorded"),
        (transpose_a_square, "weights that don't have the hash lora_nlg.json recorded"),
        (flip_a_bit, "weights that don't have the hash lora_nlg.json recorded"),
        ("step", "lora_nlg.json was changed after it was written"),
        ("[]", "lora_nlg.json is damaged: it is no JSON object"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_whole_model_that_was_changed_since(
    base: Path, tmp_path: Path, vocabulary: Tokenizer, change: object, message: str
) -> None:
    """Decoding, a run that starts from it, `inspect` and `doctor` all notice."""
    folder = tmp_path / "full"
    vocabulary.save(folder / "tokenizer")
    model = load_base(base)
    save_full_model(folder / "model", model, AdapterInfo(Full(), describe_base(model, base), None, step=9))
    load_run(folder)
    record, config = folder / "model" / "lora_nlg.json", folder / "model" / "config.json"
    if callable(change):
        swap(folder / "model" / "model.safetensors", change)
    elif isinstance(change, dict):
        config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    else:
        record.write_text(change if change == "[]" else record.read_text().replace('"step": 9', '"step": 8'))
    for load in (load_run, lambda path: load_base(path / "model")):
        with pytest.raises(InputError, match=message):
            load(folder)
    assert message in identify(folder).problems[0]
    record.unlink()
    load_run(folder)  # a plain GPT-2 now, as any program may have changed it


def test_a_whole_model_of_a_release_before_checksums_loads(
    base: Path, tmp_path: Path, vocabulary: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary.save(tmp_path / "full" / "tokenizer")
    model = load_base(base)
    save_full_model(tmp_path / "full" / "model", model, AdapterInfo(Full(), describe_base(model, base), None, step=9))
    record = tmp_path / "full" / "model" / "lora_nlg.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps({key: value[key] for key in value if key not in ("checksum", "sha256")}))
    assert load_run(tmp_path / "full").info.step == 9
    assert "is of a release before checksums" in caplog.text


def test_an_adapter_and_a_whole_model_in_one_folder(run: Path, base: Path) -> None:
    save_base(load_base(base), run / "model")
    with pytest.raises(InputError, match=r"holds both adapter\.safetensors and model/"):
        load_run(run)
    assert load_run(run / "adapter.safetensors").info.step == 1


def test_without_a_hash_a_neighbours_vocabulary_is_not_taken(base: Path, tmp_path: Path, vocabulary: Tokenizer) -> None:
    from lora_nlg.tokenizers.sentencepiece import train_sentencepiece

    train_sentencepiece([" quite another text", " and one more"] * 9, 290).save(tmp_path / "tokenizer")
    with pytest.raises(InputError, match="needs a vocabulary"):
        load_run(base)
    vocabulary.save(base)
    assert load_run(base).tokenizer.sha256 == vocabulary.sha256


def test_what_is_no_run(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match="no run at"):
        load_run(tmp_path / "absent")
    (run / "adapter.safetensors").unlink()
    with pytest.raises(InputError, match=r"is not a trained run: .*e\.g\. .*best"):
        load_run(run)


def test_another_run_of_the_base_shares_it_and_leaves_the_first_alone(
    run: Path, base: Path, adapted: Adapted, logits: Logits, vocabulary: Tokenizer, tmp_path: Path
) -> None:
    model = adapted("k,o:r=2", seed=3)
    info = AdapterInfo(LoRA.of(model), describe_base(model, base), describe_tokenizer(vocabulary, run))
    save_adapter(tmp_path / "other", model, info)
    first = load_run(run, tokenizer=run / "tokenizer")
    before = logits(first.model)
    for place, own in ((run / "best", adapted(seed=2)), (tmp_path / "other", model)):
        second = load_run(place, tokenizer=run / "tokenizer", before=first)
        assert torch.equal(logits(second.model), logits(own)) and torch.equal(logits(first.model), before)
        assert second.model.transformer.wte.weight is first.model.transformer.wte.weight
    # A model that was trained whole is nobody's base.
    whole = Run(load_base(base), vocabulary, AdapterInfo(Full(), base=first.info.base))
    with torch.no_grad():
        whole.model.transformer.wte.weight.add_(1.0)
    assert torch.equal(logits(load_run(run, before=whole).model), before)


@pytest.mark.parametrize("variant", ["lora", "pissa", "dora"])
@pytest.mark.parametrize("rule", ["alpha/r", "rslora", "none"])
def test_a_rescaled_update_is_the_update_of_another_alpha(
    variant: str, rule: str, base: Path, vocabulary: Tokenizer, logits: Logits
) -> None:
    model = load_base(base)
    specs = {"q": LoRASpec(4, 16.0, rule=rule), "v": LoRASpec(2, 16.0, rule=rule)}
    inject(model, lora_targets(model.config, specs), variant)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.add_(torch.randn_like(layer.lora_B) * 0.1)
    run = Run(model.eval(), vocabulary, AdapterInfo(LoRA(specs, variant)))
    before = logits(model)
    assert rescaled(run, 1.0) is run
    half, none = rescaled(run, 0.5), rescaled(run, 0.0)
    assert torch.equal(logits(none.model), logits(load_base(base))) and none.info.method == Full()
    for name, layer in lora_layers(model).items():
        halved = lora_layers(half.model)[name].delta_weight()
        if variant == "dora":  # its update is no multiple: m·(W + s·BA)/‖W + s·BA‖ − W, row by row
            rows = layer.slices[0].columns
            (_, A, B, scaling), magnitude = layer.trained_factors()[0], layer.lora_magnitude[layer.slices[0].rows]
            V = layer.weight[rows] + 0.5 * scaling * B @ A
            expected = V * (magnitude / V.norm(dim=1))[:, None] - layer.weight[rows]
            torch.testing.assert_close(halved[rows], expected)
        else:
            torch.testing.assert_close(halved, 0.5 * layer.delta_weight())
    for name, spec in half.info.method.targets.items():
        assert spec.scaling == pytest.approx(0.5 * specs[name].scaling)
    assert torch.equal(logits(model), before) and not torch.allclose(logits(half.model), before)


def test_what_cannot_be_rescaled(run: Path, base: Path, vocabulary: Tokenizer) -> None:
    with pytest.raises(InputError, match="`scale_factor` must be 0"):
        rescaled(load_run(run), -1.0)
    with pytest.raises(InputError, match="the whole model was trained"):
        rescaled(Run(load_base(base), vocabulary, AdapterInfo(Full())), 0.5)
    adapter = load_run(run)
    with pytest.raises(InputError, match="biases were trained"):
        rescaled(adapter._replace(info=AdapterInfo(LoRA(adapter.info.method.targets, bias="all"))), 0.5)
