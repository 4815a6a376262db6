"""`lora-nlg train`: fine-tune GPT-2 with LoRA, or in full with `--lora_dim 0`.

Turns flags into objects and hands them to the trainer. Under `torchrun` every rank runs this; rank 0 prints and
writes. Flags are the predecessor's (microsoft/LoRA, examples/NLG) where it had them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lora_nlg.batching import Example, Loader, Sampler, make_examples, validation_batches
from lora_nlg.commands.arguments import existing_file, naming_flags, parse_arguments
from lora_nlg.commands.train_arguments import (
    Arguments,
    DataArguments,
    GenerationArguments,
    LoRAArguments,
    ModelArguments,
    OptimisationArguments,
    RunArguments,
)
from lora_nlg.commands.wrong_weights import explained
from lora_nlg.corpora.record import read_records
from lora_nlg.decoding import BeamSettings, decode_contexts
from lora_nlg.distributed import World, be_deterministic, joined_world
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, sha256_file
from lora_nlg.gpt2 import GPT2, lora_targets
from lora_nlg.lora import (
    freeze_projections,
    inject,
    lora_plus_,
    mark_only_lora_as_trainable,
    pack_frozen,
)
from lora_nlg.recipes import recipe_diff, render_diff
from lora_nlg.run_folder import CONFIG, METRICS, TENSORBOARD, TOKENIZER, prepare_run_folder
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.training import (
    FlatParameters,
    JsonlTracker,
    LoopSettings,
    Outcome,
    Schedule,
    TensorBoardTracker,
    Tracker,
    Trackers,
    Trainer,
    make_optimizer,
    parse_points,
    prepare_precision,
)
from lora_nlg.weights.adapter import AdapterInfo, describe_base, describe_tokenizer
from lora_nlg.weights.base import build_base, find_weights
from lora_nlg.weights.run import save_model, saved_step
from nlg_metrics.bleu import Bleu

log = logging.getLogger(__name__)
SAMPLES = 4
"""Generated texts kept at each validation by generation."""


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Train. Returns 0 when finished, 130 or 143 after a snapshot on SIGINT or SIGTERM."""
    groups = (DataArguments, ModelArguments, LoRAArguments, OptimisationArguments, RunArguments, GenerationArguments)
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
    data, run, optimisation = arguments.data, arguments.run, arguments.optimisation
    if not world.is_main:
        logging.getLogger("lora_nlg").setLevel(logging.ERROR)
    folder = Path(run.work_dir)
    model, tokenizer, vocabulary = _load_base(arguments)
    train, train_hash = read_examples(data.train_data, "--train_data", tokenizer, data)
    valid: list[Example] = []
    valid_hash = "none"
    if data.valid_data is not None:
        valid, valid_hash = read_examples(data.valid_data, "--valid_data", tokenizer, data)

    origin = arguments.model.init_checkpoint or "random"
    info = AdapterInfo(
        targets=arguments.lora.specs(),
        base=describe_base(model, origin, arguments.model.model_card or ""),
        tokenizer=describe_tokenizer(tokenizer, vocabulary),
        variant=arguments.lora.lora_variant if arguments.lora.specs() else "lora",
        bias=arguments.lora.lora_bias,
    )
    global_batch = data.train_batch_size * data.grad_acc * world.size
    lengths = [example.n_inputs for example in train]
    sampler = Sampler(lengths, global_batch, optimisation.random_seed, data.shuffle, data.bucket)
    points = parse_points(optimisation.i_steps, optimisation.i_lrs)
    max_step = optimisation.max_step
    if max_step is None:  # the points of --scheduler cycle end the run, as the predecessor's do
        max_step = points[-1][0] if points else optimisation.max_epoch * sampler.steps_per_epoch
    flat = adapt(model, arguments.lora, optimisation, world)
    if run.pack_weights:
        pack_frozen(model)
    model.transformer.gradient_checkpointing = run.gradient_checkpointing
    if run.compile:
        model.transformer.compile(dynamic=True)

    def save(place: Path, step: int) -> None:
        # A run started again at its last step leaves its files alone: their times tell which results are older.
        if step > trainer.first_step or saved_step(place) != step:
            save_model(place, model, info, step, tokenizer)

    trainer = Trainer(
        model,
        Loader(train, sampler, world.rank, world.size, data.grad_acc, pin=world.device.type == "cuda"),
        flat,
        build_optimizer(flat, model, arguments),
        Schedule(optimisation.scheduler, optimisation.lr, max_step, optimisation.warmup_step, points),
        _loop_settings(arguments, max_step, sampler.steps_per_epoch),
        world,
        folder,
        {
            **arguments.identity(),
            "max_step": max_step,
            "global_batch": global_batch,
            "train_data (sha256)": train_hash,
            "valid_data (sha256)": valid_hash,
            "base (sha256)": info.base.sha256 if info.base else "",
            "vocabulary (sha256)": tokenizer.sha256,
        },
        save,
        validation_batches(valid, data.valid_batch_size),
        lambda after: make_tracker(folder, after, run.tensorboard),
        build_generation(arguments, model, tokenizer, world),
    )
    _prepare_folder(folder, run.resume, world)  # after all checks of the flags: it may remove an old run
    resumed = trainer.resume()
    if world.is_main:
        with atomic_write(folder / CONFIG) as file:
            file.write(yaml)
        tokenizer.save(folder / TOKENIZER)
        log.info("%s", describe_run(arguments, model, flat, train, valid, sampler, max_step, world))
        if resumed:
            log.info("resuming %s after step %d", folder, trainer.step)
    outcome = trainer.fit()
    if world.is_main:
        log.info("%s; written to %s", _summary(outcome, arguments.generation.best_by, max_step), folder)
    return outcome.exit_code


