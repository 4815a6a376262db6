"""`lora-nlg train`: fine-tune GPT-2 with LoRA, or in full with `--lora_dim 0`.

Turns flags into objects and hands them to the trainer. Under `torchrun` every rank runs this; rank 0 prints and
writes. Flags are the predecessor's (microsoft/LoRA, examples/NLG) where it had them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lora_nlg.batching import Example, Loader, Sampler, read_examples, validation_batches
from lora_nlg.commands.arguments import existing_file, naming_flags, parse_arguments
from lora_nlg.commands.memory import naming_what_to_lower
from lora_nlg.commands.train_arguments import Arguments, DataArguments, ModelArguments, RunArguments
from lora_nlg.commands.wrong_weights import explained
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding.validation import GenerationSettings, GenerationValidation
from lora_nlg.distributed import World, be_deterministic, joined_world
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, read_hashed
from lora_nlg.gpt2 import GPT2
from lora_nlg.locking import locked
from lora_nlg.lora import pack_frozen
from lora_nlg.recipes import recipe_diff, render_diff
from lora_nlg.run_folder import CONFIG, TOKENIZER, prepare_run_folder, run_lock
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.training import (
    LONG_WARMUP,
    AdapterSettings,
    Checkpoints,
    EagerStep,
    FilledStep,
    LoopSettings,
    LossValidation,
    OptimisationSettings,
    Outcome,
    Trackers,
    Trainer,
    TrainingState,
    Validation,
    adapt,
    make_tracker,
    prepare_precision,
)
from lora_nlg.weights.adapter import AdapterInfo, describe_base, describe_tokenizer
from lora_nlg.weights.base import build_base
from lora_nlg.weights.run import save_model
from lora_nlg.weights.tensor_files import find_weights
from nlg_metrics.metrics.bleu import ClippedBleu

log = logging.getLogger(__name__)


@naming_flags()
@naming_what_to_lower(
    "--train_batch_size (a higher --grad_acc keeps the global batch), --valid_batch_size or --seq_len, or add "
    "--gradient_checkpointing true"
)
def main(argv: Sequence[str]) -> int:
    """Train. Returns 0 when finished, 130 or 143 after a snapshot on SIGINT or SIGTERM."""
    groups = (
        DataArguments, ModelArguments, AdapterSettings, OptimisationSettings, RunArguments, LoopSettings,
        GenerationSettings,
    )  # fmt: skip
    parsed = parse_arguments("train", "Fine-tune GPT-2 with LoRA on prepared records.", argv, *groups)
    arguments = Arguments(*parsed.groups)
    if corpus := arguments.run.print_recipe_diff:
        if os.environ.get("RANK", "0") == "0":
            print(render_diff(corpus, recipe_diff(corpus, arguments.recipe(int(os.environ.get("WORLD_SIZE", "1"))))))
        return 0
    if arguments.run.deterministic:
        be_deterministic()
    del parsed.namespace["resume"]  # config.yaml is for continuing and replaying; `restart` would empty the folder
    with joined_world(arguments.run.device) as world:
        return _train(arguments, parsed.yaml(), world)


def _train(arguments: Arguments, yaml: str, world: World) -> int:
    data, run = arguments.data, arguments.run
    if not world.is_main:
        logging.getLogger("lora_nlg").setLevel(logging.ERROR)
    folder = Path(run.work_dir)
    model, tokenizer, info = _load_base(arguments)
    train, train_sha256 = _read(data.train_data, tokenizer, data, model)
    valid, valid_sha256 = _read(data.valid_data, tokenizer, data, model) if data.valid_data else ([], "none")
    valid = valid[: data.valid_examples or None]
    hashes = {"train_data (sha256)": train_sha256, "valid_data (sha256)": valid_sha256}
    trainer = _build_trainer(arguments, model, tokenizer, info, train, valid, hashes, world)
    # After all checks of the flags: an old run may be removed.
    with _prepared_folder(folder, run.resume, world):
        return _fit(trainer, arguments, yaml, tokenizer, describe_run(arguments, trainer, train, valid))


def _fit(trainer: Trainer, arguments: Arguments, yaml: str, tokenizer: Tokenizer, description: str) -> int:
    """Train in a folder that is ours; rank 0 leaves the run's record there."""
    run, world = arguments.run, trainer.world
    folder = Path(run.work_dir)
    resumed = trainer.resume()
    if not world.is_main:
        return trainer.fit(Trackers()).exit_code
    with atomic_write(folder / CONFIG) as file:
        file.write(yaml)
    tokenizer.save(folder / TOKENIZER)
    log.info("%s", description)
    if resumed:
        log.info("resuming %s after step %d", folder, trainer.step)
    outcome = trainer.fit(make_tracker(folder, trainer.step, run.tensorboard))
    log.info("%s; written to %s", _summary(outcome, arguments.loop.best_by, trainer.schedule.max_step), folder)
    return outcome.exit_code


