"""How fast: training and decoding, alone and in turns with transformers and peft; by the benchmarks beside this."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from decoding import Engine, end_around, ours, transformers_generate
from training import E2E_STEPS, PEER, Competitor, compare, costs_of, made_up_examples, matmul_rate, random_base

from gpu_check.commands import BASE, SAMPLE
from lora_nlg.batching import prompt_tokens
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings
from lora_nlg.dtypes import DTYPES, DtypeName
from lora_nlg.errors import first_line
from lora_nlg.gpt2 import GPT2
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.weights.base import save_base

if TYPE_CHECKING:
    from gpu_check.parts import Setting

STEPS = 24
CONTEXTS, ENDS_AT = 630, 30
"""E2E's test set, and the length of its texts."""
THEIR_BATCH = 64
TRAINING: tuple[tuple[str, DtypeName, tuple[str, ...], float], ...] = (
    ("gpt2.md", "bf16", ("graph", "eager", "together"), 30),
    ("gpt2.md", "fp32", ("graph", "eager", "together"), 35),
    ("gpt2.sm", "bf16", ("graph", "eager", "together"), 25),
    ("gpt2.sm", "fp32", ("graph", "eager"), 20),
)
"""Size, type, rows, and the seconds that must be left to begin."""
DECODING: tuple[tuple[str, DtypeName, tuple[str, ...], float], ...] = (
    ("gpt2.md", "bf16", ("graph", "eager"), 25),
    ("gpt2.md", "fp32", ("graph",), 30),
    ("gpt2.sm", "bf16", ("graph",), 10),
    ("gpt2.sm", "fp32", ("graph",), 15),
)


def _attempt(setting: Setting, name: str, seconds: float, work: Callable[[], None]) -> None:
    """Do something if there is time for it; an exception is a row that failed, and the rest goes on."""
    if seconds > setting.ends - time.monotonic():
        setting.report.skip(name, f"less than {seconds:.0f} s left")
        return
    try:
        work()
    except Exception as error:  # whatever it is, the other figures are wanted
        setting.report.require(name, False, f"{type(error).__name__}: {first_line(error)}"[:160])
    if setting.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def training(setting: Setting) -> None:
    """A step of 8 made-up examples as long as E2E's: as a graph, operation by operation, 3 runs in one."""
    cases = (("gpt2.nano", "fp32", ("eager", "together"), 0.0),) if setting.is_small else TRAINING
    for size, dtype, rows, seconds in cases:
        name = f"{size[5:]}, {dtype}"
        _attempt(setting, f"{name}: {', '.join(rows)}", seconds, partial(_train, setting, size, dtype, rows))


def compiled(setting: Setting) -> None:
    """The same step compiled, which takes long to compile and comes last for that."""
    if setting.is_small:
        setting.report.skip("compiled", "no GPU")
        return
    _attempt(setting, "sm, bf16: compiled", 80, partial(_train, setting, "gpt2.sm", "bf16", ("graph", "compiled")))


def _train(setting: Setting, size: str, dtype: DtypeName, rows: Sequence[str]) -> dict[str, Competitor]:
    device = setting.device
    base = random_base(size, device)
    large = matmul_rate(dtype, device, *((64, 64, False) if setting.is_small else (8192, 4096, False)))
    examples = made_up_examples(2000, base.config.vocab_size)
    found = compare(rows, base, examples, dtype, device, 2 if setting.is_small else STEPS)
    for name, competitor in found.items():
        each = competitor.each
        text = f"{1000 * each:.2f} ms a step, {competitor.tokens_per_s:,.0f} tokens/s"
        text += f", {competitor.flops_per_s(base.config) / large:.1%} of {large / 1e12:.3g} TFLOP/s"
        text += f", 26,290 steps in {E2E_STEPS * each / 60:.1f} min"
        if device.type == "cuda":
            text += f", {competitor.memory / 2**30:.2f} GiB"
        setting.report.note(f"{size[5:]}, {dtype}: {name}", f"{text}; {competitor.costs}" if competitor.costs else text)
    if "together" in rows and "graph" in rows:
        together = next(competitor for competitor in found.values() if competitor.runs > 1)
        ratio = together.each / found["lora-nlg graph"].each
        name = f"{size[5:]}, {dtype}: {together.runs} runs together / one"
        setting.report.note(name, f"{ratio:.2f}", "below 2 wanted")
    return found


