"""Beam search against transformers' `generate` and CTranslate2: seconds a context, same weights, taken in turn.

    python bench/decoding.py                                                    # prompts of the built-in sample
    python bench/decoding.py --data data/e2e/test.jsonl --tokenizer VOCABULARY  # E2E's, GPT-2's vocabulary
    python bench/decoding.py --device cuda --model gpt2.md --contexts 630 --ends_at 30 --rounds 2 \
        --engines ours-bf16,ours-bf16-eager,ours-fp32,ours-bf16@128,ours-bf16@512,transformers-bf16

Random weights never end a sentence, so every search runs its full length: the same work for everyone. With `--ends_at`
an end grows likely around that length, as with a trained model. Each round runs every engine once; the table gives
medians over rounds and the median of the rounds' ratios. CPU seconds (user and system, all threads) are less disturbed
by a busy machine than wall time; on CUDA, seconds are wall seconds, and a round before the first one, of few contexts,
loads kernels. The rate of the plain matrix product (`F.linear`, fp32) is measured in the same rounds, and the fraction
of it reached stated: above 1 where oneDNN's packed kernels beat the library torch calls by default.

Engines: ours-DTYPE (fp32, bf16, fp16), with -eager for no CUDA graphs, @N for a batch of N and +METHOD:FIELD=N for a
tuning method put in as it starts; transformers and transformers-DTYPE; ct2-float32, ct2-int8. On CUDA the batch of
ours is what memory holds unless given. What a prefix and adapters cost, of the LoRA paper's sizes by width:

    python bench/decoding.py --base RUN/model --data data/e2e/test.jsonl --contexts 32 --engines \
        ours-fp32,ours-fp32+prefix:prefix_length=5,ours-fp32+adapter_h:adapter_h_dim=28
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lora_nlg.batching import prompt_tokens
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings, beam_search_penalties, fold_for_decoding
from lora_nlg.distributed import CPU, pick_device
from lora_nlg.dtypes import DTYPES
from lora_nlg.gpt2 import GPT2, empty_gpt2, named_config
from lora_nlg.gpt2.inference import InferenceGPT2
from lora_nlg.methods import method_named, without_method
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.weights.base import load_base, save_base

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"
VOCAB_SIZE = 50257  # GPT-2's, whatever the prompts' vocabulary
Engine = Callable[[list[list[int]]], list[list[int]]]


def ours(
    model: GPT2, settings: BeamSettings, batch_size: int | None, dtype: torch.dtype, cuda_graph: bool = True
) -> Engine:
    """This project's search."""
    inference = InferenceGPT2(model, dtype)
    penalties = [settings.length_penalty]

    def run(prompts: list[list[int]]) -> list[list[int]]:
        found = dict(beam_search_penalties(inference, prompts, settings, penalties, batch_size, cuda_graph))
        return [list(found[i][0][0].tokens) for i in range(len(prompts))]

    return run


def engine_of_ours(name: str, model: GPT2, settings: BeamSettings, batch_size: int | None) -> Engine:
    """The engine that a name like ours-bf16-eager@128 or ours-fp32+prefix:prefix_length=5 says."""
    name, _, method = name.partition("+")
    name, _, size = name.partition("@")
    _, dtype, *eager = name.split("-")
    if method:
        model = with_method(model, method)
    return ours(model, settings, int(size) if size else batch_size, DTYPES[dtype], cuda_graph=not eager)


def with_method(model: GPT2, text: str) -> GPT2:
    """A copy of a model, sharing its weights, with a method in it: prefix:prefix_length=5."""
    name, *settings = text.split(":")
    given = {field: int(value) for field, _, value in (setting.partition("=") for setting in settings)}
    tuned = without_method(model)
    torch.manual_seed(0)
    method_named(name).settings()(**given).method().put_into(tuned)
    return fold_for_decoding(tuned.to(model.head_weight.device))


