"""How fast: training and decoding alone, and in turns with transformers and peft."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gpu_check.commands import BASE, SAMPLE, knows, lines_of, train
from lora_nlg.batching import StepData, make_examples, prompt_tokens
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, named_config
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.base import save_base

if TYPE_CHECKING:
    from gpu_check.parts import Setting

E2E_STEPS = 26290
EXAMPLES = 9
"""Of the sample in a step: 410 tokens, as nearly as it goes the 418 of 8 examples of E2E."""
CONTEXTS = 630


def random_base(name: str, folder: Path) -> tuple[GPT2, GPT2Config]:
    """Random weights of a size, with GPT-2's vocabulary, on disk beside the sample's tokenizer."""
    config = named_config(name, vocab_size=50257)
    torch.manual_seed(0)
    model = empty_gpt2(config)
    model.reset_parameters()
    save_base(model, folder)
    load_tokenizer(BASE).save(folder)
    return model, config


def training(setting: Setting) -> None:
    """Tokens a second, memory, launches and waits of a step: eager, compiled and as a graph."""
    report = setting.report
    rate = matmul_rate(setting)
    report.note("products of 8192, bf16", f"{rate / 1e12:.0f} TFLOP/s")
    examples = make_examples(read_records(SAMPLE / "train.jsonl"), load_tokenizer(BASE), 512)
    tokens = sum(example.n_inputs for example in examples) / len(examples)
    targets = sum(example.n_targets for example in examples) / len(examples)
    report.note(f"a step of {EXAMPLES}", f"{EXAMPLES * tokens:.0f} tokens, {EXAMPLES * targets:.0f} targets")
    ways: dict[str, list[str]] = {"eager": []}
    if knows("cuda_graph"):
        ways = {"graph": ["--cuda_graph", "auto"], "eager": ["--cuda_graph", "false"]}
    ways["compiled"] = ["--compile", "true", *(["--cuda_graph", "false"] if knows("cuda_graph") else [])]
    if setting.is_small:
        del ways["compiled"]
    sizes = {"gpt2.nano": ["fp32"]} if setting.is_small else {"gpt2.md": ["bf16", "fp32"], "gpt2.sm": ["bf16"]}
    for size, dtypes in sizes.items():
        base = setting.folder / size
        _, config = random_base(size, base)
        flops = 4 * (12 * config.n_embd**2 * config.n_layer * tokens + config.n_embd * config.vocab_size * targets)
        for dtype in dtypes:
            for way, flags in ways.items():
                if way == "compiled" and (size, dtype) != ("gpt2.md", "bf16"):
                    continue
                own = ["--init_checkpoint", str(base), "--dtype", dtype, "--lora_dropout", "0.1", *flags]
                _one_way(setting, f"{size[5:]}, {dtype}, {way}", own, tokens, flops / rate)


def _one_way(setting: Setting, name: str, flags: list[str], tokens: float, least: float) -> None:
    """Time and count steps; `least` is the seconds an example would take at the rate of large products."""
    n = 8 if setting.is_small else 120
    device, folder = setting.name, setting.folder / "run"
    flags = [*flags, "--train_batch_size", str(EXAMPLES)]
    train(folder, device, n, *flags, "--log_interval", str(n // 4), "--save_interval", "100000")
    speeds = list(lines_of(folder, "speed"))
    speed = statistics.median(line["tokens_per_s"] for line in speeds[2:])
    step = EXAMPLES * tokens / speed
    text = f"{speed:,.0f} tokens/s, {1000 * step:.2f} ms a step, {EXAMPLES * least / step:.0%} of the products' rate"
    text += f", {E2E_STEPS * step / 60:.1f} min for E2E, {speeds[-1]['peak_memory_mib'] / 1024:.2f} GiB"
    if setting.device.type == "cuda":
        found = []
        for steps in (4, 12):  # the difference leaves loading and saving out
            with counted() as counts:
                train(folder, device, steps, *flags, "--log_interval", "1000")
            found.append(dict(counts))
        text += "".join(f", {(found[1][kind] - found[0][kind]) / 8:.1f} {kind}" for kind in ("launches", "syncs"))
    setting.report.note(name, text)


@contextmanager
def counted() -> Any:
    """Counts launches and waits of the host, by the profiler or the pretend device."""
    counts: dict[str, int] = {"launches": 0, "syncs": 0}
    if "pretend_cuda" in sys.modules:
        import pretend_cuda

        pretend_cuda.reset()
        yield counts
        summary = pretend_cuda.summary()
        counts |= {"launches": summary.launches, "syncs": summary.syncs}
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        yield counts
        torch.cuda.synchronize()
    for event in profile.events():
        if event.name.startswith(("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")):
            counts["launches"] += 1
        elif event.name in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"):
            counts["syncs"] += 1


def matmul_rate(setting: Setting) -> float:
    """FLOP/s of large bf16 products: what this card does at its best."""
    n = 256 if setting.is_small else 8192
    a = torch.randn(n, n, device=setting.device, dtype=torch.bfloat16)
    return 10 * 2 * n**3 / seconds(setting, lambda: [a @ a for _ in range(10)])


def seconds(setting: Setting, work: Callable[[], object], rounds: int = 3) -> float:
    """The median wall time of some work, after doing it once."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if setting.device.type == "cuda":
            torch.cuda.synchronize(setting.device)
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def _prompts(count: int) -> list[list[int]]:
    tokenizer = load_tokenizer(BASE)
    contexts = list(dict.fromkeys(record.context for record in read_records(SAMPLE / "train.jsonl")))
    return [prompt_tokens(tokenizer, contexts[i % len(contexts)]) for i in range(count)]


