"""The flags of `lora-nlg train`, in groups; what of them a snapshot may differ in; their checks.

Names are the predecessor's (microsoft/LoRA, examples/NLG) where it had them. Defaults are those of its published E2E
command, save for alpha (its parser's), dropout and label smoothing (none), the optimiser and the validation batch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lora_nlg.batching import OBJECTIVES
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import parse_targets
from lora_nlg.lora import LoRASpec
from lora_nlg.lora.variants import check_variant

RESUME = ("auto", "restart")


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
    """Longest input in tokens; longer examples lose their end."""
    obj: str = "clm"
    """Loss on the completion (clm) or on every token (jlm)."""
    train_batch_size: int = 8
    """Examples in one micro-batch of one rank."""
    grad_acc: int = 1
    """Micro-batches accumulated in one optimiser step. The global batch is train_batch_size x grad_acc x ranks."""
    valid_batch_size: int = 16
    """Examples in one validation batch of one rank."""
    shuffle: bool = True
    """False keeps the data's own order in every epoch."""
    bucket: int = 0
    """Batches to sort by length together, so that similar lengths share a batch; 0 mixes freely."""

    def __post_init__(self) -> None:
        for name in ("seq_len", "train_batch_size", "grad_acc", "valid_batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.obj not in OBJECTIVES:
            raise InputError(f"--obj must be one of {', '.join(OBJECTIVES)}, got {self.obj!r}")


@dataclass(frozen=True)
class ModelArguments:
    """The base."""

    init_checkpoint: str | None = None
    """GPT-2 weights in Hugging Face form: a folder or file."""
    init: str = "checkpoint"
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
        if self.init not in ("checkpoint", "random"):
            raise InputError(f"--init must be checkpoint or random, got {self.init!r}")
        if (self.init == "random") == bool(self.init_checkpoint):
            raise InputError("give the base with --init_checkpoint, or start from nothing with --init random")
        if self.init == "random" and self.model_card is None:
            raise InputError("--init random needs the size of the model: --model_card")

    def sizes(self) -> dict[str, int]:
        """The sizes given by flag."""
        names = ("n_layer", "n_embd", "n_head", "n_positions")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class LoRAArguments:
    """The adapter."""

    lora_dim: int = 4
    """Rank r; 0 trains the whole model."""
    lora_alpha: float = 128.0
    """Numerator of the scaling alpha/r (the paper's E2E recipe: 32)."""
    lora_dropout: float = 0.0
    """Dropout on the input of the low-rank branch."""
    lora_targets: str = "q,v"
    """What to adapt, comma-separated: q, k, v, o, fc, proj, wte; `q:r=8:alpha=16,v` sets one apart."""
    lora_scaling: str = "alpha/r"
    """alpha/r, rslora (alpha/sqrt r) or none."""
    lora_bias: str = "none"
    """Biases trained with the adapter: none, all or lora_only."""
    lora_variant: str = "lora"
    """lora, dora (trained magnitudes) or pissa (starts from the weight's principal part)."""
    lora_plus_ratio: float = 1.0
    """LoRA+: times the learning rate of the matrix that starts at zero; its authors advise 16."""
    lora_freeze_a: bool = False
    """LoRA-FA: keep the random A as drawn and train B alone."""

    def __post_init__(self) -> None:
        if self.lora_dim < 0:
            raise InputError(f"--lora_dim must be at least 0, got {self.lora_dim}")
        check_variant(self.lora_variant)
        if not self.lora_plus_ratio > 0:
            raise InputError(f"--lora_plus_ratio must be above 0, got {self.lora_plus_ratio}")

    def specs(self) -> dict[str, LoRASpec]:
        """Target name -> how it is adapted; empty for --lora_dim 0."""
        if self.lora_dim == 0:
            return {}
        spec = LoRASpec(self.lora_dim, self.lora_alpha, self.lora_dropout, self.lora_scaling)
        return parse_targets(self.lora_targets, spec)


@dataclass(frozen=True)
class OptimisationArguments:
    """How to train."""

    optimizer: str = "adamw"
    """adamw (torch's) or adamw_lora (the predecessor's arithmetic, to reproduce its curves)."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    adam_beta1: float = 0.9
    """Decay of the first moment."""
    adam_beta2: float = 0.999
    """Decay of the second moment."""
    adam_epsilon: float = 1e-6
    """Added to the root of the second moment."""
    correct_bias: bool = True
    """Whether the moments' start at zero is corrected for; false needs adamw_lora."""
    scheduler: str = "linear"
    """linear, cosine, constant, inv_sqrt or cycle; one step per optimiser step."""
    warmup_step: int = 500
    """Optimiser steps of linear warm-up."""
    i_steps: str = ""
    """Steps of the points of --scheduler cycle, comma-separated."""
    i_lrs: str = ""
    """Rates of the points of --scheduler cycle, comma-separated."""
    max_epoch: int = 5
    """Epochs to train, unless --max_step or the points of --scheduler cycle say where to end."""
    max_step: int | None = None
    """Optimiser steps to train."""
    label_smooth: float = 0.0
    """Label smoothing of the training loss."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it."""
    early_stop: int = 0
    """Validations without improvement after which to stop; 0 never does."""
    random_seed: int = 110
    """Decides initialisation, order and dropout."""
    dtype: str = "fp32"
    """fp32, bf16 or fp16: what is computed in, and how frozen weights are held; what trains stays fp32."""

    def __post_init__(self) -> None:
        if self.max_step is not None and self.max_step < 1:
            raise InputError(f"--max_step must be at least 1, got {self.max_step}")


@dataclass(frozen=True)
class RunArguments:
    """Where to and how often."""

    work_dir: str
    """The run directory."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    log_interval: int = 100
    """Optimiser steps between flushes of the log."""
    eval_interval: int = 2000
    """Optimiser steps between validations; the last step always validates."""
    save_interval: int = 1000
    """Optimiser steps between snapshots; the last step always saves."""
    keep_last: int = 2
    """Snapshots to keep."""
    resume: str = "auto"
    """auto continues from the newest sound snapshot in the run directory; restart begins again."""
    tensorboard: bool = True
    """Write TensorBoard events to tb/ in the run directory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    pack_weights: bool = True
    """On the CPU, keep two more copies of the frozen weights, laid out for speed."""
    compile: bool = False
    """Run the model through torch.compile."""
    deterministic: bool = False
    """On CUDA, take the kernels that give the same bits every time, where torch has them."""
    print_recipe_diff: str | None = None
    """e2e, webnlg or dart: only print how this run differs from the paper's row for that corpus."""

    def __post_init__(self) -> None:
        if self.resume not in RESUME:
            raise InputError(f"--resume must be one of {', '.join(RESUME)}, got {self.resume!r}")


@dataclass(frozen=True)
class GenerationArguments:
    """Validation by generation."""

    valid_bleu: bool = False
    """Decode the validation contexts with beam search and score BLEU (the E2E scorer's), every epoch."""
    generate_interval: int = 0
    """Optimiser steps between validations by generation; 0 means every epoch."""
    valid_beam: int = 4
    """Beam size of validation by generation."""
    valid_eval_len: int = 64
    """Most tokens generated in validation."""
    valid_contexts: int = 0
    """Decode only the first so many distinct contexts; 0 takes all."""
    best_by: str = "loss"
    """loss or bleu: which validation decides what best/ holds and when --early_stop stops."""


NOT_IDENTITY = {
    "train_data", "valid_data", "tokenizer", "init_checkpoint",  # their content counts, not their path
    "train_batch_size", "grad_acc",  # their product with the ranks counts
    "valid_batch_size", "max_epoch", "max_step",  # the resolved number of steps counts
}  # fmt: skip
"""Arguments that may differ between a snapshot and the run that continues it, beside those of RunArguments other than
eval_interval."""


@dataclass(frozen=True)
class Arguments:
    """All groups together."""

    data: DataArguments
    model: ModelArguments
    lora: LoRAArguments
    optimisation: OptimisationArguments
    run: RunArguments
    generation: GenerationArguments = GenerationArguments()

    def __post_init__(self) -> None:
        if self.model.init == "random" and self.lora.lora_dim > 0:
            raise InputError(
                "--init random trains a new base: add --lora_dim 0 (LoRA on random weights that aren't kept is no use)"
            )
        if self.optimisation.early_stop > 0 and self.data.valid_data is None:
            raise InputError("--early_stop needs validation records: --valid_data")

    def identity(self) -> dict[str, Any]:
        """The arguments that decide the run's numbers."""
        values = {**asdict(self.data), **asdict(self.model), **asdict(self.lora), **asdict(self.optimisation)}
        values |= asdict(self.generation)
        values["eval_interval"] = self.run.eval_interval
        return {name: value for name, value in values.items() if name not in NOT_IDENTITY}

    def recipe(self, world_size: int) -> dict[str, Any]:
        """The arguments the paper's table speaks of, for `recipes.recipe_diff`."""
        values = {**asdict(self.data), **asdict(self.lora), **asdict(self.optimisation)}
        values |= asdict(self.generation)
        return {**values, "global_batch": self.data.train_batch_size * self.data.grad_acc * world_size}