def _summary(outcome: Outcome, measure: str, max_step: int) -> str:
    best = outcome.best
    selected = "" if best.value is None else f"; best validation {measure} {best.value:.4f} at step {best.step}"
    return f"{outcome.reason} at step {outcome.step} of {max_step}{selected}"


def _load_base(arguments: Arguments) -> tuple[GPT2, Tokenizer, str | Path]:
    """The base, its vocabulary and where that lay; data files are looked for before, since loading may take minutes."""
    data, model = arguments.data, arguments.model
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
    return base, tokenizer, vocabulary


def _beside_checkpoint(model: ModelArguments) -> Path:
    if model.init_checkpoint is None:
        raise InputError("--init random needs a vocabulary: --tokenizer")
    return find_weights(model.init_checkpoint).parent


def read_examples(path: str, flag: str, tokenizer: Tokenizer, arguments: DataArguments) -> tuple[list[Example], str]:
    """The examples of a prepared file, and the SHA-256 of the file.

    Raises:
        InputError: no such file, or not a prepared one.
    """
    file = existing_file(path, flag)
    examples = make_examples(read_records(file), tokenizer, arguments.seq_len, arguments.obj)
    if cut := sum(not example.n_targets for example in examples):
        log.warning(
            "warning: %d of %d examples of %s lose their whole completion at --seq_len %d and carry no loss",
            cut, len(examples), file, arguments.seq_len,
        )  # fmt: skip
    return examples, sha256_file(file)


def adapt(model: GPT2, lora: LoRAArguments, optimisation: OptimisationArguments, world: World) -> FlatParameters:
    """Put the adapter in, freeze the rest, and move everything to its device and type; in place."""
    specs = lora.specs()
    if specs:
        torch.manual_seed(optimisation.random_seed)
        inject(model, lora_targets(model.config, specs), lora.lora_variant)
        mark_only_lora_as_trainable(model, lora.lora_bias)
        if lora.lora_freeze_a:
            freeze_projections(model)
    else:
        model.requires_grad_(True)
    prepare_precision(model, optimisation.dtype)
    model.to(world.device)
    return FlatParameters({name: value for name, value in model.named_parameters() if value.requires_grad})


def build_optimizer(flat: FlatParameters, model: GPT2, arguments: Arguments) -> torch.optim.Optimizer:
    """The optimiser the flags mean, over the flat parameters."""
    optimisation, ratio = arguments.optimisation, arguments.lora.lora_plus_ratio
    optimizer = make_optimizer(
        optimisation.optimizer,
        [flat.value],
        (optimisation.adam_beta1, optimisation.adam_beta2),
        optimisation.adam_epsilon,
        optimisation.weight_decay,
        optimisation.correct_bias,
    )
    if ratio != 1:
        lora_plus_(optimizer, flat.value, flat.split(flat.value.data), model, ratio)
    return optimizer


