"""DoRA, PiSSA, LoRA+ and LoRA-FA against PEFT 0.21.2's implementations, and what each leaves alone."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import transformers
from peft.optimizers import create_loraplus_optimizer
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2, lora_targets, parse_targets
from lora_nlg.lora import (
    Linear,
    LoRASpec,
    fold,
    frozen_projections,
    inject,
    lora_layers,
    lora_plus_rates,
    lora_state_dict,
    mark_only_lora_as_trainable,
    variant_of,
)
from lora_nlg.lora.functional import dropout_scale
from lora_nlg.methods import LoRA
from lora_nlg.training.optim import multiply_rates_
from lora_nlg.training.step import update_norms
from lora_nlg.weights import load_base, save_base
from lora_nlg.weights.lowrank import extract

CONFIG = GPT2Config(n_layer=2, n_embd=48, n_head=3, vocab_size=211, n_positions=32)
TOKENS = torch.arange(23) * 7 % 211


def base(seed: int = 0) -> GPT2:
    torch.manual_seed(seed)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    return model.eval()


def adapted(variant: str, targets: str = "q,v,fc", alpha: float = 8.0, dropout: float = 0.0) -> GPT2:
    model = inject(base(), lora_targets(CONFIG, parse_targets(targets, LoRASpec(4, alpha, dropout))), variant)
    return model.eval()


def perturb(model: nn.Module, seed: int = 1, scale: float = 0.1) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * scale)


def logits(model: GPT2) -> Tensor:
    return model.logits(model(TOKENS, torch.arange(len(TOKENS)), FlatAttention([len(TOKENS)])))


def their_base(folder: Path) -> transformers.GPT2LMHeadModel:
    save_base(base(), folder)
    return transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_variants_start_at_the_base_and_merge_to_what_they_compute(variant: str) -> None:
    plain = logits(base())
    model = adapted(variant)
    close(logits(model), plain)
    assert variant_of(model) == variant and variant_of(base()) == "lora"
    perturb(model)
    y = logits(model)
    assert (y - plain).abs().max() > 1e-2
    close(logits(fold(model)), y)
    for layer in lora_layers(model).values():
        weight = layer.weight.clone()
        layer.merge()
        assert not torch.equal(layer.weight, weight)
    close(logits(model), y)
    for layer in lora_layers(model).values():
        layer.unmerge()
    assert torch.equal(logits(model), y)


def test_the_three_variants_differ() -> None:
    outputs = []
    for variant in ("lora", "dora", "pissa"):
        model = adapted(variant, "fc")
        perturb(model)
        outputs.append(logits(model))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (outputs[a] - outputs[b]).abs().max() > 1e-3


def test_dora_equals_peft(tmp_path: Path) -> None:
    """Same weights, same logits and gradients; PEFT sees q, k and v as one block-structured layer."""
    ours = adapted("dora", "q,k,v,fc")
    perturb(ours)
    config = peft.LoraConfig(
        r=12,
        lora_alpha=24,
        target_modules=["c_attn", "c_fc"],
        rank_pattern={"c_fc": 4},
        alpha_pattern={"c_fc": 8},
        use_dora=True,
        fan_in_fan_out=True,
    )
    theirs = peft.get_peft_model(their_base(tmp_path), config).eval()
    with torch.no_grad():
        for name, layer in lora_layers(ours).items():
            other = theirs.base_model.model.get_submodule(name)
            A, B = other.lora_A["default"].weight, other.lora_B["default"].weight
            A.copy_(layer.lora_A)
            if "c_attn" in name:
                B.zero_()
                for p in range(3):
                    B[48 * p : 48 * (p + 1), 4 * p : 4 * (p + 1)] = layer.lora_B[48 * p : 48 * (p + 1)]
            else:
                B.copy_(layer.lora_B)
            other.lora_magnitude_vector["default"].weight.copy_(layer.lora_magnitude)
    y, reference = logits(ours), theirs(TOKENS[None]).logits[0]
    close(y, reference)
    y.square().sum().backward()
    reference.square().sum().backward()
    for name, layer in lora_layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        assert layer.lora_magnitude.grad is not None and layer.lora_A.grad is not None
        close(layer.lora_magnitude.grad, other.lora_magnitude_vector["default"].weight.grad, 1e-4)
        close(layer.lora_A.grad, other.lora_A["default"].weight.grad, 1e-4)


def test_dora_with_a_part_left_out_leaves_its_columns() -> None:
    model = adapted("dora", "q,v")
    layer = lora_layers(model)["transformer.h.0.attn.c_attn"]
    assert layer.lora_magnitude.shape == (96,)
    perturb(model)
    delta = layer.delta_weight()
    assert not delta[48:96].any() and delta[:48].any() and delta[96:].any()
    assert not layer.factors()
    with pytest.raises(InputError, match=r"the dora update isn't low-rank.*`to` merged"):
        extract(model)


def test_pissa_equals_peft(tmp_path: Path) -> None:
    """The same principal part at the start, the same function after both have moved the same way."""
    ours = adapted("pissa", "fc,proj")
    names = ["c_fc", "mlp.c_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=names, init_lora_weights="pissa", fan_in_fan_out=True)
    theirs = peft.get_peft_model(their_base(tmp_path), config).eval()
    close(theirs(TOKENS[None]).logits[0], logits(base()), 1e-4)
    with torch.no_grad():
        for name, layer in lora_layers(ours).items():
            other = theirs.base_model.model.get_submodule(name)
            A, B = other.lora_A["default"].weight, other.lora_B["default"].weight
            close(layer.lora_B @ layer.lora_A, B @ A, 1e-4)
            layer.lora_A.copy_(A)  # singular vectors are unique up to their sign only
            layer.lora_B.copy_(B)
            layer.lora_A_init.copy_(A)
            layer.lora_B_init.copy_(B)
        torch.manual_seed(3)
        for name, layer in lora_layers(ours).items():
            other = theirs.base_model.model.get_submodule(name)
            for mine, their in ((layer.lora_A, other.lora_A), (layer.lora_B, other.lora_B)):
                step = torch.randn_like(mine) * 0.1
                mine.add_(step)
                their["default"].weight.add_(step)
    y, reference = logits(ours), theirs(TOKENS[None]).logits[0]
    close(y, reference, 1e-4)
    assert (y - logits(base())).abs().max() > 1e-2
    y.square().sum().backward()
    reference.square().sum().backward()
    for name, layer in lora_layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        assert layer.lora_B.grad is not None
        close(layer.lora_B.grad, other.lora_B["default"].weight.grad, 1e-3)


def test_pissas_dropout_acts_on_what_trains_alone() -> None:
    """As with W − B₀A₀ frozen and dropout on the input of BA, in PEFT; values and gradients."""
    layer = lora_layers(adapted("pissa", "q:r=2,v", dropout=0.4))["transformer.h.0.attn.c_attn"]
    close(layer.delta_weight(), torch.zeros(144, 48))
    start = sum_of_parts(layer).detach()
    perturb(layer)
    torch.manual_seed(5)
    x = torch.randn(7, 48, requires_grad=True)
    layer.train()
    torch.manual_seed(8)
    y = layer(x[None])[0]
    torch.manual_seed(8)
    kept = x * dropout_scale(x, 0.4)
    expected = nn.functional.linear(x, layer.weight - start, layer.bias) + kept @ sum_of_parts(layer).t()
    close(y, expected)
    wanted = (x, layer.lora_A, layer.lora_B)
    for mine, other in zip(
        torch.autograd.grad(y.square().sum(), wanted), torch.autograd.grad(expected.square().sum(), wanted), strict=True
    ):
        close(mine, other, 1e-4)


def sum_of_parts(layer: nn.Module) -> Tensor:
    """B·A·scaling of every adapted part in its rows, without what it started from."""
    q, v = ((0, 4, 0, 48, 4.0), (4, 8, 48, 96, 2.0))  # of A's rows, of B's rows, scaling; q has rank 2 of 4
    q, v = (layer.lora_B[c:d] @ layer.lora_A[a:b] * scaling for a, b, c, d, scaling in (q, v))
    return torch.cat([q, torch.zeros(48, 48), v])


def test_update_norm_of_pissa_after_a_small_step() -> None:
    """The difference of two near products: in fp32 the norm was off by up to a factor of two."""
    model = adapted("pissa")
    perturb(model, scale=1e-5)
    for name, norm in update_norms(model).items():
        pairs = [(f.A.double(), f.B.double(), f.scaling) for f in lora_layers(model)[name].factors()]
        exact = torch.cat([(B @ A * scaling).flatten() for A, B, scaling in pairs]).norm().item()
        assert norm == pytest.approx(exact, rel=1e-6) and norm > 0


def test_pissa_keeps_the_base_and_saves_where_it_started() -> None:
    model = adapted("pissa", "q:r=2,v")
    reference = base()
    assert all(
        torch.equal(value, reference.get_parameter(name))
        for name, value in model.named_parameters()
        if "lora_" not in name
    )
    mark_only_lora_as_trainable(model)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    saved = set(lora_state_dict(model))
    assert {name.rpartition(".")[2] for name in saved - trained} == {"lora_A_init", "lora_B_init"} and trained < saved
    perturb(model)
    layer = lora_layers(model)["transformer.h.1.attn.c_attn"]
    factors = layer.factors()
    assert [f.A.shape[0] for f in factors] == [4, 8]
    delta = layer.delta_weight()
    for f in factors:
        close(delta[f.columns], f.B @ f.A * f.scaling)


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_variants_adapt_linear_layers_only(variant: str) -> None:
    with pytest.raises(InputError, match=f"is a Embedding; {variant} adapts linear layers only"):
        adapted(variant, "q,wte")
    with pytest.raises(InputError, match="unknown LoRA variant 'vera'; choose from lora, dora, pissa"):
        adapted("vera")


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = None
        model(torch.ones(2, 6)).square().sum().backward()
        optimizer.step()


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())


@pytest.mark.parametrize("ratio", [16.0, 1.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lora_plus_equals_peft(ratio: float, weight_decay: float) -> None:
    """The same weights after three AdamW steps as PEFT's parameter groups give."""
    theirs = peft.get_peft_model(Two(), peft.LoraConfig(r=2, lora_alpha=4, target_modules=["first", "second"]))
    ours = inject(Two(), {"first": LoRASpec(2, 4), "second": LoRASpec(2, 4)})
    mark_only_lora_as_trainable(ours)
    with torch.no_grad():
        for name, layer in lora_layers(ours).items():
            other = theirs.base_model.model.get_submodule(name)
            other.lora_A["default"].weight.copy_(layer.lora_A)
    start = {name: value.clone() for name, value in lora_state_dict(ours).items()}
    named = {name: value for name, value in ours.named_parameters() if value.requires_grad}
    flat = nn.Parameter(torch.cat([value.detach().flatten() for value in named.values()]))
    flat.grad = torch.zeros_like(flat)
    pieces, at = {}, 0
    for name, value in named.items():
        piece = flat.data[at : at + value.numel()].view(value.shape)
        value.data, pieces[name] = piece, piece
        at += value.numel()
    optimizer = torch.optim.AdamW([flat], lr=0.01, weight_decay=weight_decay)
    multiply_rates_(optimizer, flat, pieces, lora_plus_rates(ours, ratio))
    reference = create_loraplus_optimizer(
        theirs,
        torch.optim.AdamW,
        lr=0.01,
        loraplus_lr_ratio=ratio,
        weight_decay=weight_decay,
        loraplus_weight_decay=weight_decay,
    )
    for _ in range(3):
        for value in named.values():
            value.grad = None
        ours(torch.ones(2, 6)).square().sum().backward()
        flat.grad.copy_(torch.cat([value.grad.flatten() for value in named.values()]))
        optimizer.step()
        train(theirs, reference, 1)
    for name, layer in lora_layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        close(layer.lora_A, other.lora_A["default"].weight, 1e-6)
        close(layer.lora_B, other.lora_B["default"].weight, 1e-6)
        moved = [(layer.get_parameter(leaf) - start[f"{name}.{leaf}"]).abs().max() for leaf in ("lora_A", "lora_B")]
        assert (moved[1] > 5 * moved[0]) == (ratio > 1)
    with pytest.raises(InputError, match="`lora_plus_ratio` must be above 0, got 0"):
        lora_plus_rates(ours, 0)


