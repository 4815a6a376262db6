"""The inference form of GPT-2 against the model it was made from."""

from __future__ import annotations

import pytest
import torch

import lora_nlg.gpt2.inference as inference
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, FlatAttention, GPT2Config, empty_gpt2, lora_targets
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.lora import LoRASpec, fold, inject


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
    with pytest.raises(InputError, match="LoRA"):
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