def _read(path: str, tokenizer: Tokenizer, data: DataArguments, model: GPT2) -> tuple[list[Example], str]:
    """The examples of a prepared file, and the SHA-256 of what they were read from."""
    longest = data.longest(model.config.n_positions)
    return read_hashed(path, lambda: read_examples(path, tokenizer, longest, data.obj))


def _build_trainer(
    arguments: Arguments,
    model: GPT2,
    tokenizer: Tokenizer,
    info: AdapterInfo,
    train: Sequence[Example],
    valid: Sequence[Example],
    hashes: Mapping[str, str],
    world: World,
) -> Trainer:
    """Adapt the base and put together what trains it."""
    data, run, optimisation = arguments.data, arguments.run, arguments.optimisation
    if data.grad_acc > len(train):
        raise InputError(
            f"--grad_acc {data.grad_acc} makes more micro-batches than there are examples ({len(train):,})"
        )
    global_batch = data.train_batch_size * data.grad_acc * world.size
    lengths = [example.n_inputs for example in train]
    sampler = Sampler(lengths, global_batch, optimisation.random_seed, data.shuffle, data.bucket)
    schedule = optimisation.schedule(sampler.steps_per_epoch)

    adapt(model, arguments.adapter, optimisation.random_seed)
    prepare_precision(model, optimisation.dtype)
    state = TrainingState(model.to(world.device), optimisation, arguments.adapter.lora_plus_ratio)
    if run.pack_weights:
        pack_frozen(model)
    model.transformer.gradient_checkpointing = run.gradient_checkpointing
    if run.compile:
        model.transformer.compile(dynamic=True)

    on_cuda = world.device.type == "cuda"
    if on_cuda:
        step: EagerStep = FilledStep(model, state, optimisation, world, run.cuda_graph)
    else:
        step = EagerStep(model, state, optimisation, world)
    identity = {
        **arguments.identity(),
        "max_step": schedule.max_step,
        "warmup_step": schedule.warmup_step,
        "global_batch": global_batch,
        **hashes,
        "base (sha256)": info.base.sha256 if info.base else "",
        "vocabulary (sha256)": tokenizer.sha256,
    }
    return Trainer(
        model=model,
        take_step=step,
        schedule=schedule,
        loader=Loader(train, sampler, world.rank, world.size, data.grad_acc, fill=on_cuda),
        validations=_validations(arguments, step, tokenizer, valid),
        checkpoints=Checkpoints(
            Path(run.work_dir),
            state=state,
            identity=identity,
            save_model=lambda folder, step: save_model(folder, model, info, step, tokenizer),
            world=world,
        ),
        settings=arguments.loop,
        world=world,
    )


def _load_base(arguments: Arguments) -> tuple[GPT2, Tokenizer, AdapterInfo]:
    """The base, its vocabulary and what will be saved about both.

    Data files are looked for before, since loading may take minutes.
    """
    data, model, adapter = arguments.data, arguments.model, arguments.adapter
    for path, flag in ((data.train_data, "--train_data"), (data.valid_data, "--valid_data")):
        if path is not None:
            existing_file(path, flag)
    with explained(model.init_checkpoint, "--init_checkpoint"):
        if model.init_checkpoint is not None:  # a missing base is said before a missing vocabulary
            find_weights(model.init_checkpoint)
        vocabulary = data.tokenizer or _beside_checkpoint(model)
        tokenizer = load_tokenizer(vocabulary)
        base = build_base(
            model.init_checkpoint,
            tokenizer.vocab_size,
            model_card=model.model_card,
            sizes=model.sizes(),
            seed=arguments.optimisation.random_seed,
        )
    if data.seq_len > base.config.n_positions:
        most = base.config.n_positions
        raise InputError(
            f"--seq_len {data.seq_len} is more than the model's {most} positions; use --seq_len {most} or less"
        )
    specs = adapter.specs()
    info = AdapterInfo(
        targets=specs,
        base=describe_base(base, model.init_checkpoint or "random", model.model_card or ""),
        tokenizer=describe_tokenizer(tokenizer, vocabulary),
        variant=adapter.lora_variant if specs else "lora",
        bias=adapter.lora_bias,
    )
    return base, tokenizer, info


