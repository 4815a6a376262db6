"""What decoding is told about the run and the texts, and the decoder made of it."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, replace

import torch

from lora_nlg.api.wrong_weights import explained
from lora_nlg.corpora.e2e import linearise_mr
from lora_nlg.decoding import BeamSettings, Decoder, SamplingSettings, fold_for_decoding
from lora_nlg.decoding.decoder import SEQ_LEN
from lora_nlg.distributed import World
from lora_nlg.dtypes import DtypeName, named_dtype
from lora_nlg.errors import InputError
from lora_nlg.lora import adapted_layers
from lora_nlg.weights.run import Run, load_run, rescaled

log = logging.getLogger(__name__)
_BRACKETS = re.compile(r"\s*\w[\w ]*\[[^\[\]]*\]")
"""How E2E's CSV begins a meaning representation: `name[Blue Spice]`."""


@dataclass(frozen=True)
class CheckpointSettings:
    """The model."""

    checkpoint: str
    """Run directory that `lora-nlg train` wrote, or any folder or adapter file it saved. Several, separated by
    commas, are decoded in turn."""
    init_checkpoint: str | None = None
    """Where the base is. Default: where the run says it was."""
    tokenizer: str | None = None
    """Where the vocabulary is. Default: in the run, or beside the base."""
    scale_factor: float = 1.0
    """Multiplies the run's alpha/r: 0 is its base, 1 as trained, 2 twice the update."""
    allow_other_base: bool = False
    """Accept a base of equal shape with other values than the adapter was trained on."""
    allow_other_tokenizer: bool = False
    """Accept another vocabulary than the run was trained with."""
    dtype: DtypeName = "fp32"
    """What the model's body computes in; the output head stays fp32."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads. Default: torch's."""

    def __post_init__(self) -> None:
        most = max(64, 4 * (os.cpu_count() or 1))
        if self.threads is not None and not 1 <= self.threads <= most:
            raise InputError(f"`threads` must lie in 1 … {most} on this machine, got {self.threads}")


@dataclass(frozen=True)
class TextSettings:
    """The texts."""

    eos_token_id: str | None = None
    """End tokens besides <|endoftext|>, separated by commas. Default: the vocabulary's blank line or newline (628
    for GPT-2)."""
    seq_len: int = SEQ_LEN
    """Tokens of context and answer together; longer contexts keep their last tokens."""
    sample: bool = False
    """True draws n_best samples for each context instead of searching."""

    def __post_init__(self) -> None:
        self.end_ids(eos_id=0)

    def end_ids(self, eos_id: int) -> tuple[int, ...] | None:
        """The end tokens given and `<|endoftext|>`, whose id is given; None where they are the tokenizer's.

        Raises:
            InputError: it holds something else than ids.
        """
        if self.eos_token_id is None:
            return None
        try:
            given = [int(part) for part in str(self.eos_token_id).split(",")]
        except ValueError:
            raise InputError(f"`eos_token_id` must be ids like 628 or 628,198, got {self.eos_token_id!r}") from None
        return tuple(dict.fromkeys([eos_id, *given]))


def open_run(settings: CheckpointSettings, checkpoint: str, before: Run | None = None) -> Run:
    """The trained run that settings name; sets the number of threads on the way.

    Args:
        settings: where things are.
        checkpoint: the run.
        before: as for `load_run`.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with explained(checkpoint, "checkpoint"):
        run = load_run(
            checkpoint,
            settings.init_checkpoint,
            settings.tokenizer,
            allow_other_base=settings.allow_other_base,
            allow_other_tokenizer=settings.allow_other_tokenizer,
            before=before,
        )
    return rescaled(run, settings.scale_factor)


def make_decoder(
    run: Run,
    settings: CheckpointSettings,
    search: BeamSettings,
    text: TextSettings,
    sampling: SamplingSettings,
    *,
    world: World,
    batch_size: int | None = 1,
    share: Decoder | None = None,
    cuda_graph: bool = True,
) -> Decoder:
    """A decoder for a run as it is asked for, its update merged into a copy where the type allows.

    The main rank logs how many were merged and how many stay apart.
    """
    dtype = named_dtype(settings.dtype)
    model = fold_for_decoding(run.model, dtype)
    adapted, apart = len(adapted_layers(run.model)), len(adapted_layers(model))
    if adapted and world.is_main:
        if apart < adapted:
            log.info("the update is merged into a copy of %d layers for decoding", adapted - apart)
        if apart:
            log.info("the update is kept apart in %d layers, since %s would round it away", apart, settings.dtype)
    return Decoder(
        model.to(world.device),
        run.tokenizer,
        replace(search, end_ids=text.end_ids(run.tokenizer.eos_id)),
        batch_size=batch_size,
        seq_len=text.seq_len,
        dtype=dtype,
        sampling=sampling if text.sample else None,
        share=share,
        cuda_graph=cuda_graph,
    )


def as_trained(context: str) -> str:
    """E2E's bracket form as prepared data writes it, which is said; anything else as it stands."""
    if not _BRACKETS.match(context):
        return context
    try:
        written = linearise_mr(context)
    except InputError as error:
        log.info("note: taken as it stands, since it is not E2E's bracket form: %s", error)
        return context
    log.info("note: read as: %s", written)
    return written
