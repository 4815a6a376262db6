"""GPT-2's logits equal transformers' on random weights; strict loading; names of targets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import (
    GPT2,
    FlatAttention,
    GPT2Config,
    empty_gpt2,
    lora_targets,
    named_config,
    parse_targets,
    targets_of,
)
from lora_nlg.lora import LoRASpec, inject
from lora_nlg.weights import load_base

SHAPES = {
    "deep": GPT2Config(n_layer=5, n_embd=48, n_head=3, vocab_size=211, n_positions=64),
    "wide": GPT2Config(n_layer=2, n_embd=128, n_head=8, vocab_size=503, n_positions=96, layer_norm_epsilon=1e-6),
}


def their_model(config: GPT2Config, seed: int = 0) -> transformers.GPT2LMHeadModel:
    """transformers' model with every parameter random, biases and layer norms too."""
    torch.manual_seed(seed)
    names = ("n_layer", "n_embd", "n_head", "vocab_size", "n_positions", "layer_norm_epsilon")
    values = {name: getattr(config, name) for name in names}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def flat_logits(model: GPT2, sequences: list[torch.Tensor]) -> torch.Tensor:
    lengths = [len(sequence) for sequence in sequences]
    positions = torch.cat([torch.arange(length) for length in lengths])
    return model.logits(model(torch.cat(sequences), positions, FlatAttention(lengths)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("checkpointing", [False, True])
@torch.no_grad()
def test_logits_equal_transformers(tmp_path: Path, shape: str, checkpointing: bool) -> None:
    """A stream of unequal sequences gives each the logits transformers gives it alone; within 1e-4 absolute."""
    theirs = their_model(SHAPES[shape])
    theirs.save_pretrained(tmp_path)
    ours = load_base(tmp_path)
    assert ours.config == SHAPES[shape]
    ours.transformer.gradient_checkpointing = checkpointing
    sequences = [torch.randint(0, ours.config.vocab_size, (length,)) for length in (17, 1, 40)]
    reference = torch.cat([theirs(sequence[None]).logits[0] for sequence in sequences])
    got = flat_logits(ours, sequences)
    torch.testing.assert_close(got, reference, rtol=0, atol=1e-4)
    other = flat_logits(ours, [sequences[0].flip(0), *sequences[1:]])
    assert (other[:17] - got[:17]).abs().max() > 0.1
    torch.testing.assert_close(other[17:], got[17:], rtol=0, atol=1e-5)


def test_gradients_equal_transformers(tmp_path: Path) -> None:
    """All base gradients of one cross-entropy, padding-free against transformers; with checkpointing on."""
    theirs = their_model(SHAPES["deep"])
    theirs.save_pretrained(tmp_path)
    ours = load_base(tmp_path).train()
    ours.transformer.gradient_checkpointing = True
    tokens = torch.randint(0, 211, (23,))
    hidden = ours(tokens, torch.arange(23), FlatAttention([23]))
    torch.nn.functional.cross_entropy(ours.logits(hidden[:-1]), tokens[1:]).backward()
    theirs(tokens[None], labels=tokens[None]).loss.backward()
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        grad = reference[name].grad
        transposed = any(name.endswith(leaf) for leaf in ("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        torch.testing.assert_close(parameter.grad, grad.t() if transposed else grad, rtol=1e-3, atol=1e-5, msg=name)


def test_sizes_are_the_released_ones() -> None:
    """Parameter counts of the four released models (tied head counted once), from their checkpoints' shapes."""
    counts = {"gpt2.sm": 124_439_808, "gpt2.md": 354_823_168, "gpt2.lg": 774_030_080, "gpt2.xl": 1_557_611_200}
    for card, count in counts.items():
        assert named_config(card).n_parameters() == count
    config = SHAPES["deep"]
    assert sum(parameter.numel() for parameter in empty_gpt2(config).parameters()) == config.n_parameters()
    with pytest.raises(InputError, match=r"unknown model card 'gpt2'; choose from gpt2.nano, gpt2.sm"):
        named_config("gpt2")
    with pytest.raises(InputError, match="n_head 5 must divide n_embd 48"):
        named_config("gpt2.nano", n_embd=48, n_head=5)


def test_an_empty_model_imports_no_compiler() -> None:
    """Parameters made on the meta device and then made real import it, in some of torch's ways: seconds a command."""
    code = """if True:
        import sys
        from lora_nlg.gpt2 import empty_gpt2, named_config
        model = empty_gpt2(named_config("gpt2.nano"))
        assert model.lm_head.weight is model.transformer.wte.weight
        assert all(parameter.requires_grad and not parameter.is_meta for parameter in model.parameters())
        print(sorted({"sympy", "torch._dynamo"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_lora_counts_of_the_paper() -> None:
    """By hand: blocks × 2 parts × r × (D in + D out), r = 4 on q and v (Hu et al. 2021, section 7.1)."""
    for card, count in {"gpt2.sm": 147_456, "gpt2.md": 393_216, "gpt2.lg": 737_280}.items():
        config = named_config(card)
        with torch.device("meta"):
            model = GPT2(config)
        inject(model, lora_targets(config, parse_targets("q,v", LoRASpec(4, 32))))
        assert sum(value.numel() for name, value in model.named_parameters() if "lora_" in name) == count


def test_targets_parse_and_come_back() -> None:
    default = LoRASpec(4, 128, 0.1, "rslora")
    assert parse_targets("v, q", default) == {"q": default, "v": default}
    specs = parse_targets("wte,q:r=8:alpha=16,v:alpha=0.5,proj:r=1,fc,o", default)
    assert specs["q"] == LoRASpec(8, 16, 0.1, "rslora") and specs["v"] == LoRASpec(4, 0.5, 0.1, "rslora")
    assert list(specs) == ["q", "v", "o", "fc", "proj", "wte"]
    config = SHAPES["deep"]
    model = inject(empty_gpt2(config), lora_targets(config, specs))
    assert targets_of(model, config) == specs
    assert targets_of(empty_gpt2(config), config) == {}
    one_block = inject(empty_gpt2(config), {"transformer.h.0.mlp.c_fc": default})
    with pytest.raises(InputError, match="not adapted alike"):
        targets_of(one_block, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown LoRA target ''"),
        ("q,c_attn", "'c_attn' in 'q,c_attn'; c_attn is q,k,v here; choose from q, k, v, o, fc, proj, wte"),
        ("q_proj,v_proj", "'q_proj' in 'q_proj,v_proj'; q_proj is q here; choose from"),
        ("h.0.mlp.c_fc", "h.0.mlp.c_fc is fc here; choose from"),
        ("c_proj", "c_proj is o (attn.c_proj) or proj (mlp.c_proj) here; choose from"),
        ("all-linear", "all-linear is q,k,v,o,fc,proj here; choose from"),
        ("V", "V is v here; choose from"),
        ("q,q", "target q is given twice"),
        ("q:r=2.5", "'r=2.5' in 'q:r=2.5' is not r=WHOLE NUMBER or alpha=NUMBER"),
        ("q:r=0", "rank r must be at least 1, got 0"),
        ("q:dropout=0.5", "is not r=WHOLE NUMBER"),
        ("q:alpha=-1", "alpha must be a positive number, got -1.0"),
    ],
)
def test_bad_targets(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_targets(text, LoRASpec())
    assert message in str(error.value)
