"""Times the E2E suite against the Java and Python parts of the official one, in turns, whole processes.

    python bench/metrics.py [REFERENCES OUTPUTS] [--rounds 3] [--cold]
    python bench/metrics.py --data data/dart/test.jsonl [--rounds 3]      the WebNLG and DART suite alone

Without files it takes the built-in sample: each test entry's last reference is scored against the others.
Peer: the tokenizer (Java), METEOR (Java), ROUGE_L and CIDEr of the package pycocoevalcap, which the official tool runs
too (left out without Java); its BLEU and NIST are not in a package, so the peer does less. Every task is a process of
its own, start included. Wall and CPU seconds are medians over the rounds; the ratio is the median of the rounds' ratios
of wall time. With --data each context's last reference is scored against the others (a lone one with every seventh word
left out against itself), in the style lora.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# task -> (what it is, the task it is compared with)
TASKS = {
    "ours": ("our suite without METEOR", "peer"),
    "ours+meteor": ("our suite with METEOR", "peer+meteor"),
    "peer": ("official tokenizer, ROUGE_L, CIDEr", None),
    "peer+meteor": ("the same with METEOR", None),
}
SUITE = "webnlg"


def run_ours(references: str, outputs: str, meteor: bool) -> dict[str, float]:
    """The suite through its command line; returns its scores."""
    from nlg_metrics.commands import e2e

    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "scores.json"
        arguments = [references, outputs, "-p", "--json", str(scores)]
        # An empty folder has no METEOR resources.
        status = e2e.main(arguments if meteor else [*arguments, "--meteor_data", folder])
        if status:
            raise SystemExit(status)
        values: dict[str, float] = json.loads(scores.read_text("utf-8"))
    return values


def run_suite(data: str, outputs: str) -> dict[str, float]:
    """The WebNLG and DART suite through its command line; returns its scores."""
    from nlg_metrics.commands import webnlg

    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "scores.json"
        status = webnlg.main(["--data", data, "-H", outputs, "--json", str(scores)])
        if status:
            raise SystemExit(status)
        values: dict[str, float] = json.loads(scores.read_text("utf-8"))
    return values


def held_out(data: str, folder: Path) -> tuple[str, str]:
    """A data file without each context's last reference, and those as outputs."""
    from nlg_metrics.segments import read_data

    segments = read_data(data)
    kept, outputs = folder / "data.jsonl", folder / "outputs.txt"
    rows, lines = [], []
    for id_, context, group in zip(segments.ids, segments.contexts, segments.references, strict=True):
        *references, output = group
        if not references:
            references, output = group, " ".join(w for n, w in enumerate(output.split()) if n % 7 != 3)
        rows.append(json.dumps({"id": id_, "context": context, "references": references}))
        lines.append(output)
    kept.write_text("\n".join(rows) + "\n", "utf-8")
    outputs.write_text("\n".join(lines) + "\n", "utf-8")
    return str(kept), str(outputs)


def bench_suite(data: str, outputs: str, rounds: int) -> None:
    """Time the suite on a data file's held-out references."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    timed(SUITE, data, outputs, environment)  # warms the cache
    found = [timed(SUITE, data, outputs, environment) for _ in range(rounds)]
    wall, cpu, memory = (statistics.median(run[key] for run in found) for key in ("wall", "cpu", "memory"))
    print(f"BLEU, BLEU NLTK, METEOR, chrF++, TER: {wall:.2f} s wall, {cpu:.2f} s CPU, {memory:.0f} MB")


def run_peer(references: str, outputs: str, meteor: bool) -> dict[str, float]:
    """The same texts through pycocoevalcap."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    from nlg_metrics.suites import e2e_files

    segments = e2e_files.load(references, outputs)
    tokenizer = PTBTokenizer()
    gold = tokenizer.tokenize({i: [{"caption": t} for t in texts] for i, texts in enumerate(segments.references)})
    system = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(segments.hypotheses)})
    scorers = {"ROUGE_L": Rouge(), "CIDEr": Cider(), **({"METEOR": Meteor()} if meteor else {})}
    return {name: float(scorer.compute_score(gold, system)[0]) for name, scorer in scorers.items()}


