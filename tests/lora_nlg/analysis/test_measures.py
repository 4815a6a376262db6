"""Each measure against a case worked by hand: a ΔW with known directions, and what chance gives against drawing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lora_nlg.analysis.amplification import amplification_of
from lora_nlg.analysis.dial import at_factor, best_factor, turn
from lora_nlg.analysis.results import as_json, compared, parts_of
from lora_nlg.analysis.shape import directions_for, effective_rank, shape_of
from lora_nlg.analysis.similarity import chance, subspace_similarity
from lora_nlg.analysis.tables import dial_table
from lora_nlg.analysis.updates import updates_between, updates_of
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, lora_targets, target_names
from lora_nlg.lora import LoRASpec, adapted_layers, fold, inject, lora_layers, strip
from lora_nlg.lora.spec import Factors
from lora_nlg.methods import LoRA, Method
from lora_nlg.methods.ia3 import IA3
from lora_nlg.methods.vera import VeRA
from lora_nlg.weights.adapter import AdapterInfo
from lora_nlg.weights.run import Run, rescaled

D = 8
CONFIG = GPT2Config(n_layer=2, n_embd=D, n_head=2, vocab_size=11, n_positions=16)


def base(seed: int = 0) -> GPT2:
    torch.manual_seed(seed)
    model = empty_gpt2(CONFIG)
    model.reset_parameters()
    return model.eval()


def adapted(targets: dict[str, int], variant: str = "lora", alpha: float = 4.0, trained: bool = True) -> GPT2:
    """A model with LoRA; trained is here: B is drawn, and DoRA's magnitudes are moved."""
    specs = {name: LoRASpec(r, alpha) for name, r in targets.items()}
    model = inject(base(), lora_targets(CONFIG, specs), variant)
    with torch.no_grad():
        for layer in lora_layers(model).values() if trained else ():
            layer.lora_A.add_(torch.randn_like(layer.lora_A) * 0.1)
            layer.lora_B.add_(torch.randn_like(layer.lora_B) * 0.1)
            if variant == "dora":
                layer.lora_magnitude.mul_(1.1)
    return model


@pytest.fixture
def known() -> GPT2:
    """q of block 0, r = 2, scaling 2: ΔW = 2·(3·e₂e₀ᵀ + 1·e₃e₁ᵀ); W has 0.5 and 0.25 there, 3 and 4 elsewhere."""
    model = adapted({"q": 2}, trained=False)
    layer = model.transformer.h[0].attn.c_attn
    with torch.no_grad():
        layer.weight.zero_()
        for row, column, value in ((2, 0, 0.5), (3, 1, 0.25), (5, 5, 3.0), (6, 6, 4.0)):
            layer.weight[row, column] = value
        layer.lora_A.zero_()
        layer.lora_A[0, 0] = 3.0
        layer.lora_A[1, 1] = 1.0
        layer.lora_B[2, 0] = 1.0
        layer.lora_B[3, 1] = 1.0
    return model


def test_directions_of_a_known_update(known: GPT2) -> None:
    first, second = updates_of(known)
    assert (first.layer, first.part, second.layer) == (0, "q", 1)
    assert first.S.tolist() == pytest.approx([6.0, 2.0])
    assert first.U.abs().argmax(0).tolist() == [2, 3] and first.V.abs().argmax(0).tolist() == [0, 1]
    assert first.factors["A"].abs().argmax(0).tolist() == [0, 1]
    assert torch.allclose(
        first.U * first.S @ first.V.t(), known.transformer.h[0].attn.c_attn.delta_weight()[:D].double()
    )


def test_shape_of_a_known_update(known: GPT2) -> None:
    """σ = 6, 2: ‖ΔW‖ = √40; shares ¾ and ¼ have the entropy 0.5623; the first holds 36/40, just 90%."""
    shape = shape_of(updates_of(known)[0])
    assert shape.norm == pytest.approx(math.sqrt(40))
    assert shape.weight_norm == pytest.approx(math.sqrt(0.25 + 0.0625 + 9 + 16))
    assert shape.relative == pytest.approx(math.sqrt(40 / 25.3125))
    assert shape.effective_rank == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert shape.effective_rank == pytest.approx(1.7548, abs=1e-4) and shape.used == pytest.approx(1.7548 / 2, abs=1e-4)
    assert (shape.rank, shape.directions_90) == (2, 1) and shape.singular_values == pytest.approx([6.0, 2.0])