def build_generation(
    arguments: Arguments, model: GPT2, tokenizer: Tokenizer, world: World
) -> Callable[[], tuple[dict[str, float], dict[str, str]]] | None:
    """Validation by generation: the real decoder on the validation contexts, the real scorer on what it says."""
    settings, data = arguments.generation, arguments.data
    if not settings.valid_bleu:
        return None
    if data.valid_data is None:
        raise InputError("--valid_bleu needs validation records: --valid_data")
    references: dict[str, list[str]] = {}  # equal contexts are one segment, all their references together
    for record in read_records(data.valid_data):
        references.setdefault(record.context, []).extend(record.references)
    contexts = [context for context in references if references[context]]
    contexts = contexts[: settings.valid_contexts or None]
    eval_len = min(settings.valid_eval_len, data.seq_len - 1)
    beam = BeamSettings(beam=settings.valid_beam, eval_len=eval_len)

    def generate() -> tuple[dict[str, float], dict[str, str]]:
        own = contexts[world.rank :: world.size]
        texts = [hypothesis.text for hypothesis in decode_contexts(model, tokenizer, own, beam, seq_len=data.seq_len)]
        said = {
            context: text for part in world.gather(dict(zip(own, texts, strict=True))) for context, text in part.items()
        }
        score = Bleu().score([said[context] for context in contexts], [references[context] for context in contexts])
        return {"bleu": score.value}, {context: said[context] for context in contexts[:SAMPLES]}

    return generate


def _loop_settings(arguments: Arguments, max_step: int, steps_per_epoch: int) -> LoopSettings:
    run, optimisation, generation = arguments.run, arguments.optimisation, arguments.generation
    return LoopSettings(
        max_step=max_step,
        label_smooth=optimisation.label_smooth,
        grad_clip=optimisation.grad_clip,
        dtype=optimisation.dtype,
        random_seed=optimisation.random_seed,
        log_interval=run.log_interval,
        eval_interval=run.eval_interval,
        save_interval=run.save_interval,
        keep_last=run.keep_last,
        patience=optimisation.early_stop,
        generate_interval=(generation.generate_interval or steps_per_epoch) if generation.valid_bleu else 0,
        best_by=generation.best_by,
        # The predecessor divides by (count + 1e-4); its optimiser is chosen to reproduce its numbers.
        denominator_offset=1e-4 if optimisation.optimizer == "adamw_lora" else 0.0,
    )


def _prepare_folder(folder: Path, resume: str, world: World) -> None:
    problem = ""
    if world.is_main:
        try:
            prepare_run_folder(folder, resume == "restart")
        except InputError as error:
            problem = str(error)
    if problem := world.from_main(problem):
        world.fail(problem)


def make_tracker(folder: Path, after: int, tensorboard: bool) -> Tracker:
    """`metrics.jsonl` and, if asked for, TensorBoard."""
    trackers: list[Tracker] = [JsonlTracker(folder / METRICS, after)]
    if tensorboard:
        trackers.append(TensorBoardTracker(folder / TENSORBOARD, after))
    return Trackers(*trackers)


def describe_run(
    arguments: Arguments,
    model: GPT2,
    flat: FlatParameters,
    train: Sequence[Example],
    valid: Sequence[Example],
    sampler: Sampler,
    max_step: int,
    world: World,
) -> str:
    """What is about to happen, for people."""
    base = model.config.n_parameters()
    trained = flat.value.numel()
    what = "the whole model"
    if specs := arguments.lora.specs():
        what = "LoRA on " + ", ".join(
            f"{name} (r={spec.r}, alpha={spec.alpha:g}, scaling {spec.scaling:g})" for name, spec in specs.items()
        )
    tokens = sum(example.n_inputs for example in train)
    return (
        f"training {what}: {trained:,} trainable parameters beside a base of {base:,}\n"
        f"{len(train):,} examples of {tokens / len(train):.1f} tokens, {len(valid):,} for validation; "
        f"{max_step:,} steps of {sampler.global_batch} examples ({sampler.steps_per_epoch:,} an epoch) on "
        f"{world.size} x {world.device.type} in {arguments.optimisation.dtype}"
    )
