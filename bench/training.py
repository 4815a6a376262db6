"""Training speed against transformers + peft, alternating in one run; ratios, and the share of the matmul rate.

    python bench/training.py                      # the built-in sample, gpt2.nano, fp32
    python bench/training.py --data data/e2e/train.jsonl --tokenizer pretrained/gpt2 --shape gpt2.sm --dtype fp32

Same examples, same batches, random weights of the shape: LoRA r=4 on q and v (peft: one shared A on the fused qkv),
dropout 0.1, label smoothing 0.1, AdamW, batch 8. The peer pads each batch to its longest example. On the CPU times are
CPU seconds (user + system) of one step, so other load disturbs them little; on CUDA they are wall seconds between
synchronisations. Useful work counts 4 FLOP for every weight of the blocks and token (forward and the gradient of the
input) and 4·D·V for every target; attention and everything else is not counted.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from lora_nlg.batching import Example, Loader, Sampler, StepData, make_examples
from lora_nlg.corpora.record import read_records
from lora_nlg.distributed import World, pick_device
from lora_nlg.dtypes import DTYPES, DtypeName
from lora_nlg.frozen import FrozenMatmul
from lora_nlg.gpt2 import GPT2, SIZES, GPT2Config, empty_gpt2, lora_targets, named_config
from lora_nlg.lora import LoRASpec, inject, mark_only_lora_as_trainable, pack_frozen
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.training import EagerStep, OptimisationSettings, TrainingState, prepare_precision
from lora_nlg.weights.base import save_base

BATCH, SMOOTH, DROPOUT, RANK, ALPHA, LR = 8, 0.1, 0.1, 4, 32, 2e-4
E2E_STEPS = 26290


def our_step(
    base: GPT2, dtype: DtypeName, device: torch.device, dropout: float, compiled: bool
) -> Callable[[StepData], float]:
    """A function that takes one optimiser step with our trainer and returns the loss."""
    spec = LoRASpec(RANK, ALPHA, dropout)
    inject(base, lora_targets(base.config, {"q": spec, "v": spec}))
    mark_only_lora_as_trainable(base)
    prepare_precision(base, dtype)
    pack_frozen(base.to(device).train())
    if compiled:
        base.transformer.compile(dynamic=True)
    settings = OptimisationSettings(label_smooth=SMOOTH, dtype=dtype)
    take = EagerStep(base, TrainingState(base, settings), settings, World(device=device))
    return lambda data: float(take(data, LR)[0])


def peer_step(
    folder: Path, examples: dict[str, Example], dtype: str, device: torch.device, dropout: float
) -> Callable[[StepData], float]:
    """The same step by transformers and peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2LMHeadModel

    model: Any = GPT2LMHeadModel.from_pretrained(folder)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=["c_attn"], fan_in_fan_out=True, bias="none"
    )
    model = get_peft_model(model, config).to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.01)

    def step(data: StepData) -> float:
        chosen = [examples[id] for id in data.ids]
        width = max(len(example.tokens) for example in chosen)
        tokens = torch.zeros(len(chosen), width, dtype=torch.long)
        mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
        for i, example in enumerate(chosen):
            n = len(example.tokens)
            tokens[i, :n] = torch.tensor(example.tokens)
            mask[i, :n] = 1
            labels[i, example.first_target : n] = tokens[i, example.first_target : n]
        tokens, mask, labels = tokens.to(device), mask.to(device), labels.to(device)
        with torch.autocast(device.type, DTYPES[dtype], enabled=dtype != "fp32"):
            logits = model(input_ids=tokens, attention_mask=mask).logits[:, :-1]
            loss = F.cross_entropy(
                logits.reshape(-1, logits.shape[-1]).float(), labels[:, 1:].reshape(-1), label_smoothing=SMOOTH
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def matmul_rate(dtype: str, device: torch.device, rows: int, D: int, packed: bool) -> float:
    """FLOP/s of (rows, D) × (D, 4D), the model's widest product, in this process and at this moment.

    `packed` multiplies with a weight laid out beforehand, as our trainer does with frozen ones.
    """
    a = torch.randn(rows, D, device=device, dtype=DTYPES[dtype])
    b = torch.randn(4 * D, D, device=device, dtype=DTYPES[dtype])
    product = FrozenMatmul(b, packed)
    repeat = max(1, int(2e10 // (2 * rows * D * 4 * D)))
    seconds = []
    for _ in range(5):
        start = clock(device)
        for _ in range(repeat):
            product.forward(a)
        seconds.append(clock(device) - start)
    return repeat * 2 * rows * D * 4 * D / statistics.median(seconds)


def useful_flops(config: GPT2Config, data: StepData) -> float:
    """What a step has to compute at least: see the module's docstring."""
    blocks = 12 * config.n_embd**2 * config.n_layer
    return 4.0 * (blocks * data.n_tokens + config.n_embd * config.vocab_size * data.n_targets)


def clock(device: torch.device) -> float:
    """CPU seconds of this process, or on CUDA the wall clock after all work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def measure(
    steps: dict[str, Callable[[StepData], float]], data: Sequence[StepData], device: torch.device
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every step, the competitors taking turns on each batch; and each one's first loss."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    first = {name: step(data[0]) for name, step in steps.items()}  # also warms up
    for i, batch in enumerate(data[1:]):
        for name in sorted(steps, reverse=bool(i % 2)):
            start = clock(device)
            steps[name](batch)
            seconds[name].append(clock(device) - start)
    return seconds, first


def main() -> None:
    """Measure one shape and type and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    sample = Path(__file__).resolve().parents[1] / "data/sample"
    parser.add_argument("--data", default=str(sample / "train.jsonl"), help="prepared records, e.g. E2E's train.jsonl")
    parser.add_argument("--tokenizer", default=str(sample / "base"), help="vocabulary: folder or file")
    parser.add_argument("--shape", default="gpt2.nano", choices=list(SIZES))
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=10, help="batches, each run by every competitor (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no_peer", action="store_true", help="only our trainer")
    parser.add_argument("--compile", action="store_true", help="our trainer with --compile")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    dtype = arguments.dtype

    tokenizer = load_tokenizer(arguments.tokenizer)
    examples = make_examples(read_records(arguments.data), tokenizer, 512)
    config = named_config(arguments.shape, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    base = empty_gpt2(config)
    base.reset_parameters()
    sampler = Sampler([example.n_inputs for example in examples], BATCH, 0)
    data = list(Loader(examples, sampler).steps(1, arguments.steps + 1))

    # Dropout draws differ between the two, so the first losses are compared without it.
    first = {}
    steps: dict[str, Callable[[StepData], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_base(base, folder)
        by_id = {example.id: example for example in examples}
        if not arguments.no_peer:
            steps["transformers + peft"] = peer_step(Path(folder), by_id, dtype, device, DROPOUT)
            first["transformers + peft"] = peer_step(Path(folder), by_id, dtype, device, 0.0)(data[0])
    steps["lora-nlg"] = our_step(base, dtype, device, DROPOUT, arguments.compile)
    rates: list[list[float]] = [[], []]
    for when in range(2):
        for packed in (False, True):
            rates[packed].append(matmul_rate(dtype, device, data[0].n_tokens, config.n_embd, packed))
        if when == 0:
            seconds, losses = measure(steps, data, device)
    first["lora-nlg"] = losses["lora-nlg"]  # B is zero: dropout in the branch does not show yet
    report(arguments, config, data, seconds, first, [max(values) for values in rates])


def report(
    arguments: argparse.Namespace,
    config: GPT2Config,
    data: Sequence[StepData],
    seconds: dict[str, list[float]],
    first: dict[str, float],
    rates: list[float],
) -> None:
    """Print the table."""
    tokens = sum(batch.n_tokens for batch in data[1:])
    targets = sum(batch.n_targets for batch in data[1:])
    flops = sum(useful_flops(config, batch) for batch in data[1:])
    count = sum(len(batch.ids) for batch in data[1:])
    print(
        f"{arguments.shape}, {arguments.dtype}, {arguments.threads} thread(s), torch {torch.__version__}: "
        f"{count} examples of {tokens / count:.1f} tokens and {targets / count:.1f} targets; "
        f"matmul rate {rates[0] / 1e9:.0f} GFLOP/s, with packed weights {rates[1] / 1e9:.0f}"
    )
    columns = f"{'s/example':>12}{'tokens/s':>11}{'useful':>9}{'of packed':>11}{'first loss':>12}{'ratio':>8}"
    print(f"{'':22}{columns}{'26,290 steps':>15}")
    for name, times in seconds.items():
        total = sum(times)
        pairs = zip(times, seconds["lora-nlg"], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        print(
            f"{name:22}{total / count:12.4f}{tokens / total:11.0f}"
            f"{flops / total / rates[0]:9.0%}{flops / total / rates[1]:11.0%}"
            f"{first[name]:12.5f}{ratio:8.2f}{E2E_STEPS * total / len(times) / 3600:13.2f} h"
        )
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
