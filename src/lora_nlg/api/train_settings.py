"""What a training run is told: its data, base and place, and all groups together with the checks across them.

Each dataclass is also a group of `train`'s flags. Names are the predecessor's (microsoft/LoRA, examples/NLG) where it
had them.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal

import yaml

from lora_nlg.decoding.validation import GenerationSettings
from lora_nlg.errors import InputError
from lora_nlg.methods import METHODS, LoRASettings, Method
from lora_nlg.training import GraphMode, LoopSettings, OptimisationSettings


@dataclass(frozen=True)
class DataSettings:
    """What to train on."""

    train_data: str
    """Prepared JSONL records to train on."""
    valid_data: str | None = None
    """Prepared JSONL records to validate on."""
    tokenizer: str | None = None
    """Vocabulary: folder or file. Default: the one beside --init_checkpoint."""
    seq_len: int = 512
    """Longest input in tokens; longer examples lose their end. 0 takes the data's longest, up to the model's most."""
    obj: Literal["clm", "jlm"] = "clm"
    """Loss on the completion (clm) or on every token (jlm)."""
    train_batch_size: int = 8
    """Examples in one micro-batch of one rank."""
    grad_acc: int = 1
    """Micro-batches accumulated in one optimiser step. The global batch is train_batch_size x grad_acc x ranks."""
    valid_batch_size: int = 16
    """Examples in one validation batch of one rank."""
    valid_examples: int = 0
    """Validate the loss on the first so many examples; 0 takes all."""
    shuffle: bool = True
    """False keeps the data's own order in every epoch."""
    bucket: int = 0
    """Batches to sort by length together, so that similar lengths share a batch; 0 mixes freely."""

    def __post_init__(self) -> None:
        for name, least in (("seq_len", 0), ("train_batch_size", 1), ("grad_acc", 1), ("valid_batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if self.valid_examples < 0:
            raise InputError(f"`valid_examples` must be at least 0 (all), got {self.valid_examples}")

    def longest(self, n_positions: int) -> int:
        """Tokens of the longest input, for a model of so many positions."""
        return self.seq_len or n_positions


@dataclass(frozen=True)
class ModelSettings:
    """The base."""

    init_checkpoint: str | None = None
    """GPT-2 weights in Hugging Face form: a folder or file."""
    init: Literal["checkpoint", "random"] = "checkpoint"
    """checkpoint, or random to pretrain a model of --model_card's size."""
    model_card: str | None = None
    """gpt2.nano, gpt2.sm, gpt2.md, gpt2.lg or gpt2.xl. Default: what config.json beside the weights says."""
    n_layer: int | None = None
    """Blocks, in place of the card's."""
    n_embd: int | None = None
    """Width, in place of the card's."""
    n_head: int | None = None
    """Attention heads, in place of the card's."""
    n_positions: int | None = None
    """Longest sequence the model has positions for, in place of the card's."""

    def __post_init__(self) -> None:
        if (self.init == "random") == bool(self.init_checkpoint):
            raise InputError("give the base with `init_checkpoint`, or start from nothing with `init` random")
        if self.init == "random" and self.model_card is None:
            raise InputError("`init` random needs the size of the model: `model_card`")

    def sizes(self) -> dict[str, int]:
        """The sizes given by flag."""
        names = ("n_layer", "n_embd", "n_head", "n_positions")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class MethodSettings:
    """How the base is tuned."""

    method: Literal[tuple(METHODS)] = "lora"  # type: ignore[valid-type]
    """full, or what of the base trains or is put into it; each has flags of its own below. `lora-nlg methods` shows
    what each trains."""


METHOD_SETTINGS = tuple(settings for one in METHODS.values() if fields(settings := one.settings()))
"""The groups of flags of the methods that have any."""


@dataclass(frozen=True)
class RunSettings:
    """Where to, and on what."""

    work_dir: str
    """The run directory."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    resume: Literal["auto", "restart"] = "auto"
    """auto continues from the newest sound snapshot in the run directory; restart begins again."""
    report_to: str = "tensorboard"
    """Where numbers go beside metrics.jsonl, comma-separated: tensorboard (events in tb/ of the run directory), wandb,
    or a tracker that an installed package brings; none for none."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    pack_weights: bool = True
    """On the CPU, keep two more copies of the frozen weights, laid out for speed."""
    cuda_graph: GraphMode = "auto"
    """On CUDA, record a step's kernels and start them together: auto (where it can be done), true or false."""
    compile: bool = False
    """Run the model through torch.compile."""
    deterministic: bool = False
    """On CUDA, take the kernels that give the same bits every time, where torch has them."""

    def __post_init__(self) -> None:
        if not self.work_dir.strip():
            raise InputError("`work_dir` must name a folder, got an empty name")


NOT_IDENTITY = {
    "train_data", "valid_data", "tokenizer", "init_checkpoint",  # their content counts, not their path
    "train_batch_size", "grad_acc",  # their product with the ranks counts
    "valid_batch_size", "max_epoch", "max_step",  # the resolved number of steps counts
    "log_interval", "save_interval", "keep_last",
}  # fmt: skip
"""Arguments that may differ between a snapshot and the run that continues it, beside those of RunSettings."""


@dataclass(frozen=True)
class TrainSettings:
    """All groups together."""

    data: DataSettings
    model: ModelSettings
    choice: MethodSettings
    optimisation: OptimisationSettings
    run: RunSettings
    loop: LoopSettings
    generation: GenerationSettings
    settings: tuple[Any, ...] = field(default_factory=lambda: (LoRASettings(),))
    """Of every method that has flags."""

    @classmethod
    def of(cls, *groups: Any) -> TrainSettings:
        """From an instance of each of `GROUPS`, in their order."""
        data, model, choice, optimisation, run, loop, generation, *settings = groups
        return cls(data, model, choice, optimisation, run, loop, generation, tuple(settings))

    def __post_init__(self) -> None:
        own = METHODS[self.choice.method].settings()
        for settings in self.settings:
            if not isinstance(settings, own) and (changed := _changed(settings)):
                of = next(name for name, one in METHODS.items() if one.settings() is type(settings))
                raise InputError(
                    f"`{changed[0]}` is a setting of `method` {of}; this run's method is {self.choice.method}"
                )
        if self.model.init == "random" and not self.method.is_whole:
            raise InputError(
                "`init` random trains a new base: add `method` full (an adapter of random weights that aren't kept is "
                "no use)"
            )
        if self.loop.early_stop > 0 and self.data.valid_data is None:
            raise InputError("`early_stop` needs validation records: `valid_data`")
        if self.generation.valid_bleu and self.data.valid_data is None:
            raise InputError("`valid_bleu` needs validation records: `valid_data`")

    def to_yaml(self) -> str:
        """Every field that has a value, as `--config` reads it back.

        `resume` is left out: the file is for continuing and replaying, and `restart` would empty the folder.
        """
        groups = (
            self.data, self.model, self.choice, self.optimisation, self.run, self.loop, self.generation, *self.settings
        )  # fmt: skip
        values = {name: value for group in groups for name, value in asdict(group).items() if value is not None}
        del values["resume"]
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

    @property
    def method_settings(self) -> Any:
        """The flags of the method chosen."""
        own = METHODS[self.choice.method].settings()
        return next((one for one in self.settings if isinstance(one, own)), own())

    @property
    def method(self) -> Method:
        """The method chosen, as its flags describe it."""
        method: Method = self.method_settings.method()
        return method

    def values(self) -> dict[str, Any]:
        """The arguments that say what is trained and how, by flag."""
        # Snapshots of before there were several methods know LoRA's flags alone.
        choice = {} if self.choice.method == "lora" else asdict(self.choice)
        groups = (self.data, self.model, self.method_settings, self.optimisation, self.loop, self.generation)
        return choice | {name: value for group in groups for name, value in asdict(group).items()}

    def identity(self) -> dict[str, Any]:
        """The arguments that decide the run's numbers."""
        # Snapshots of before there was valid_examples know nothing of it.
        absent = {name for name in ("valid_examples",) if not self.values()[name]}
        return {name: value for name, value in self.values().items() if name not in NOT_IDENTITY | absent}

    def recipe(self, world_size: int) -> dict[str, Any]:
        """The arguments the paper's table speaks of, for `recipes.recipe_diff`."""
        return {**self.values(), "global_batch": self.data.train_batch_size * self.data.grad_acc * world_size}


def _changed(settings: Any) -> list[str]:
    """Fields of a settings class that aren't at their defaults."""
    return [
        one.name
        for one in fields(settings)
        if one.default is not MISSING and getattr(settings, one.name) != one.default
    ]


GROUPS = (
    DataSettings, ModelSettings, MethodSettings, OptimisationSettings, RunSettings, LoopSettings, GenerationSettings,
    *METHOD_SETTINGS,
)  # fmt: skip
"""All groups of flags, in the order of `TrainSettings.of`."""
