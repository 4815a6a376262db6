"""The inference form of GPT-2 against the model it was made from."""

from __future__ import annotations

import pytest
import torch

import lora_nlg.gpt2.inference as inference
from lora_nlg.decoding.decoder import MOST_LOST, fold_for_decoding
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2, lora_targets
from lora_nlg.gpt2.inference import AdaptedLinear, InferenceGPT2
from lora_nlg.lora import FusedLinear, LoRASpec, fold, inject, lora_layers, strip


@pytest.fixture
def model() -> GPT2:
    torch.manual_seed(0)
    model = empty_gpt2(GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=300, n_positions=32))
    model.reset_parameters()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)  # biases and norms too
    return model.eval()


LENGTHS = [7, 1, 12]
TOKENS = torch.arange(20) * 13 % 300
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])


def logits_of(model: InferenceGPT2) -> torch.Tensor:
    return model.logits(model.forward(TOKENS, POSITIONS, FlatAttention(LENGTHS)))


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_the_models_and_the_padding_is_impossible(
    model: GPT2, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed:
        monkeypatch.setattr(inference, "can_pack", lambda weight: False)
    with torch.no_grad():
        expected = model.logits(model(TOKENS, POSITIONS, FlatAttention(LENGTHS)))
        logits = logits_of(InferenceGPT2(model))
    assert logits.shape == (20, 384)
    torch.testing.assert_close(logits[:, :300], expected, rtol=0, atol=1e-5)
    assert (logits[:, 300:] == float("-inf")).all()


def test_bf16_is_near_and_not_the_same(model: GPT2) -> None:
    with torch.no_grad():
        fp32, bf16 = logits_of(InferenceGPT2(model)), logits_of(InferenceGPT2(model, torch.bfloat16))
    assert bf16.dtype == torch.float32
    assert 0 < (fp32 - bf16)[:, :300].abs().max() < 0.1


def test_rows_have_the_same_bits_in_every_batch(model: GPT2) -> None:
    layer = InferenceGPT2(model).blocks[0].fc
    if isinstance(layer.weight, torch.Tensor):
        pytest.skip("weights are not packed here: torch's usual products may round by batch")
    x = torch.randn(150, 64)
    for apply in (layer, layer.gelu):
        whole = apply(x)
        for rows in (1, 2, 3, 16, 149):
            assert torch.equal(apply(x[:rows].contiguous()), whole[:rows])


def test_adapters_of_one_base_share_what_is_not_adapted(model: GPT2) -> None:
    first = InferenceGPT2(model)
    inject(model, lora_targets(model.config, {"q": LoRASpec(2, 4.0)}))
    with pytest.raises(InputError, match="still has adapted layers"):
        InferenceGPT2(model)
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.lora_B.normal_()  # type: ignore[union-attr]
    folded = fold(model)
    assert isinstance(folded, GPT2)
    second = InferenceGPT2(folded, share=first)
    assert second.head is first.head and second.blocks[0].fc is first.blocks[0].fc
    assert second.blocks[0].c_attn is not first.blocks[0].c_attn
    with torch.no_grad():
        assert not torch.allclose(logits_of(first)[:, :300], logits_of(second)[:, :300])
        torch.testing.assert_close(logits_of(second), logits_of(InferenceGPT2(folded)), rtol=0, atol=0)
        before = InferenceGPT2(folded, torch.bfloat16)
        folded.transformer.h[0].mlp.c_fc.bias.add_(1.0)
        after = InferenceGPT2(folded, torch.bfloat16, share=before)
    assert after.blocks[0].fc is not before.blocks[0].fc  # its bias, converted, would be the old one
    assert after.blocks[1].fc is before.blocks[1].fc


@pytest.mark.parametrize("size", [0.001, 0.01, 0.5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_keep_a_small_update(model: GPT2, size: float, dtype: torch.dtype) -> None:
    """Apart where merging would lose it, merged where it wouldn't: what is lost stays below the limit."""
    inject(model, lora_targets(model.config, {name: LoRASpec(2, 4.0) for name in ("q", "v", "fc")}))
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_()
            layer.lora_B.mul_(size * layer.weight.norm() / layer.update_norm())
    ready = fold_for_decoding(model, dtype)
    own, exact = InferenceGPT2(ready, dtype), InferenceGPT2(fold(model))
    layer, block = model.transformer.h[0].attn.c_attn, own.blocks[0].c_attn
    assert isinstance(layer, FusedLinear)
    assert isinstance(block, AdaptedLinear) == (layer.lost_in(dtype) > MOST_LOST)
    assert size != 0.001 or isinstance(block, AdaptedLinear)
    assert size != 0.5 or not isinstance(block, AdaptedLinear)
    if isinstance(block, AdaptedLinear):
        rounded = block.up.source.to(dtype).double() @ block.down.source.to(dtype).double()
        delta = layer.delta_weight().detach().double()
        assert float((rounded - delta).norm() / delta.norm()) < MOST_LOST < layer.lost_in(dtype)
    change = logits_of(exact)[:, :300] - logits_of(InferenceGPT2(strip(model)))[:, :300]
    distance = logits_of(own)[:, :300] - logits_of(exact)[:, :300]
    assert float(distance.norm()) < max(0.1 * float(change.norm()), 0.02 * float(logits_of(exact)[:, :300].norm()))


def test_a_pissa_update_survives_rounding_too(model: GPT2) -> None:
    """It is the difference of two products that are each as large as the weight: factors as they are would lose it."""
    inject(model, lora_targets(model.config, {"q": LoRASpec(4, 4.0)}), "pissa")
    layer = model.transformer.h[0].attn.c_attn
    assert isinstance(layer, FusedLinear)
    with torch.no_grad():
        layer.lora_B.add_(torch.randn_like(layer.lora_B) * 1e-3)
    (own,), exact = layer.factors(), layer.factors()[0].product().double()

    def lost(A: torch.Tensor, B: torch.Tensor) -> float:
        return float(((B.bfloat16().double() @ A.bfloat16().double() - exact).norm() / exact.norm()).detach())

    balanced = own.balanced()
    torch.testing.assert_close(balanced.product().double(), exact, rtol=1e-3, atol=1e-6)
    assert lost(balanced.A, balanced.B) < MOST_LOST < lost(own.A, own.B * own.scaling)


def test_layers_kept_apart_share_their_base(model: GPT2) -> None:
    inject(model, lora_targets(model.config, {"q": LoRASpec(2, 4.0)}))
    first = InferenceGPT2(model, torch.bfloat16)
    inject(other := strip(model), lora_targets(model.config, {"q": LoRASpec(2, 4.0)}))
    second = InferenceGPT2(other, torch.bfloat16, share=first)
    ours, theirs = second.blocks[0].c_attn, first.blocks[0].c_attn
    assert isinstance(ours, AdaptedLinear) and isinstance(theirs, AdaptedLinear) and ours.base is theirs.base
    with pytest.raises(InputError, match="still has adapted layers"):
        InferenceGPT2(model, torch.float32)
