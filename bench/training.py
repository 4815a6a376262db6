"""Training speed against transformers + peft, alternating in one run; ratios, and the share of the matmul rate.

    python bench/training.py                      # the built-in sample, gpt2.nano, fp32
    python bench/training.py --data data/e2e/train.jsonl --tokenizer pretrained/gpt2.sm --shape gpt2.sm --dtype fp32
    python bench/training.py --device cuda --data lengths --shape gpt2.md --dtype bf16

Same examples, same batches, random weights of the shape: LoRA r=4 on q and v (peft: one shared A on the fused qkv),
dropout 0.1, label smoothing 0.1, AdamW, batch 8. The peer pads each batch to its longest example. On the CPU times are
CPU seconds (user + system) of one step, so other load disturbs them little, and the competitors take turns on each
batch. On CUDA they are seconds of the clock for all batches, launched without waiting in between as in a real run, and
the competitors take turns on all of them. Useful work counts 4 FLOP for every weight of the blocks and token (forward
and the gradient of the input) and 4·D·V for every target; attention and everything else is not counted. It is divided
by the rate of products as wide as the model's, and by that of packed ones; on CUDA by that of products so large that
they fill the card. `--data lengths` makes up examples as long as E2E's, so that nothing need be downloaded.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from lora_nlg.batching import Example, Loader, Sampler, StepData, make_batch, make_examples
from lora_nlg.corpora.record import read_records
from lora_nlg.distributed import World, pick_device
from lora_nlg.dtypes import DTYPES, DtypeName
from lora_nlg.frozen import FrozenMatmul
from lora_nlg.gpt2 import GPT2, SIZES, GPT2Config, empty_gpt2, lora_targets, named_config
from lora_nlg.lora import LoRASpec, inject, mark_only_lora_as_trainable, pack_frozen
from lora_nlg.sweep import Member, SweepSettings
from lora_nlg.sweep.engine import graphed_gradient, group_step
from lora_nlg.sweep.group import make_group
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.training import (
    EagerStep,
    FilledStep,
    OptimisationSettings,
    TargetLoss,
    TrainingState,
    prepare_precision,
)
from lora_nlg.weights.base import save_base

BATCH, SMOOTH, DROPOUT, RANK, ALPHA, LR = 8, 0.1, 0.1, 4, 32, 2e-4
E2E_STEPS = 26290
PEER = "transformers + peft"
ROWS = 418
"""Input tokens of 8 examples of E2E."""
ROUNDS = 3
"""Times all batches are run by every competitor on CUDA."""
Step = Callable[[StepData], Tensor]


class Costs(NamedTuple):
    """What some work on CUDA costs: calls that launch kernels, copies, waits of the host, kernels and their seconds."""

    launches: int
    replays: int
    copies: int
    waits: int
    kernels: int
    busy: float

    def __str__(self) -> str:
        """In words."""
        calls = f"{self.launches} launches, {self.copies} copies, {self.waits} waits"
        return f"{calls}; {self.kernels} kernels in {1000 * self.busy:.2f} ms"


@dataclass
class Competitor:
    """A way to train.

    Attributes:
        step: takes one optimiser step; gives its loss, on the device.
        data: its batches.
        runs: runs trained at once.
        seconds: of each step, or on CUDA of all of them.
        done: the steps they were taken for.
        loss: the first.
        memory: bytes on the GPU at most, with its weights.
        costs: of one step, on a real GPU.
    """

    step: Step
    data: Sequence[StepData]
    runs: int = 1
    seconds: list[float] = field(default_factory=list)
    done: list[StepData] = field(default_factory=list)
    loss: float = 0.0
    memory: int = 0
    costs: Costs | None = None

    @property
    def each(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds) / len(self.done)

    @property
    def tokens_per_s(self) -> float:
        """Input tokens, of all runs."""
        return sum(data.n_tokens for data in self.done) / sum(self.seconds)

    def flops_per_s(self, config: GPT2Config) -> float:
        """Of useful work."""
        return sum(useful_flops(config, data) for data in self.done) / sum(self.seconds)


def our_step(base: GPT2, dtype: DtypeName, device: torch.device, dropout: float, mode: str = "eager") -> Step:
    """A function that takes one optimiser step with our trainer and returns the loss.

    Args:
        base: the weights.
        dtype, device, dropout: of the run.
        mode: words of `eager`, `graph` and `compiled`. Default: `eager`.
    """
    model = deepcopy(base)
    spec = LoRASpec(RANK, ALPHA, dropout)
    inject(model, lora_targets(model.config, {"q": spec, "v": spec}))
    mark_only_lora_as_trainable(model)
    prepare_precision(model, dtype)
    pack_frozen(model.to(device).train())
    if "compiled" in mode:
        model.transformer.compile(dynamic=True)
    settings, world = OptimisationSettings(label_smooth=SMOOTH, dtype=dtype), World(device=device)
    state = TrainingState(model, settings)
    if device.type == "cuda":
        take_step: EagerStep = FilledStep(model, state, settings, world, str("graph" in mode).lower())
    else:
        take_step = EagerStep(model, state, settings, world)
    return lambda data: take_step(data, LR)[0]


def together_step(
    base: GPT2, examples: dict[str, Example], dtype: DtypeName, device: torch.device, dropout: float, members: int
) -> Step:
    """One optimiser step of several runs that differ in their seed, in one forward pass; each on a batch of its own."""
    settings = SweepSettings(max_step=10**6, label_smooth=SMOOTH, dtype=dtype)
    runs = [Member(RANK, ALPHA, "alpha/r", LR, seed, dropout=dropout) for seed in range(members)]
    group = make_group(deepcopy(base).requires_grad_(False).to(device), runs, settings)
    loss, rates = TargetLoss(SMOOTH), torch.full((members, 1), LR, device=device)
    graphed = graphed_gradient(group, loss)

    def step(data: StepData) -> Tensor:
        parts = [data.ids[first : first + BATCH] for first in range(0, BATCH * members, BATCH)]
        batches = [make_batch([examples[id] for id in part]) for part in parts]
        group_step(group, batches, rates, loss, graphed)
        group.pending.clear()
        return group.means[0]

    return step


def peer_step(
    folder: Path, examples: dict[str, Example], dtype: DtypeName, device: torch.device, dropout: float
) -> Step:
    """The same step by transformers and peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2LMHeadModel

    model: Any = GPT2LMHeadModel.from_pretrained(folder)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=["c_attn"], fan_in_fan_out=True, bias="none"
    )
    model = get_peft_model(model, config).to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.01)

    def step(data: StepData) -> Tensor:
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
        return loss.detach()

    return step


