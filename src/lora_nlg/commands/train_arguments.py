"""The flags of `lora-nlg train` that are its own, and all groups together: checks across them, what of them a snapshot
may differ in.

Names are the predecessor's (microsoft/LoRA, examples/NLG) where it had them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lora_nlg.decoding.validation import GenerationSettings
from lora_nlg.errors import InputError
from lora_nlg.training import AdapterSettings, LoopSettings, OptimisationSettings


@dataclass(frozen=True)
class DataArguments:
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
                raise InputError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.valid_examples < 0:
            raise InputError(f"--valid_examples must be at least 0 (all), got {self.valid_examples}")

    def longest(self, n_positions: int) -> int:
        """Tokens of the longest input, for a model of so many positions."""
        return self.seq_len or n_positions


@dataclass(frozen=True)
class ModelArguments:
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
            raise InputError("give the base with --init_checkpoint, or start from nothing with --init random")
        if self.init == "random" and self.model_card is None:
            raise InputError("--init random needs the size of the model: --model_card")

    def sizes(self) -> dict[str, int]:
        """The sizes given by flag."""
        names = ("n_layer", "n_embd", "n_head", "n_positions")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class RunArguments:
    """Where to, and on what."""

    work_dir: str
    """The run directory."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    resume: Literal["auto", "restart"] = "auto"
    """auto continues from the newest sound snapshot in the run directory; restart begins again."""
    tensorboard: bool = True
    """Write TensorBoard events to tb/ in the run directory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    pack_weights: bool = True
    """On the CPU, keep two more copies of the frozen weights, laid out for speed."""
    cuda_graph: Literal["auto", "true", "false"] = "auto"
    """On CUDA, record a step's kernels and start them together: auto (where it can be done), true or false."""
    compile: bool = False
    """Run the model through torch.compile."""
    deterministic: bool = False
    """On CUDA, take the kernels that give the same bits every time, where torch has them."""
    print_recipe_diff: str | None = None
    """e2e, webnlg or dart: only print how this run differs from the paper's row for that corpus."""

    def __post_init__(self) -> None:
        if not self.work_dir.strip():
            raise InputError("--work_dir must name a folder, got an empty name")


NOT_IDENTITY = {
    "train_data", "valid_data", "tokenizer", "init_checkpoint",  # their content counts, not their path
    "train_batch_size", "grad_acc",  # their product with the ranks counts
    "valid_batch_size", "max_epoch", "max_step",  # the resolved number of steps counts
    "log_interval", "save_interval", "keep_last",
}  # fmt: skip
"""Arguments that may differ between a snapshot and the run that continues it, beside those of RunArguments."""


@dataclass(frozen=True)
class Arguments:
    """All groups together."""

    data: DataArguments
    model: ModelArguments
    adapter: AdapterSettings
    optimisation: OptimisationSettings
    run: RunArguments
    loop: LoopSettings
    generation: GenerationSettings

    def __post_init__(self) -> None:
        if self.model.init == "random" and self.adapter.lora_dim > 0:
            raise InputError(
                "--init random trains a new base: add --lora_dim 0 (LoRA on random weights that aren't kept is no use)"
            )
        if self.loop.early_stop > 0 and self.data.valid_data is None:
            raise InputError("--early_stop needs validation records: --valid_data")
        if self.generation.valid_bleu and self.data.valid_data is None:
            raise InputError("--valid_bleu needs validation records: --valid_data")

    def values(self) -> dict[str, Any]:
        """The arguments that say what is trained and how, by flag."""
        groups = (self.data, self.model, self.adapter, self.optimisation, self.loop, self.generation)
        return {name: value for group in groups for name, value in asdict(group).items()}

    def identity(self) -> dict[str, Any]:
        """The arguments that decide the run's numbers."""
        # Snapshots of before there was --valid_examples know nothing of it.
        absent = {name for name in ("valid_examples",) if not self.values()[name]}
        return {name: value for name, value in self.values().items() if name not in NOT_IDENTITY | absent}

    def recipe(self, world_size: int) -> dict[str, Any]:
        """The arguments the paper's table speaks of, for `recipes.recipe_diff`."""
        return {**self.values(), "global_batch": self.data.train_batch_size * self.data.grad_acc * world_size}