def decoding(setting: Setting) -> None:
    """Contexts with beam 10, 64 new tokens: random weights never end, so this is the whole length for all."""
    from decoding import ours

    size, count = ("gpt2.nano", 8) if setting.is_small else ("gpt2.md", CONTEXTS)
    model, _ = random_base(size, setting.folder)
    model.to(setting.device).eval()
    settings = BeamSettings(end_ids=(50256,), eval_len=8 if setting.is_small else 64)
    prompts = _prompts(count)
    for dtype in ("bf16", "fp32"):
        engine = ours(model, settings, 64, {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype])
        took = seconds(setting, partial(engine, prompts), rounds=1)
        text = f"{took:.2f} s for {count} contexts"
        if setting.device.type == "cuda":
            with counted() as counts:
                engine(prompts[:64])
            text += "".join(f", {counts[kind] / settings.eval_len:.1f} {kind} a step" for kind in ("launches", "syncs"))
        setting.report.note(f"{size[5:]}, {dtype}", text)


def _all(step: Callable[[StepData], float], data: Sequence[StepData]) -> None:
    for batch in data:
        step(batch)


def peers(setting: Setting) -> None:
    """The same batches and prompts by transformers and peft, in turns with ours."""
    try:
        import peft  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        setting.report.skip("transformers and peft", str(error))
        return
    from decoding import ours, transformers_generate
    from training import peer_step

    from lora_nlg.batching import Loader, Sampler

    size, n = ("gpt2.nano", 3) if setting.is_small else ("gpt2.md", 40)
    model, _ = random_base(size, setting.folder)
    examples = make_examples(read_records(SAMPLE / "train.jsonl"), load_tokenizer(BASE), 512)
    loader = Loader(examples, Sampler([example.n_inputs for example in examples], EXAMPLES, 0))
    by_id = {example.id: example for example in examples}
    data = list(loader.steps(1, n))
    flags = ["--init_checkpoint", str(setting.folder), "--lora_dropout", "0.1", "--log_interval", str(n)]
    flags += ["--train_batch_size", str(EXAMPLES)]
    for dtype in ["fp32"] if setting.is_small else ["bf16"]:
        step = peer_step(setting.folder, by_id, dtype, setting.device, 0.1)
        theirs, own = [], []
        for _ in range(2):
            took = seconds(setting, partial(_all, step, data), rounds=1)
            theirs.append(sum(batch.n_tokens for batch in data) / took)
            train(setting.folder / "run", setting.name, 4 * n, *flags, "--dtype", dtype)
            own.append(max(line["tokens_per_s"] for line in lines_of(setting.folder / "run", "speed")))
        ratio = statistics.median(own) / statistics.median(theirs)
        text = f"{statistics.median(own):,.0f} against {statistics.median(theirs):,.0f} tokens/s: {ratio:.1f} times"
        setting.report.note(f"training, {size[5:]}, {dtype}", text)
    settings = BeamSettings(end_ids=(50256,), eval_len=4 if setting.is_small else 64)
    prompts = _prompts(4 if setting.is_small else 64)
    model.to(setting.device).eval()
    dtype = "fp32" if setting.is_small else "bf16"
    engines = {
        "ours": ours(model, settings, 64, torch.float32 if setting.is_small else torch.bfloat16),
        "theirs": transformers_generate(setting.folder, settings, 64, setting.device, dtype),
    }
    times = {name: seconds(setting, partial(engine, prompts), 2) for name, engine in engines.items()}
    text = f"{times['ours']:.2f} against {times['theirs']:.2f} s for {len(prompts)} contexts"
    setting.report.note(f"decoding, {size[5:]}, {dtype}", f"{text}: {times['theirs'] / times['ours']:.1f} times")