def matmul_rate(dtype: DtypeName, device: torch.device, rows: int, D: int, packed: bool) -> float:
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


def warm_up(competitor: Competitor, device: torch.device, held: int) -> None:
    """Run the first batch, or on CUDA all of them until each shape has been recorded; note loss, memory and costs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    competitor.loss = float(competitor.step(competitor.data[0]))
    if device.type == "cuda":
        for batch in [*competitor.data[1:], *competitor.data]:
            competitor.step(batch)
        torch.cuda.synchronize(device)
        competitor.memory = torch.cuda.max_memory_allocated(device) - held


def measure(competitors: dict[str, Competitor], device: torch.device) -> None:
    """Note the seconds of every step, the competitors taking turns; on CUDA of all steps, in turns."""
    names = sorted(competitors)
    for turn in range(ROUNDS if device.type == "cuda" else len(next(iter(competitors.values())).data) - 1):
        for name in names[:: -1 if turn % 2 else 1]:
            competitor = competitors[name]
            batches = competitor.data if device.type == "cuda" else competitor.data[turn + 1 : turn + 2]
            start = clock(device)
            for batch in batches:
                competitor.step(batch)
            competitor.seconds.append(clock(device) - start)
            competitor.done.extend(batches)


def costs_of(work: Callable[[], object], device: torch.device, table: bool = False) -> Costs:
    """What some work costs on a real GPU; `table` prints the kernels that take longest."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize(device)
    events = list(profiler.events())
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    names = [event.name for event in events if event.device_type != DeviceType.CUDA]
    if table:
        print(profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=90))
    return Costs(
        launches=sum("Launch" in name and name.startswith(("cuda", "cu")) for name in names),
        replays=sum(name.startswith("cudaGraphLaunch") for name in names),
        copies=sum(name.startswith(("cudaMemcpy", "cudaMemset")) for name in names),
        waits=sum("Synchronize" in name for name in names) - 1,  # the one above
        kernels=len(kernels),
        busy=sum(event.time_range.elapsed_us() for event in kernels) / 1e6,
    )