def _task(setting: Setting, size: str) -> tuple[GPT2, list[list[int]], BeamSettings]:
    """Weights whose texts end around where E2E's do, prompts, and how to search."""
    tokenizer = load_tokenizer(BASE)
    contexts = list(dict.fromkeys(record.context for record in read_records(SAMPLE / "train.jsonl")))
    count = 8 if setting.is_small else CONTEXTS
    prompts = [prompt_tokens(tokenizer, contexts[i % len(contexts)]) for i in range(count)]
    model = random_base(size, setting.device).eval()
    end_around(model, tokenizer.end_ids[0], sum(map(len, prompts)) // len(prompts), ENDS_AT)
    return model, prompts, BeamSettings(end_ids=tokenizer.end_ids, eval_len=8 if setting.is_small else 64)


def _seconds(setting: Setting, engine: Engine, prompts: list[list[int]], warm: int = 64) -> tuple[float, float]:
    """Wall seconds for all prompts after a few of them, and the tokens of a text."""
    engine(prompts[:warm])
    start = time.perf_counter()
    texts = engine(prompts)
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
    return time.perf_counter() - start, sum(map(len, texts)) / len(texts)


def decoding(setting: Setting) -> None:
    """Contexts with beam 10, texts that end around 30 tokens: as a graph and operation by operation."""
    cases = (("gpt2.nano", "fp32", ("eager",), 0.0),) if setting.is_small else DECODING
    for size, dtype, rows, seconds in cases:
        name = f"{size[5:]}, {dtype}"
        _attempt(setting, f"{name}: {', '.join(rows)}", seconds, partial(_decode, setting, size, dtype, rows))


def _decode(setting: Setting, size: str, dtype: DtypeName, rows: Sequence[str]) -> None:
    model, prompts, settings = _task(setting, size)
    for row in rows:
        engine = ours(model, settings, None, DTYPES[dtype], cuda_graphs=row == "graph")
        took, length = _seconds(setting, engine, prompts)
        text = f"{took:.2f} s for {len(prompts)} contexts, {length:.0f} tokens a text"
        if not setting.is_small:
            costs = costs_of(partial(engine, prompts[:16]), setting.device)
            text += f"; 16 of them: {costs.replays} replays, {costs.launches} launches, {costs.waits} waits"
        setting.report.note(f"{size[5:]}, {dtype}: {row}", text)


def peers(setting: Setting) -> None:
    """The same batches and prompts by transformers and peft, in turns with ours."""
    try:
        import peft  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        setting.report.skip("transformers and peft", str(error))
        return
    size, dtype = ("gpt2.nano", "fp32") if setting.is_small else ("gpt2.md", "bf16")
    own = "eager" if setting.is_small else "graph"
    least = 0 if setting.is_small else 30
    _attempt(setting, f"{size[5:]}, {dtype}: training", least, partial(_train_in_turns, setting, size, dtype, own))
    _attempt(setting, f"{size[5:]}, {dtype}: decoding", 1.5 * least, partial(_decode_in_turns, setting, size, dtype))
    if not setting.is_small:
        _attempt(setting, "sm, bf16: training", 30, partial(_train_in_turns, setting, "gpt2.sm", "bf16", own))
        _attempt(setting, "md, fp32: training", 40, partial(_train_in_turns, setting, "gpt2.md", "fp32", own))


def _train_in_turns(setting: Setting, size: str, dtype: DtypeName, own: str) -> None:
    found = _train(setting, size, dtype, (own, "peer"))
    ratio = found[PEER].each / found[f"lora-nlg {own}"].each
    setting.report.note(f"{size[5:]}, {dtype}: training, theirs / ours", f"{ratio:.1f}", "above 4 wanted")


def _decode_in_turns(setting: Setting, size: str, dtype: DtypeName) -> None:
    model, prompts, settings = _task(setting, size)
    save_base(model, setting.folder)
    engines = {
        "lora-nlg": ours(model, settings, None, DTYPES[dtype]),
        "transformers": transformers_generate(setting.folder, settings, THEIR_BATCH, setting.device, dtype),
    }
    times = {}
    for name, engine in engines.items():
        times[name], length = _seconds(setting, engine, prompts, warm=8)
        text = f"{times[name]:.2f} s for {len(prompts)} contexts, {length:.0f} tokens a text"
        setting.report.note(f"{size[5:]}, {dtype}: decoding, {name}", text)
    ratio = times["transformers"] / times["lora-nlg"]
    setting.report.note(f"{size[5:]}, {dtype}: decoding, theirs / ours", f"{ratio:.1f}", "above 5 wanted")