def test_lora_fa_trains_b_with_loras_gradient_and_keeps_no_input() -> None:
    """B's gradient is plain LoRA's, A has none; the layer's input isn't among the saved tensors."""
    layer = Linear(64, 8, LoRASpec(2, 4))
    nn.init.normal_(layer.lora_B)
    mark_only_lora_as_trainable(layer)
    x = torch.randn(50, 64)
    saved: list[tuple[int, ...]] = []

    def run() -> Tensor:
        saved.clear()
        layer.lora_A.grad = layer.lora_B.grad = None
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(tuple(t.shape)) or t, lambda t: t):
            y = layer(x)
        y.square().sum().backward()
        assert layer.lora_B.grad is not None
        return layer.lora_B.grad.clone()

    plain = run()
    assert layer.lora_A.grad is not None and (50, 64) in saved
    for name in frozen_projections(layer):
        layer.get_parameter(name).requires_grad_(False)
    close(run(), plain)
    assert layer.lora_A.grad is None and (50, 64) not in saved

    embedding = inject(nn.Sequential(nn.Embedding(5, 6)), {"0": LoRASpec(2, 4)})
    for name in frozen_projections(embedding):
        embedding.get_parameter(name).requires_grad_(False)
    assert embedding[0].lora_A.requires_grad and not embedding[0].lora_B.requires_grad
    with pytest.raises(InputError, match="choose one of the two"):
        frozen_projections(adapted("pissa"))


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_variants_in_adapter_files(tmp_path: Path, variant: str) -> None:
    from lora_nlg.weights import AdapterInfo, describe_base, load_adapter, save_adapter

    save_base(base(), tmp_path / "base")
    model = adapted(variant, "q:r=2,v,fc")
    perturb(model)
    specs = parse_targets("q:r=2,v,fc", LoRASpec(4, 8.0))
    info = AdapterInfo(LoRA(specs, variant), describe_base(model, tmp_path / "base"))
    save_adapter(tmp_path, model, info)
    fresh = load_base(tmp_path / "base")
    assert load_adapter(tmp_path, fresh) == info
    assert torch.equal(logits(fresh), logits(model))
    other = inject(load_base(tmp_path / "base"), lora_targets(CONFIG, specs))
    with pytest.raises(InputError, match=f"variant is {variant} there, lora here"):
        load_adapter(tmp_path, other)
    with pytest.raises(InputError, match=f"variant is lora there, {variant} here"):
        save_adapter(tmp_path, model, AdapterInfo(LoRA(specs)))