@pytest.mark.parametrize(
    ("values", "rank", "directions"),
    [
        ([1, 1, 1, 1], 4.0, 4),
        ([5, 0, 0, 0], 1.0, 1),
        ([0, 0, 0, 0], 0.0, 0),
        ([3, 1, 0, 0], 1.7548, 1),
        ([2, 1], 1.8899, 2),
    ],
)
def test_effective_rank_and_directions(values: list[float], rank: float, directions: int) -> None:
    S = torch.tensor(values, dtype=torch.float64)
    assert effective_rank(S) == pytest.approx(rank, abs=1e-4)
    assert directions_for(S, 0.9) == directions


def test_amplification_of_a_known_update(known: GPT2) -> None:
    """UᵀWV = diag(0.5, 0.25): its norm is √0.3125, the factor √(40/0.3125) = √128. W's own strongest are 4 and 3."""
    found = amplification_of(updates_of(known)[0])
    assert found.directions == 2 and found.update == pytest.approx(math.sqrt(40))
    assert found.own == pytest.approx(math.sqrt(0.3125)) and found.factor == pytest.approx(math.sqrt(128))
    assert found.weight == pytest.approx(5.0)
    assert found.random == pytest.approx(2 * math.sqrt(25.3125) / 8)


def test_the_random_norm_is_that_of_drawn_directions() -> None:
    """Root mean square over 2,000 pairs of orthonormal U and V, and the two printed in the paper's table 7."""
    torch.manual_seed(1)
    W = torch.randn(12, 20, dtype=torch.float64)
    U, _ = torch.linalg.qr(torch.randn(2000, 12, 3, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(2000, 20, 3, dtype=torch.float64))
    drawn = (U.transpose(1, 2) @ W @ V).square().sum((1, 2)).mean().sqrt()
    assert 3 * float(W.norm()) / math.sqrt(12 * 20) == pytest.approx(float(drawn), rel=0.02)
    for r, printed in ((4, 0.02), (64, 0.33)):
        assert r * 61.95 / 12288 == pytest.approx(printed, abs=0.01)


def test_an_update_outside_of_the_weight_and_none_at_all(known: GPT2) -> None:
    layer = known.transformer.h[0].attn.c_attn
    with torch.no_grad():
        layer.weight[2, 0] = layer.weight[3, 1] = 0.0
    outside, none = (amplification_of(update) for update in updates_of(known))
    assert outside.factor == math.inf and none.update == 0
    assert as_json({"factor": [outside.factor, 1.5, math.nan]}) == {"factor": [None, 1.5, None]}


def test_similarity_of_known_subspaces() -> None:
    """e₀, e₁, e₂ against e₀, (e₁ + e₃)/√2, e₂: one shared, one half, one shared."""
    eye = torch.eye(6, dtype=torch.float64)
    second = torch.stack([eye[0], (eye[1] + eye[3]) / math.sqrt(2), eye[2]], dim=1)
    phi = subspace_similarity(eye[:, :3], second)
    expected = [[1, 1, 1], [1, 1.5 / 2, 1.5 / 2], [1, 1.5 / 2, 2.5 / 3]]
    assert torch.allclose(phi, torch.tensor(expected, dtype=torch.float64))
    assert torch.allclose(subspace_similarity(eye[:, :2], eye[:, 2:5]), torch.zeros(2, 3, dtype=torch.float64))
    swapped = subspace_similarity(eye[:, :2], eye[:, [1, 0]])  # the same space in another order
    assert swapped.tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_chance_is_that_of_drawn_subspaces() -> None:
    torch.manual_seed(2)
    first, second = (torch.linalg.qr(torch.randn(3000, 16, n, dtype=torch.float64))[0] for n in (3, 5))
    drawn = [subspace_similarity(one, other) for one, other in zip(first, second, strict=True)]
    mean = torch.stack(drawn).mean(0)
    for i, j in ((1, 1), (1, 5), (3, 2), (3, 5)):
        assert float(mean[i - 1, j - 1]) == pytest.approx(chance(i, j, 16), rel=0.05)


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_an_update_is_what_the_layer_adds(variant: str) -> None:
    model = adapted({"q": 3, "v": 2, "fc": 2}, variant)
    found = updates_of(model)
    assert [(update.layer, update.part) for update in found] == [(i, part) for i in (0, 1) for part in ("q", "v", "fc")]
    rows = {"q": slice(0, D), "v": slice(2 * D, 3 * D), "fc": slice(None)}
    for update in found:
        block = model.transformer.h[update.layer]
        layer = block.mlp.c_fc if update.part == "fc" else block.attn.c_attn
        delta = layer.delta_weight()[rows[update.part]]
        assert torch.allclose((update.U * update.S) @ update.V.t(), delta.double(), atol=1e-6)
        assert update.norm > 0.01 and torch.equal(update.weight, layer.weight[rows[update.part]])
        assert update.norm == pytest.approx(float(delta.detach().norm()), rel=1e-4)
        assert set(update.factors) == ({"A", "B"} if variant == "lora" else set())
    directions = {update.part: update.directions for update in found}
    assert directions == ({"q": 6, "v": 4, "fc": 4} if variant == "pissa" else {"q": 3, "v": 2, "fc": 2})


def test_the_embedding_is_taken_as_output_by_input() -> None:
    model = adapted({"wte": 2})
    (update,) = updates_of(model)
    layer = model.transformer.wte
    assert (update.layer, update.part) == (None, "wte")
    assert torch.allclose((update.U * update.S) @ update.V.t(), layer.delta_weight().t().double(), atol=1e-6)
    assert update.weight.shape == (D, 11)


def test_a_model_trained_as_a_whole() -> None:
    before, after = base(), base()
    with torch.no_grad():
        after.transformer.h[1].attn.c_attn.weight[D : 2 * D] += torch.outer(torch.ones(D), torch.ones(D)) / D
    found = {(update.layer, update.part): update for update in updates_between(after, before)}
    assert set(found) == {(1, "k")}  # the others have no update
    moved = found[1, "k"]
    assert moved.norm == pytest.approx(1.0, abs=1e-5) and shape_of(moved).effective_rank == pytest.approx(1.0, abs=1e-3)
    other = empty_gpt2(GPT2Config(n_layer=2, n_embd=D, n_head=2, vocab_size=12, n_positions=16))
    with pytest.raises(InputError, match="another size"):
        updates_between(after, other)
    with pytest.raises(InputError, match="no adapted layers"):
        updates_of(before)


def test_comparison_of_two_runs() -> None:
    """One run against itself shares all of A; against another initialisation about what chance gives."""
    one = updates_of(adapted({"q": 2, "v": 2}))
    torch.manual_seed(9)
    pair = compared(one, one)
    assert pair["layer"] == 1 and {grid["matrix"] for grid in pair["grids"]} == {"A", "B"}
    assert all(diagonal["phi"] == pytest.approx([1.0, 1.0]) for diagonal in pair["diagonals"])
    assert len(pair["diagonals"]) == 2 * 2 * 2 and all(grid["layer"] == 1 for grid in pair["grids"])
    dora = compared(one, updates_of(adapted({"q": 3}, "dora")), drawn=0)
    assert {(grid["part"], grid["matrix"], grid["layer"]) for grid in dora["grids"]} == {("q", "V", 0), ("q", "U", 0)}
    assert [len(dora["grids"][0]["phi"]), len(dora["grids"][0]["phi"][0])] == [2, 3]
    assert compared(one, updates_of(adapted({"k": 2})))["diagonals"] == []


def weights(model: GPT2) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Embedding)}


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa"])
def test_the_dial_multiplies_the_update(variant: str) -> None:
    model = adapted({"q": 2, "fc": 3}, variant)
    plain, whole = weights(strip(model)), weights(fold(model))
    for name, weight in weights(at_factor(model, 0.0)).items():
        assert torch.equal(weight, plain[name])
    for factor in (0.25, 1.0, 2.0):
        for name, weight in weights(at_factor(model, factor)).items():
            expected = plain[name] + factor * (whole[name] - plain[name])
            assert torch.allclose(weight, expected, atol=1e-6)
    assert torch.equal(weights(fold(model))["transformer.h.0.attn.c_attn"], whole["transformer.h.0.attn.c_attn"])


