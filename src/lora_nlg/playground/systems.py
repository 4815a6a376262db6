"""Runs that can be asked at any scale of their update. The base of several runs is in memory once."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lora_nlg.decoding import BeamSettings, Decoder, SamplingSettings, fold_for_decoding
from lora_nlg.errors import InputError
from lora_nlg.weights.run import Run, rescaled


class System:
    """A run, and what is laid out of it for inference: its base, and the fold asked for last.

    Args:
        name: what it is called.
        run: as loaded, on its device.
        dtype: of the model's body.
        share: a system of the same base. Default: None.

    Attributes:
        scaling: alpha/r as trained; None where targets differ in it, or where the update can't be scaled.
        fixed: why the update can't be scaled; empty where it can.
    """

    def __init__(self, name: str, run: Run, dtype: torch.dtype = torch.float32, share: System | None = None) -> None:
        self.name, self.run, self.dtype = name, run, dtype
        self.fixed = _why_fixed(run)
        self.scaling = None if self.fixed else run.info.method.scaling
        self._at: tuple[float, Decoder] | None = None
        self._base: Decoder | None = None if share is None else share._base
        if self._base is None and not self.fixed:
            self._base = self._laid_out(0.0)

    def decoder(self, factor: float, settings: BeamSettings, sampling: SamplingSettings | None = None) -> Decoder:
        """A decoder for the run with alpha multiplied by the factor; the last one's weights are kept.

        Raises:
            InputError: a factor that can't be, a diverged fold, or settings that leave no room for a context.
        """
        if factor == 0 and self._base is not None:
            laid_out = self._base
        else:
            if self._at is None or self._at[0] != factor:
                self._at = None  # so that two folds are never in memory
                self._at = (factor, self._laid_out(factor))
            laid_out = self._at[1]
        return Decoder(
            laid_out.source,
            self.run.tokenizer,
            settings,
            batch_size=1,
            dtype=self.dtype,
            sampling=sampling,
            share=laid_out,
            cuda_graph=False,  # recording one takes longer than the one search it would serve
        )

    def _laid_out(self, factor: float) -> Decoder:
        model = fold_for_decoding(rescaled(self.run, factor).model, self.dtype)
        return Decoder(model, self.run.tokenizer, BeamSettings(eval_len=1), dtype=self.dtype, share=self._base)


def load_systems(
    runs: Mapping[str, Run], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> list[System]:
    """Systems of runs that were loaded one `before` the next; those of one base share it.

    Args:
        runs: name → run.
        device: where to.
        dtype: of the models' bodies.
    """
    systems: list[System] = []
    for name, run in runs.items():
        run.model.to(device)
        embedding = run.model.transformer.wte.weight
        akin = (own for own in systems if not own.fixed and own.run.model.transformer.wte.weight is embedding)
        systems.append(System(name, run, dtype, None if _why_fixed(run) else next(akin, None)))
    return systems


def _why_fixed(run: Run) -> str:
    try:
        run.info.method.rescaled(1.0)
    except InputError as error:
        return str(error).partition(";")[0]
    return ""