def random_base(shape: str, device: torch.device, vocabulary: int | None = None) -> GPT2:
    """Random weights of a shape."""
    config = named_config(shape, vocab_size=vocabulary) if vocabulary else named_config(shape)
    torch.manual_seed(0)
    base = empty_gpt2(config).to(device)
    base.reset_parameters()
    return base


def compare(
    rows: Sequence[str],
    base: GPT2,
    examples: Sequence[Example],
    dtype: DtypeName,
    device: torch.device,
    steps: int,
    members: int = 3,
    kernels: bool = False,
) -> dict[str, Competitor]:
    """Ways to train, timed in turns.

    Args:
        rows: which, of `--rows`.
        base: on `device`.
        examples: what batches are made of.
        dtype, device: of the runs.
        steps: batches.
        members: runs of the row `together`. Default: 3.
        kernels: print the kernels of a step. Default: False.

    Returns:
        Name of a row -> what was found.
    """
    by_id = {example.id: example for example in examples}
    lengths = [example.n_inputs for example in examples]
    batches: dict[int, list[StepData]] = {}
    for runs in {1, members} if "together" in rows else {1}:
        loader = Loader(examples, Sampler(lengths, BATCH * runs, 0), fill=device.type == "cuda")
        batches[runs] = list(loader.steps(1, steps + 1))
    competitors: dict[str, Competitor] = {}
    first_peer = 0.0
    with tempfile.TemporaryDirectory() as folder:
        if "peer" in rows:
            save_base(base, folder)
            # Dropout draws differ between the two, so the first losses are compared without it.
            first_peer = float(peer_step(Path(folder), by_id, dtype, device, 0.0)(batches[1][0]))
        for row in rows:
            start = time.perf_counter()
            held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
            if row == "peer":
                competitor = Competitor(peer_step(Path(folder), by_id, dtype, device, DROPOUT), batches[1])
            elif row == "together":
                step = together_step(base, by_id, dtype, device, DROPOUT, members)
                competitor = Competitor(step, batches[members], members)
            else:
                competitor = Competitor(our_step(base, dtype, device, DROPOUT, row), batches[1])
            warm_up(competitor, device, held)
            name = {"peer": PEER, "together": f"{members} runs together"}.get(row, f"lora-nlg {row}")
            competitors[name] = competitor
            print(f"{name}: ready after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    if "peer" in rows:
        competitors[PEER].loss = first_peer
    measure(competitors, device)
    if device.type == "cuda" and torch.version.cuda:
        for competitor in competitors.values():
            competitor.costs = costs_of(partial(competitor.step, competitor.data[0]), device, kernels)
    return competitors


def made_up_examples(n: int, vocabulary: int) -> list[Example]:
    """Examples with random tokens, as long as E2E's: 52 inputs, 27 of which have a target."""
    random = torch.Generator().manual_seed(0)
    contexts = (torch.randn(n, generator=random) * 5 + 26).clamp(12, 45).round().int().tolist()
    completions = (torch.randn(n, generator=random) * 9 + 27).clamp(6, 70).round().int().tolist()
    examples = []
    for i, (context, completion) in enumerate(zip(contexts, completions, strict=True)):
        tokens = torch.randint(vocabulary, (context + completion,), generator=random).tolist()
        examples.append(Example(str(i), tuple(tokens), context))
    return examples


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    sample = Path(__file__).resolve().parents[1] / "data/sample"
    parser.add_argument(
        "--data", default=str(sample / "train.jsonl"), help="prepared records, or `lengths` for made-up ones"
    )
    parser.add_argument("--tokenizer", default=str(sample / "base"), help="vocabulary: folder or file")
    parser.add_argument("--shape", default="gpt2.nano", choices=list(SIZES))
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=10, help="batches, each run by every competitor (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--rows",
        help="comma-separated: peer, eager, graph, compiled, compiled graph, together (default: peer and eager, on "
        "CUDA also graph and together)",
    )
    parser.add_argument("--members", type=int, default=3, help="runs trained together (default 3)")
    parser.add_argument("--kernels", action="store_true", help="on CUDA, also the kernels of a step that take longest")
    return parser.parse_args()