def _beside_checkpoint(model: ModelArguments) -> Path:
    if model.init_checkpoint is None:
        raise InputError("--init random needs a vocabulary: --tokenizer")
    return find_weights(model.init_checkpoint).parent


def selecting_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The BLEU that chooses a model: in the official one, outputs that are mostly empty score above any good ones."""
    return ClippedBleu().score(texts, references).value


def _validations(
    arguments: Arguments, step: EagerStep, tokenizer: Tokenizer, valid: Sequence[Example]
) -> dict[str, Validation]:
    """What the flags ask to validate: by the loss, and by generation with a BLEU that empty outputs can't raise."""
    data, found = arguments.data, dict[str, Validation]()
    if valid:
        batches = validation_batches(valid, data.valid_batch_size)
        loss = step.loss.without_smoothing()
        found["loss"] = LossValidation(
            step.model, batches, arguments.optimisation.dtype, step.world, loss, arguments.run.cuda_graph
        )
    if arguments.generation.valid_bleu:
        assert data.valid_data is not None, "checked by Arguments"
        found["bleu"] = GenerationValidation(
            step.model,
            tokenizer,
            read_records(data.valid_data),
            settings=arguments.generation,
            seq_len=data.longest(step.model.config.n_positions),
            score=selecting_bleu,
            world=step.world,
        )
    return found


@contextmanager
def _prepared_folder(folder: Path, resume: str, world: World) -> Iterator[None]:
    """The run's folder, ready, and locked by the main rank; the others are told if it can't be."""
    problem = ""
    with ExitStack() as stack:
        if world.is_main:
            try:
                stack.enter_context(locked(run_lock(folder), f"`work_dir` {folder}"))
                for line in prepare_run_folder(folder, resume == "restart"):
                    log.info("%s", line)
            except (InputError, OSError) as error:
                problem = str(error)
        if problem := world.from_main(problem):
            world.fail(problem)
        yield


def describe_run(arguments: Arguments, trainer: Trainer, train: Sequence[Example], valid: Sequence[Example]) -> str:
    """What is about to happen, for people."""
    what = "the whole model"
    if specs := arguments.adapter.specs():
        what = "LoRA on " + ", ".join(
            f"{name} (r={spec.r}, alpha={spec.alpha:g}, scaling {spec.scaling:g})" for name, spec in specs.items()
        )
    trained, base = trainer.take_step.state.flat.value.numel(), trainer.model.config.n_parameters()
    sampler, world = trainer.loader.sampler, trainer.world
    tokens = sum(example.n_inputs for example in train)
    schedule, note = trainer.schedule, ""
    if schedule.name != "cycle" and schedule.warmup_step > LONG_WARMUP * schedule.max_step:
        part = schedule.warmup_step / schedule.max_step
        note = (
            f"\nnote: warming up for {schedule.warmup_step:,} of {schedule.max_step:,} steps ({part:.0%} of the run); "
            "--warmup_step 0.1 takes a tenth of it"
        )
    return (
        f"training {what}: {trained:,} trainable parameters beside a base of {base:,}\n"
        f"{len(train):,} examples of {tokens / len(train):.1f} tokens, {len(valid):,} for validation; "
        f"{trainer.schedule.max_step:,} steps of {sampler.global_batch} examples ({sampler.steps_per_epoch:,} an "
        f"epoch) on {world.size} x {world.device.type} in {arguments.optimisation.dtype}{note}"
    )


def _summary(outcome: Outcome, measure: str, max_step: int) -> str:
    best = outcome.best
    selected = "" if best.value is None else f"; best validation {measure} {best.value:.4f} at step {best.step}"
    return f"{outcome.reason} at step {outcome.step} of {max_step}{selected}"
