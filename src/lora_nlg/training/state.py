"""What a step changes: the trainable parameters, the optimiser's moments and fp16's loss scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_nlg.distributed import World
from lora_nlg.training.optim import MOMENTS, FlatParameters, make_optimizer, multiply_rates_
from lora_nlg.training.settings import OptimisationSettings


class TrainingState:
    """The numbers of a run that change from step to step.

    Args:
        model: on its device, with `requires_grad` set on what trains.
        settings: the optimiser's, and the number type.
        rates: parameter name -> what its learning rate is multiplied by. Default: none.

    Attributes:
        flat: the trainable parameters.
        optimizer: over `flat.value`.
        scaler: scales the loss in fp16; idle in other types.
    """

    def __init__(
        self, model: nn.Module, settings: OptimisationSettings, rates: Mapping[str, float] | None = None
    ) -> None:
        self.flat = FlatParameters({name: value for name, value in model.named_parameters() if value.requires_grad})
        self.optimizer = make_optimizer(
            settings.optimizer,
            [self.flat.value],
            (settings.adam_beta1, settings.adam_beta2),
            settings.adam_epsilon,
            settings.weight_decay,
            settings.correct_bias,
        )
        multiply_rates_(self.optimizer, self.flat.value, self.flat.split(self.flat.value.data), rates or {})
        device = self.flat.value.device
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.dtype == "fp16")
        self.scaler.scale(torch.zeros((), device=device))  # a rank's first step may hold no batch to scale

    def capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, on the CPU, and JSON values: what `restore` takes."""
        # Empty where fp16 has overflowed at every step so far.
        moments = self.optimizer.state[self.flat.value] or {
            "step": 0, **{key: torch.zeros_like(self.flat.value) for key in MOMENTS}
        }  # fmt: skip
        flats = {"parameter": self.flat.value.detach(), **{key: moments[key] for key in MOMENTS}}
        tensors = {
            f"{prefix}/{name}": piece.cpu()
            for prefix, flat in flats.items()
            for name, piece in self.flat.split(flat).items()
        }
        # Updates are fewer than steps where fp16 overflowed.
        return tensors, {"updates": int(moments["step"]), "scaler": self.scaler.state_dict()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor] | None, values: Mapping[str, Any], world: World) -> None:
        """Put back what `capture` gave.

        Args:
            tensors: its tensors on rank 0, from which the others receive them; None on the others.
            values: its JSON values, on every rank.
            world: the ranks.
        """
        value = self.flat.value
        moments = {key: torch.zeros_like(value) for key in MOMENTS}
        for prefix, flat in {"parameter": value.data, **moments}.items():
            for name, piece in self.flat.split(flat).items():
                if tensors is not None:
                    piece.copy_(tensors[f"{prefix}/{name}"])
            world.broadcast_(flat)
        on_device = bool(self.optimizer.defaults.get("fused")) and value.is_cuda
        updates = torch.tensor(float(values["updates"]), device=value.device if on_device else "cpu")
        self.optimizer.state[value] = {"step": updates, **moments}
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(values["scaler"])