def test_the_dial_is_the_scale_factor_of_decode() -> None:
    model = adapted({"q": 2, "v": 2, "wte": 2})
    specs = dict.fromkeys(("q", "v", "wte"), LoRASpec(2, 4.0))
    scaled = rescaled(Run(model, None, AdapterInfo(LoRA(specs))), 0.5).model  # type: ignore[arg-type]
    expected = weights(fold(scaled))
    for name, weight in weights(at_factor(model, 0.5)).items():
        assert torch.allclose(weight, expected[name], atol=1e-7)


@pytest.mark.parametrize("method", [VeRA(vera_dim=3), IA3()], ids=lambda method: method.name)
def test_other_methods_that_change_weights(method: Method) -> None:
    """Weight and bias at 0 the base's, at 1 what folding gives, between them on the line; ΔW is what was folded in."""
    model = base()
    method.put_into(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in method.trained(model):
                parameter.add_(torch.randn_like(parameter))
    start, folded = dict(strip(model).named_parameters()), dict(fold(model).named_parameters())
    for factor in (0.0, 0.5, 1.0):
        for name, now in at_factor(model, factor).named_parameters():
            torch.testing.assert_close(now, torch.lerp(start[name], folded[name], factor), rtol=0, atol=1e-6)
    for name in adapted_layers(model):
        own = [update for update in updates_of(model) if update.part in target_names(name)]
        norms = sum(update.norm**2 for update in own if name.startswith(f"transformer.h.{update.layer}."))
        difference = folded[f"{name}.weight"] - start[f"{name}.weight"]
        assert norms == pytest.approx(float(difference.square().sum()), rel=1e-4) and norms > 0


def test_the_dial_of_a_model_trained_as_a_whole() -> None:
    before, after = base(0), base(1)
    half = at_factor(after, 0.5, before)
    for one, other, mean in zip(before.parameters(), after.parameters(), half.parameters(), strict=True):
        assert torch.allclose(mean, (one + other) / 2, atol=1e-7)
    assert half.lm_head.weight is half.transformer.wte.weight
    with pytest.raises(InputError, match="unless its base is given"):
        at_factor(after, 0.5)


def test_turning_and_the_best_factor() -> None:
    model = adapted({"q": 2})
    layer = "transformer.h.0.attn.c_attn"
    points = turn(model, [2.0, 0.0, 1.0, 1.0], lambda own: {"norm": float(weights(own)[layer].norm())})
    assert [point["factor"] for point in points] == [0.0, 1.0, 2.0] and len({point["norm"] for point in points}) == 3
    curve = [
        {"factor": f, "loss": loss, "bleu": bleu} for f, loss, bleu in ((0, 3.0, 0.1), (1, 2.0, 0.4), (2, 2.0, 0.5))
    ]
    assert best_factor(curve, "loss", lowest=True) == 1  # of equal ones the one nearest to 1
    assert best_factor(curve, "bleu", lowest=False) == 2
    assert math.isnan(best_factor([{"factor": 1, "loss": math.nan}], "loss", lowest=True))
    table = dial_table([{"label": "a|b", "dial": curve}])
    assert "| 1 | **2.0000** | 0.4000 |" in table and "| 2 | 2.0000 | **0.5000** |" in table and "a/b: BLEU" in table


def test_the_svd_of_factors_is_that_of_their_product() -> None:
    torch.manual_seed(3)
    for rows, columns, r in ((6, 9, 3), (4, 9, 6), (9, 4, 6)):
        own = Factors(slice(0, rows), torch.randn(r, columns), torch.randn(rows, r), 0.5)
        U, S, V = own.svd()
        assert torch.allclose((U * S) @ V.t(), own.product().double(), atol=1e-5)
        n = min(r, rows, columns)
        assert torch.allclose(S, torch.linalg.svdvals(own.product().double())[:n], atol=1e-5)
        assert torch.allclose(U.t() @ U, torch.eye(len(S), dtype=torch.float64), atol=1e-9)


def test_parts_share_what_is_known_of_the_base(known: GPT2) -> None:
    values: dict = {}
    first = parts_of(updates_of(known), values)
    assert set(values) == {(0, "q"), (1, "q")} and values[0, "q"][:2].tolist() == pytest.approx([4.0, 3.0])
    values[0, "q"] = values[0, "q"] * 2
    assert parts_of(updates_of(known), values)[0]["amplification"]["weight"] == pytest.approx(10.0)
    assert first[0]["amplification"]["weight"] == pytest.approx(5.0)