def sample_files(folder: Path) -> tuple[str, str]:
    """References and outputs in the official tool's form, made of the sample's test entries."""
    lines = (ROOT / "data" / "sample" / "test.jsonl").read_text("utf-8").splitlines()
    groups = [json.loads(line)["references"] for line in lines]
    references, outputs = folder / "references.txt", folder / "outputs.txt"
    references.write_text("\n\n".join("\n".join(group[:-1]) for group in groups) + "\n", "utf-8")
    outputs.write_text("".join(f"{group[-1]}\n" for group in groups), "utf-8")
    return str(references), str(outputs)


def timed(task: str, references: str, outputs: str, environment: dict[str, str]) -> dict[str, float]:
    """Run one task in a process: wall and CPU seconds (its children's too), largest memory in MB, and the scores."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "values.json"
        command = [sys.executable, __file__, references, outputs, "--task", task, "--write", str(written)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(
                f"bench/metrics.py: {task} failed; is pycocoevalcap installed (pip install pycocoevalcap==1.2)?"
            )
        scores: dict[str, float] = json.loads(written.read_text("utf-8"))
    measured = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024}
    return {**measured, **scores}


def bench(references: str, outputs: str, rounds: int, cold: bool) -> None:
    """Run everything in turns and print the table."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if cold:
        with tempfile.TemporaryDirectory() as cache:
            first = timed("ours+meteor", references, outputs, {**environment, "NLG_METRICS_CACHE": cache})
        print(
            f"first run, METEOR's index built: {first['wall']:.1f} s wall, {first['cpu']:.1f} s CPU, "
            f"{first['memory']:.0f} MB"
        )
    timed("ours+meteor", references, outputs, environment)  # warms the cache
    chosen = [task for task in TASKS if not task.startswith("peer") or shutil.which("java")]
    found: dict[str, list[dict[str, float]]] = {task: [] for task in chosen}
    for _ in range(rounds):
        for task in chosen:
            found[task].append(timed(task, references, outputs, environment))
    print(f"{'':<36}{'wall s':>8}{'CPU s':>8}{'MB':>7}{'peer/ours':>11}")
    for task in chosen:
        title, peer = TASKS[task]
        median = {key: statistics.median(run[key] for run in found[task]) for key in ("wall", "cpu", "memory")}
        ratio = ""
        if peer in found:
            ratios = [b["wall"] / a["wall"] for a, b in zip(found[task], found[peer], strict=True)]
            ratio = f"{statistics.median(ratios):.1f}"
        print(f"{title:<36}{median['wall']:>8.2f}{median['cpu']:>8.2f}{median['memory']:>7.0f}{ratio:>11}")
    if "peer+meteor" not in found:
        print("no java: not compared with the official tool's parts")
        return
    ours, theirs = found["ours+meteor"][0], found["peer+meteor"][0]
    for name in ("METEOR", "ROUGE_L", "CIDEr"):
        print(f"{name}: ours {ours[name]:.12f}, peer {theirs[name]:.12f}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="bench/metrics.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("references", nargs="?", help="as for eval/e2e.py (default: the sample)")
    parser.add_argument("outputs", nargs="?", help="as for eval/e2e.py (default: the sample)")
    parser.add_argument("--data", help="time the WebNLG and DART suite on this data file instead")
    parser.add_argument("--rounds", type=int, default=3, help="runs of every task, in turns (default 3)")
    parser.add_argument("--cold", action="store_true", help="also time a first run, which builds METEOR's index")
    parser.add_argument("--task", choices=[*TASKS, SUITE], help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task == SUITE:
        Path(options.write).write_text(json.dumps(run_suite(options.references, options.outputs)), "utf-8")
    elif options.data:
        with tempfile.TemporaryDirectory() as folder:
            bench_suite(*held_out(options.data, Path(folder)), options.rounds)
    elif options.task:
        run = run_ours if options.task.startswith("ours") else run_peer
        values = run(options.references, options.outputs, "meteor" in options.task)
        Path(options.write).write_text(json.dumps(values), "utf-8")
    elif options.references and not options.outputs:
        parser.error("give REFERENCES and OUTPUTS, or neither for the sample")
    elif not options.references:
        with tempfile.TemporaryDirectory() as folder:
            bench(*sample_files(Path(folder)), options.rounds, options.cold)
    else:
        bench(options.references, options.outputs, options.rounds, options.cold)


if __name__ == "__main__":
    main()