def main() -> None:
    """Measure one shape and type and print the table."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    device, dtype = pick_device(arguments.device), arguments.dtype
    default = "peer,eager,graph,together" if device.type == "cuda" else "peer,eager"
    rows = (arguments.rows or default).split(",")

    if arguments.data == "lengths":
        base = random_base(arguments.shape, device)
        examples = made_up_examples(2000, base.config.vocab_size)
    else:
        tokenizer = load_tokenizer(arguments.tokenizer)
        examples = make_examples(read_records(arguments.data), tokenizer, 512)
        base = random_base(arguments.shape, device, tokenizer.vocab_size)
    rates = rates_of(dtype, device, base.config.n_embd)
    competitors = compare(rows, base, examples, dtype, device, arguments.steps, arguments.members, arguments.kernels)
    rates = [max(pair) for pair in zip(rates, rates_of(dtype, device, base.config.n_embd), strict=True)]
    report(arguments, base.config, competitors, rates, device)


def rates_of(dtype: DtypeName, device: torch.device, D: int) -> list[float]:
    """What products reach: those of a batch of the model's, and packed ones or on CUDA large ones."""
    usual = matmul_rate(dtype, device, ROWS, D, False)
    return [usual, matmul_rate(dtype, device, *((8192, 4096, False) if device.type == "cuda" else (ROWS, D, True)))]


def report(
    arguments: argparse.Namespace,
    config: GPT2Config,
    competitors: dict[str, Competitor],
    rates: list[float],
    device: torch.device,
) -> None:
    """Print the table."""
    ours = next((name for name in ("lora-nlg graph", "lora-nlg eager") if name in competitors), next(iter(competitors)))
    is_cuda = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if is_cuda else f"{arguments.threads} thread(s)"
    shown = competitors[ours].data
    count = sum(len(batch.ids) for batch in shown)
    print(
        f"{arguments.shape}, {arguments.dtype}, {where}, torch {torch.__version__}: {count} examples of "
        f"{sum(batch.n_tokens for batch in shown) / count:.1f} tokens and "
        f"{sum(batch.n_targets for batch in shown) / count:.1f} targets; "
        f"matmul rate {rates[0] / 1e9:.0f} GFLOP/s, {'of large ones' if is_cuda else 'packed'} {rates[1] / 1e9:.0f}"
    )
    columns = f"{'ms/step':>10}{'a run':>9}{'tokens/s':>11}{'useful':>9}{'of large' if is_cuda else 'of packed':>11}"
    print(f"{'':24}{columns}{'first loss':>12}{'ratio':>8}{'26,290 steps':>15}{'GPU MiB':>10}")
    for name, competitor in competitors.items():
        flops, each = competitor.flops_per_s(config), competitor.each
        pairs = zip(competitor.seconds, competitors[ours].seconds, strict=True)
        ratio = statistics.median(theirs / competitor.runs / own for theirs, own in pairs)
        print(
            f"{name:24}{1000 * each:10.2f}{1000 * each / competitor.runs:9.2f}{competitor.tokens_per_s:11.0f}"
            f"{flops / rates[0]:9.1%}{flops / rates[1]:11.1%}"
            f"{competitor.loss:12.5f}{ratio:8.2f}{E2E_STEPS * each / 60:11.1f} min{competitor.memory / 2**20:10.0f}"
        )
    for name, competitor in competitors.items():
        if competitor.costs:
            print(f"a step of {name}: {competitor.costs}")
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
