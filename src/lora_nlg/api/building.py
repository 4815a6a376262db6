"""From settings to what trains: the base with its vocabulary, the examples, and the trainer over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_nlg.api.train_settings import ModelSettings, TrainSettings
from lora_nlg.api.wrong_weights import explained
from lora_nlg.batching import Example, Loader, Sampler, read_examples, validation_batches
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding.validation import GenerationValidation
from lora_nlg.distributed import World
from lora_nlg.dtypes import is_emulated
from lora_nlg.errors import InputError
from lora_nlg.files import existing_file, read_hashed
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import pack_frozen
from lora_nlg.methods import prepare
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.training import (
    LONG_WARMUP,
    Checkpoints,
    EagerStep,
    FilledStep,
    LossValidation,
    Trainer,
    TrainingState,
    Validation,
    prepare_precision,
)
from lora_nlg.weights.adapter import AdapterInfo, describe_base, describe_tokenizer
from lora_nlg.weights.base import build_base
from lora_nlg.weights.run import save_model
from lora_nlg.weights.tensor_files import find_weights
from nlg_metrics.metrics.bleu import ClippedBleu


def read_data(path: str, tokenizer: Tokenizer, longest: int, obj: str) -> tuple[list[Example], str]:
    """The examples of a prepared file, cut to the longest that may be, and the SHA-256 of what they were read from."""
    return read_hashed(path, lambda: read_examples(path, tokenizer, longest, obj))


def build_trainer(
    settings: TrainSettings,
    model: GPT2,
    tokenizer: Tokenizer,
    info: AdapterInfo,
    train: Sequence[Example],
    valid: Sequence[Example],
    hashes: Mapping[str, str],
    world: World,
) -> Trainer:
    """Adapt the base and put together what trains it."""
    data, run, optimisation = settings.data, settings.run, settings.optimisation
    if data.grad_acc > len(train):
        raise InputError(
            f"`grad_acc` {data.grad_acc} makes more micro-batches than there are examples ({len(train):,})"
        )
    global_batch = data.train_batch_size * data.grad_acc * world.size
    lengths = [example.n_inputs for example in train]
    sampler = Sampler(lengths, global_batch, optimisation.random_seed, data.shuffle, data.bucket)
    schedule = optimisation.schedule(sampler.steps_per_epoch)

    prepare(model, info.method, optimisation.random_seed)
    prepare_precision(model, optimisation.dtype)
    state = TrainingState(model.to(world.device), optimisation, info.method.rates(model))
    if run.pack_weights:
        pack_frozen(model)
    model.transformer.gradient_checkpointing = run.gradient_checkpointing
    if run.compile:
        model.compile_blocks()

    on_cuda = world.device.type == "cuda"
    if on_cuda:
        step: EagerStep = FilledStep(model, state, optimisation, world, run.cuda_graph)
    else:
        step = EagerStep(model, state, optimisation, world)
    identity = {
        **settings.identity(),
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
        validations=_validations(settings, step, tokenizer, valid),
        checkpoints=Checkpoints(
            Path(run.work_dir),
            state=state,
            identity=identity,
            save_model=lambda folder, step: save_model(folder, model, info, step, tokenizer),
            world=world,
        ),
        settings=settings.loop,
        world=world,
    )


def load_base_of(settings: TrainSettings) -> tuple[GPT2, Tokenizer, AdapterInfo]:
    """The base, its vocabulary and what will be saved about both.

    Data files are looked for before, since loading may take minutes.
    """
    data, model = settings.data, settings.model
    for path, field in ((data.train_data, "`train_data`"), (data.valid_data, "`valid_data`")):
        if path is not None:
            existing_file(path, field)
    with explained(model.init_checkpoint, "init_checkpoint"):
        if model.init_checkpoint is not None:  # a missing base is said before a missing vocabulary
            find_weights(model.init_checkpoint)
        vocabulary = data.tokenizer or _beside_checkpoint(model)
        tokenizer = load_tokenizer(vocabulary)
        base = build_base(
            model.init_checkpoint,
            tokenizer.vocab_size,
            model_card=model.model_card,
            sizes=model.sizes(),
            seed=settings.optimisation.random_seed,
        )
    if data.seq_len > base.config.n_positions:
        most = base.config.n_positions
        raise InputError(
            f"`seq_len` {data.seq_len} is more than the model's {most} positions; use `seq_len` {most} or less"
        )
    info = AdapterInfo(
        method=settings.method,
        base=describe_base(base, model.init_checkpoint or "random", model.model_card or ""),
        tokenizer=describe_tokenizer(tokenizer, vocabulary),
    )
    return base, tokenizer, info


def _beside_checkpoint(model: ModelSettings) -> Path:
    if model.init_checkpoint is None:
        raise InputError("`init` random needs a vocabulary: `tokenizer`")
    return find_weights(model.init_checkpoint).parent


def selecting_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The BLEU that chooses a model: in the official one, outputs that are mostly empty score above any good ones."""
    return ClippedBleu().score(texts, references).value


def _validations(
    settings: TrainSettings, step: EagerStep, tokenizer: Tokenizer, valid: Sequence[Example]
) -> dict[str, Validation]:
    """What is asked to be validated: by the loss, and by generation with a BLEU that empty outputs can't raise."""
    data, found = settings.data, dict[str, Validation]()
    if valid:
        batches = validation_batches(valid, data.valid_batch_size)
        loss = step.loss.without_smoothing()
        found["loss"] = LossValidation(
            step.model, batches, settings.optimisation.dtype, step.world, loss, settings.run.cuda_graph
        )
    if settings.generation.valid_bleu:
        assert data.valid_data is not None, "checked by TrainSettings"
        found["bleu"] = GenerationValidation(
            step.model,
            tokenizer,
            read_records(data.valid_data),
            settings=settings.generation,
            seq_len=data.longest(step.model.config.n_positions),
            score=selecting_bleu,
            world=step.world,
        )
    return found


def describe_run(settings: TrainSettings, trainer: Trainer, train: Sequence[Example], valid: Sequence[Example]) -> str:
    """What is about to happen, for people."""
    trained, base = trainer.take_step.state.flat.value.numel(), trainer.model.config.n_parameters()
    sampler, world = trainer.loader.sampler, trainer.world
    tokens = sum(example.n_inputs for example in train)
    schedule, note = trainer.schedule, ""
    if schedule.name != "cycle" and schedule.warmup_step > LONG_WARMUP * schedule.max_step:
        part = schedule.warmup_step / schedule.max_step
        note = (
            f"\nnote: warming up for {schedule.warmup_step:,} of {schedule.max_step:,} steps ({part:.0%} of the run); "
            "a warmup_step of 0.1 takes a tenth of it"
        )
    if settings.optimisation.dtype != "fp32" and is_emulated(world.device):
        note += (
            f"\nnote: this processor has no products in {settings.optimisation.dtype}; emulated, they take many times "
            "as long as in fp32"
        )
    return (
        f"training {settings.method}: {trained:,} trainable parameters beside a base of {base:,}\n"
        f"{len(train):,} examples of {tokens / len(train):.1f} tokens, {len(valid):,} for validation; "
        f"{trainer.schedule.max_step:,} steps of {sampler.global_batch} examples ({sampler.steps_per_epoch:,} an "
        f"epoch) on {world.size} x {world.device.type} in {settings.optimisation.dtype}{note}"
    )