@torch.no_grad()
def end_around(model: GPT2, end: int, first: int, length: int) -> None:
    """Change random weights so that the end token grows likely `length` tokens after position `first`.

    The end's embedding becomes a direction that nothing else has, and positions hold ever more of it.
    """
    wte, wpe = model.transformer.wte.weight, model.transformer.wpe.weight
    direction = torch.zeros(wte.shape[1], device=wte.device)
    direction[:2] = torch.tensor([1.0, -1.0])  # of sum zero: layer norms let it pass
    past = torch.arange(len(wpe), device=wpe.device) - first - length
    wpe.sub_(torch.outer(wpe @ direction / 2, direction))
    wpe.add_(torch.outer((3 * past / length).clamp(-3, 3), direction))  # past what the end as separator adds itself
    wte[end] = direction


def transformers_generate(
    folder: Path, settings: BeamSettings, batch_size: int, device: torch.device = CPU, dtype: str = "fp32"
) -> Engine:
    """`generate` of Hugging Face transformers; left padding, batches in order of length."""
    from transformers import GPT2LMHeadModel

    model: Any = GPT2LMHeadModel.from_pretrained(folder)
    model.to(device, DTYPES[dtype]).eval()

    def run(prompts: list[list[int]]) -> list[list[int]]:
        outputs = []
        prompts = sorted(prompts, key=len)
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            longest = max(map(len, batch))
            padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch], device=device)
            mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch], device=device)
            with torch.inference_mode():
                generated = model.generate(
                    padded,
                    attention_mask=mask,
                    num_beams=settings.beam,
                    length_penalty=settings.length_penalty,
                    no_repeat_ngram_size=settings.no_repeat_ngram_size,
                    max_new_tokens=settings.eval_len,
                    early_stopping="never",
                    do_sample=False,
                    eos_token_id=settings.end_ids[0] if settings.end_ids else None,
                    pad_token_id=0,
                )
            outputs += generated[:, longest:].tolist()
        return outputs

    return run


def token_name(token: int) -> str:
    """What CTranslate2 is told a token is called: it takes names, not ids."""
    return "<|endoftext|>" if token == VOCAB_SIZE - 1 else f"t{token}"


