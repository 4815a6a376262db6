"""A run directory is enough: base, adapter and vocabulary are found and checked, or their absence is explained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, targets_of
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
            targets_of(model, model.config),
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
    info = AdapterInfo({}, describe_base(model, base), describe_tokenizer(vocabulary, folder / "tokenizer"), step=9)
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
    assert load_run(tmp_path / "bare").info.targets == {}


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
