"""Runs of prefixes, prompts and adapters: resumed bit for bit, in 16 bits, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lora_nlg.batching import make_batch
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, KeyValuePrefix, base_names, empty_gpt2
from lora_nlg.methods import Method, own_state, prepare
from lora_nlg.methods.adapter_h import AdapterH
from lora_nlg.methods.adapter_l import AdapterL
from lora_nlg.methods.prefix import PrefixTuning
from lora_nlg.methods.prompt import PromptTuning
from lora_nlg.training import Schedule, TargetLoss, batch_loss, prepare_precision
from lora_nlg.weights.adapter import AdapterInfo, describe_base, load_adapter, save_adapter

from .conftest import CONFIG, Run, random_examples

Train = Callable[..., Run]
METHODS: dict[str, Method] = {
    "prefix mlp": PrefixTuning(3, "mlp", 8),
    "prefix kv": PrefixTuning(3, "kv", prefix_init="random"),
    "prefix hidden": PrefixTuning(3, "hidden"),
    "prompt": PromptTuning(4),
    "adapter_h": AdapterH(3),
    "adapter_h gelu": AdapterH(3, "gelu", True),
    "adapter_l": AdapterL(4),
}
each = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
some = pytest.mark.parametrize("method", [METHODS[name] for name in ("prefix mlp", "prompt", "adapter_l")], ids=str)


def base() -> GPT2:
    torch.manual_seed(1)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and "ln_" not in name:
            parameter.data.mul_(5)
    return model


def tuned(method: Method, dtype: str = "fp32") -> GPT2:
    model = base()
    prepare(model, method, seed=3)
    prepare_precision(model, dtype)
    return model


@torch.no_grad()
def loss_of(model: GPT2) -> float:
    return float(batch_loss(model.eval(), make_batch(random_examples(9, seed=4)), TargetLoss()))


def trained(model: GPT2) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


@each
def test_what_a_run_leaves_is_what_was_trained(method: Method, tmp_path: Path, train: Train) -> None:
    model, before = tuned(method), base().state_dict()
    start = loss_of(model)
    train(model, random_examples(24), max_step=6, schedule=Schedule("linear", 3e-2, 6, 1))
    assert loss_of(model) != pytest.approx(start, rel=1e-4)
    changed = {name for name, value in model.state_dict().items() if name in before and (value != before[name]).any()}
    assert changed <= set(method.base_trained(model)) <= base_names(CONFIG)
    assert bool(changed) != method.keeps_base
    save_adapter(tmp_path / "adapter", model, AdapterInfo(method, describe_base(base(), "base")))
    other = base()
    info = load_adapter(tmp_path / "adapter", other)
    assert loss_of(other) == pytest.approx(loss_of(model), rel=1e-6)
    assert sum(value.numel() for value in trained(model).values()) == method.count(CONFIG)
    assert info.method.difference(other) == "" and str(info.method)
    with pytest.raises(InputError, match=r"prefix|after_|adapter_h"):
        load_adapter(tmp_path / "adapter", tuned(AdapterL(2)))


@each
def test_a_run_resumed_is_the_run(method: Method, tmp_path: Path, train: Train) -> None:
    examples, options = random_examples(20), {"max_step": 5, "save_interval": 2, "grad_acc": 2}
    whole = train(first := tuned(method), examples, **options)
    folder = tmp_path / "interrupted"
    with pytest.MonkeyPatch.context() as patch:  # the process is gone in the middle of step 4
        patch.setattr("lora_nlg.training.step.batch_loss", failing_after(3 * 2 + 1, batch_loss))
        with pytest.raises(KeyboardInterrupt):
            train(tuned(method), examples, folder=folder, **options)
    resumed = train(second := tuned(method), examples, folder=folder, resume=True, **options)
    assert resumed.losses == whole.losses
    for name, value in trained(first).items():
        assert torch.equal(value, second.get_parameter(name)), name


def failing_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    count = iter(range(10**6))

    def call(*args: Any) -> Any:
        if next(count) >= calls:
            raise KeyboardInterrupt
        return function(*args)

    return call


@some
def test_micro_batches_change_nothing(method: Method, train: Train) -> None:
    runs = [train(tuned(method), random_examples(19), max_step=4, grad_acc=parts) for parts in (1, 4)]
    assert runs[0].losses == pytest.approx(runs[1].losses, abs=1e-5)
    assert len(set(runs[0].losses)) == 4


@some
def test_16_bits_follow_fp32(method: Method, train: Train) -> None:
    exact = train(tuned(method), random_examples(16), max_step=4)
    half = train(model := tuned(method, "bf16"), random_examples(16), max_step=4, dtype="bf16")
    assert half.losses == pytest.approx(exact.losses, rel=2e-2) and half.losses != exact.losses
    assert all(value.dtype == torch.float32 for value in trained(model).values())
    assert model.head_weight.dtype == torch.bfloat16


def test_every_form_of_prefix_is_kept_as_keys_and_values() -> None:
    for form in ("mlp", "kv", "hidden"):
        method = PrefixTuning(3, form)
        stored, tensors = method.stored(tuned(method))
        assert stored == PrefixTuning(3, "kv")
        assert {name: tuple(value.shape) for name, value in tensors.items()} == {
            "prefix.key": (2, 3, 32),
            "prefix.value": (2, 3, 32),
        }
    assert own_state(tuned(PrefixTuning(3, "mlp"))).keys() > {"prefix.embedding"}


MEDIUM = GPT2Config(24, 1024, 16)
LARGE = GPT2Config(36, 1280, 20)


@pytest.mark.parametrize(
    ("method", "config", "count"),
    [
        (AdapterL(6), MEDIUM, 368_784),
        (AdapterL(224), MEDIUM, 11_089_152),
        (AdapterL(8), LARGE, 875_808),
        (AdapterL(248), LARGE, 23_002_848),
        (AdapterH(112), MEDIUM, 11_064_576),
        (AdapterH(112, adapter_h_layer_norms=True), MEDIUM, 11_064_576 + 4 * 24 * 1024),
        (PrefixTuning(5, "kv"), MEDIUM, 245_760),
        (PrefixTuning(5, "hidden"), MEDIUM, 122_880),
        (PrefixTuning(5, "mlp"), MEDIUM, 25_744_896),
        (PromptTuning(20), MEDIUM, 20_480),
    ],
    ids=str,
)
def test_counts_are_those_published_or_derived(method: Method, config: GPT2Config, count: int) -> None:
    assert method.count(config) == count


def test_settings_that_make_no_sense_are_refused() -> None:
    for make, message in [
        (lambda: PrefixTuning(0), "`prefix_length` must be at least 1"),
        (lambda: PrefixTuning(prefix_init="random"), "`prefix_init` is of `prefix_form` kv and hidden"),
        (lambda: PrefixTuning(prefix_form="kv", prefix_mlp_dim=9), "`prefix_mlp_dim` is of `prefix_form` mlp"),
        (lambda: PromptTuning(0), "`prompt_length` must be at least 1"),
        (lambda: AdapterH(0), "`adapter_h_dim` must be at least 1"),
        (lambda: AdapterL(0), "`adapter_l_dim` must be at least 1"),
        (lambda: prepare(base(), PromptTuning(CONFIG.n_positions), 0), "leave none of the model's 40 for it"),
    ]:
        with pytest.raises(InputError, match=message):
            make()
    assert PromptTuning(15).window(CONFIG) == CONFIG.n_positions - 15
    prepare(model := base(), PrefixTuning(7, "kv"), 0)
    assert isinstance(model.prefix, KeyValuePrefix) and model.window == CONFIG.n_positions - 7