def ctranslate2_generator(
    folder: Path, settings: BeamSettings, batch_size: int, compute_type: str, threads: int
) -> Engine:
    """CTranslate2's decoder, converted from the same weights."""
    import ctranslate2

    converted = folder / "ctranslate2"
    if not converted.exists():
        (folder / "vocab.json").write_text(json.dumps({token_name(index): index for index in range(VOCAB_SIZE)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted))
    generator = ctranslate2.Generator(str(converted), compute_type=compute_type, intra_threads=threads)

    def run(prompts: list[list[int]]) -> list[list[int]]:
        results = generator.generate_batch(
            [[token_name(token) for token in prompt] for prompt in sorted(prompts, key=len)],
            max_batch_size=batch_size,
            beam_size=settings.beam,
            length_penalty=settings.length_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            max_length=settings.eval_len,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]

    return run


def clock(device: torch.device) -> float:
    """CPU seconds of this process; on CUDA the wall clock after all work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def matmul_rate(device: torch.device, seconds: float = 0.5) -> float:
    """GFLOP/s of `F.linear` in fp32 at this search's commonest shape, (160, 768) x (768, 3072)."""
    x, w = torch.randn(160, 768, device=device), torch.randn(3072, 768, device=device)
    count, start = 0, clock(device)
    while clock(device) - start < seconds:
        for _ in range(10):
            F.linear(x, w)
        count += 10
    return count * 2 * 160 * 768 * 3072 / (clock(device) - start) / 1e9


def work_per_context(model: GPT2, prompt_length: float, settings: BeamSettings) -> float:
    """GFLOP of matrix products a context needs, attention left out: rows of beams, prompt, and head."""
    D, V = model.config.n_embd, model.config.vocab_size
    body = 2 * 12 * D * D * model.config.n_layer
    rows = settings.beam * (settings.eval_len - 1)
    return (rows * (body + 2 * D * V) + prompt_length * body + 2 * D * V) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SAMPLE / "test.jsonl"), help="prepared JSONL")
    parser.add_argument("--tokenizer", default=str(SAMPLE / "base"), help="vocabulary the prompts are written in")
    parser.add_argument("--model", default="gpt2.sm", help="model card of the random weights")
    parser.add_argument("--base", help="a base and its vocabulary in place of those two; no token ends a text then")
    parser.add_argument("--engines", default="ours-fp32,ours-bf16,transformers,ct2-float32,ct2-int8")
    parser.add_argument("--contexts", type=int, default=16, help="contexts an engine decodes in a round")
    parser.add_argument("--batch_size", type=int, help="of ours; default: 16, on CUDA what its memory holds")
    parser.add_argument("--ends_at", type=int, default=0, help="length around which texts end; default: never")
    parser.add_argument("--transformers_batch_size", type=int, default=8)
    parser.add_argument("--eval_len", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N; CTranslate2 stays on the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    torch.manual_seed(0)
    tokenizer: Tokenizer = load_tokenizer(arguments.base or arguments.tokenizer)
    if arguments.base:
        model = load_base(arguments.base)
    else:
        model = empty_gpt2(named_config(arguments.model, vocab_size=VOCAB_SIZE))
        model.reset_parameters()
    settings = BeamSettings(end_ids=() if arguments.base else tokenizer.end_ids, eval_len=arguments.eval_len)
    contexts = list(dict.fromkeys(record.context for record in read_records(arguments.data)))
    step = max(1, len(contexts) // arguments.contexts)
    prompts = [prompt_tokens(tokenizer, context) for context in contexts[::step][: arguments.contexts]]
    prompts = [prompts[i % len(prompts)] for i in range(arguments.contexts)]
    if arguments.ends_at:
        end_around(model, tokenizer.end_ids[0], sum(map(len, prompts)) // len(prompts), arguments.ends_at)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_base(model.eval(), folder)
        model.to(device)
        batch, threads = arguments.batch_size, arguments.threads
        if device.type == "cpu":
            batch = batch or 16
        theirs = arguments.transformers_batch_size
        makers: dict[str, Callable[[], Engine]] = {
            "transformers": lambda: transformers_generate(folder, settings, theirs, device),
            "transformers-bf16": lambda: transformers_generate(folder, settings, theirs, device, "bf16"),
            "ct2-float32": lambda: ctranslate2_generator(folder, settings, batch or 16, "float32", threads),
            "ct2-int8": lambda: ctranslate2_generator(folder, settings, batch or 16, "int8", threads),
        }
        engines = {
            name: makers[name]() if name in makers else engine_of_ours(name, model, settings, batch)
            for name in arguments.engines.split(",")
        }
        if device.type == "cuda":
            for engine in engines.values():
                engine(prompts[:8])
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        rates, outputs = [], {}
        for number in range(arguments.rounds):
            rates.append(matmul_rate(device))
            for name, engine in engines.items():
                start, wall = clock(device), time.perf_counter()
                outputs[name] = engine(prompts)
                seconds[name].append((clock(device) - start) / len(prompts))
                wall = (time.perf_counter() - wall) / len(prompts)
                length = statistics.mean(len(tokens) for tokens in outputs[name])
                print(
                    f"round {number + 1}  {name:<17} {seconds[name][-1]:8.4f} s/context {wall:8.4f} wall, "
                    f"{wall * len(prompts):.2f} s in all, {length:.0f} tokens a text",
                    flush=True,
                )
    report(seconds, rates, work_per_context(model, sum(map(len, prompts)) / len(prompts), settings), arguments)


def report(seconds: dict[str, list[float]], rates: list[float], work: float, arguments: argparse.Namespace) -> None:
    """Print the table."""
    rate, which = statistics.median(rates), arguments.base or arguments.model
    print(
        f"\n{which}, {arguments.contexts} contexts, {arguments.eval_len} new tokens, beam 10, "
        f"{arguments.threads} thread(s); F.linear fp32 {rate:.0f} GFLOP/s; {work:.0f} GFLOP a context"
    )
    reference = "ours-fp32" if "ours-fp32" in seconds else next(iter(seconds))
    unit = "CPU s/context" if arguments.device == "cpu" else "s/context"
    print(f"| engine | {unit} | of the F.linear rate | time / {reference}'s |\n|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        ratio = statistics.median(a / b for a, b in zip(values, seconds[reference], strict=True))
        print(f"| {name} | {median:.4f} | {work / median / rate:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
