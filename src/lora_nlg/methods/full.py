"""Full fine-tuning: every parameter trains, the token embedding and the head tied to it as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods.method import Method


@dataclass(frozen=True)
class Full(Method):
    """Full fine-tuning."""

    name: ClassVar[str] = "full"
    title: ClassVar[str] = "full fine-tuning"
    is_whole: ClassVar[bool] = True

    def base_trained(self, model: GPT2) -> Collection[str]:
        """All of them; the tied head is the embedding."""
        return [name for name, _ in model.named_parameters()]

    @property
    def keeps_base(self) -> bool:
        """No: nothing of it is left."""
        return False

    def rescaled(self, factor: float) -> Method:
        """See `Method.rescaled`."""
        raise InputError("this run can't be scaled, since the whole model was trained; leave `scale_factor` at 1")

    def __str__(self) -> str:
        return "the whole model"
