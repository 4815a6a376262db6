"""How much faster adapters train together than one after another.

    python bench/sweep.py                      # 8 adapters on the sample's nano base
    python bench/sweep.py --device cuda --adapters 16
    python bench/sweep.py --dial --batch 16    # 8 factors of the dial of `lora-nlg analyze`

Both ways do the same steps on the same data in one process (`sweep` with groups of N, and with groups of 1), in
turns, after a warm-up; what is printed is the median over turns of the ratio, with its quartiles. `--commands` also
times N runs of `lora-nlg train`, which is what one does without a sweep. `--profile` says instead where the time
of both goes: no way to lay adapters together saves the products with the frozen weights. `--dial` times losses in
place of steps: those of one adapter at N factors, together or each folded, as `analyze` has them on CUDA and on the
CPU. Seconds of CPU are steadier than those of the clock where other programs run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from lora_nlg.analysis.dial import turn, turn_together
from lora_nlg.batching import Example, make_examples, validation_batches
from lora_nlg.corpora.record import read_records
from lora_nlg.distributed import World
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora.batched import Rows
from lora_nlg.sweep import Member, SweepSettings, train_group
from lora_nlg.sweep.group import member_model
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.training import LossValidation, TargetLoss
from lora_nlg.training.together import validate_together
from lora_nlg.weights import load_base

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"
Way = Callable[[], object]


def timed(run: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPU."""
    if device != "cpu":
        torch.cuda.synchronize()
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - cpu


def commands(members: list[Member], arguments: argparse.Namespace) -> float:
    """Seconds of N `lora-nlg train` commands, one after another."""
    start = time.perf_counter()
    for member in members:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, "-m", "lora_nlg", "train", "--train_data", str(SAMPLE / "train.jsonl"),
                "--init_checkpoint", str(arguments.base), "--work_dir", folder, "--seq_len", "128",
                "--lora_dim", str(member.r), "--lora_alpha", str(member.alpha), "--lr", str(member.lr),
                "--random_seed", str(member.seed), "--warmup_step", "0", "--max_step", str(arguments.steps),
                "--train_batch_size", str(arguments.batch), "--device", arguments.device,
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def dial(base: GPT2, examples: Sequence[Example], arguments: argparse.Namespace) -> tuple[Way, Way]:
    """The losses of a drawn LoRA at so many factors: together in one forward pass, and each folded into weights."""
    model = member_model(base, Member(4, 32.0, "alpha/r", 1e-3, 1))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    factors = [2 * n / arguments.adapters for n in range(arguments.adapters)]
    batches, world = validation_batches(examples, arguments.batch), World(device=torch.device(arguments.device))

    def loss(own: GPT2) -> Mapping[str, float]:
        return LossValidation(own, batches, "fp32", world, TargetLoss(), cuda_graph="false")()[0]

    def losses(own: GPT2, rows: Rows, n: int) -> list[dict[str, float]]:
        return [{"loss": value} for value in validate_together(own, rows, n, batches)]

    return lambda: turn_together(model, factors, losses), lambda: turn(model, factors, loss)


def profiled(run: Callable[[], object]) -> str:
    """The operators that take most, with their shares."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return str(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=8, max_name_column_width=32))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="examples of a member's step, a factor's batch")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--base", type=Path, default=SAMPLE / "base")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--dial", action="store_true", help="time as many factors of a dial instead")
    work.add_argument("--commands", action="store_true", help="also time as many `lora-nlg train` commands")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, instead of the ratio")
    arguments = parser.parse_args()
    members = [Member(4, 32.0, "alpha/r", 1e-3 * (1 + n), n) for n in range(arguments.adapters)]
    tokenizer = load_tokenizer(arguments.base)
    train = make_examples(read_records(SAMPLE / "train.jsonl"), tokenizer, 128)
    base = load_base(arguments.base).requires_grad_(False).to(arguments.device)
    settings = SweepSettings(max_step=arguments.steps, train_batch_size=arguments.batch)
    few = train[:16]  # validation is the same work either way; here it is kept out of the way

    def train_together() -> None:
        train_group(base, members, train, few, settings)

    def train_apart() -> None:
        for member in members:
            train_group(base, [member], train, few, settings)

    together, apart = dial(base, train[:100], arguments) if arguments.dial else (train_together, train_apart)
    work_done = "losses of 100 examples in batches" if arguments.dial else f"{arguments.steps} steps"
    print(
        f"{arguments.adapters} adapters (r = 4 on q, v), {work_done} of {arguments.batch} examples, "
        f"{base.config.n_layer} blocks of width {base.config.n_embd}, {arguments.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    timed(together, arguments.device)
    if arguments.profile:
        print(f"apart\n{profiled(apart)}\ntogether\n{profiled(together)}")
        return
    ratios: dict[str, list[float]] = {"clock": [], "cpu": []}
    for number in range(arguments.turns):
        first, second = (together, apart) if number % 2 else (apart, together)
        seconds = {first: timed(first, arguments.device), second: timed(second, arguments.device)}
        for i, kind in enumerate(ratios):
            ratios[kind].append(seconds[apart][i] / seconds[together][i])
        clock = f"apart {seconds[apart][0]:.2f} s, together {seconds[together][0]:.2f} s"
        print(f"  turn {number + 1}: {clock} (CPU {seconds[apart][1]:.2f} and {seconds[together][1]:.2f})", flush=True)
    for kind, values in ratios.items():
        quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        print(f"together is {quartiles[1]:.2f}x as fast by {kind} (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f})")
    if arguments.commands:
        alone, batched = commands(members, arguments), timed(together, arguments.device)[0]
        print(f"{len(members)} `lora-nlg train` commands {alone:.1f} s; together {batched:.1f} s and one start-up")


if __name__ == "__main__":
    main()
