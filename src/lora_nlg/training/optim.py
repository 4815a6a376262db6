"""What the optimiser works on, and the optimisers.

All trainable parameters of a group live in one flat buffer, their gradients in another: one all-reduce, one norm
and one optimiser kernel a step, however many layers are adapted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_nlg.errors import InputError

OPTIMIZERS = ("adamw", "adamw_lora")
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What both keep for each parameter, besides the number of steps."""
SUMS = 2
"""Scalars that travel with the gradient: the sum of the losses, and the number of ranks asked to stop."""


class FlatParameters:
    """Trainable parameters moved into one fp32 buffer, with a gradient buffer of the same layout.

    The parameters themselves become views, so the model and its state dict are unchanged. `sums` sits behind the
    gradient in the same allocation: what must be added up over ranks besides the gradient costs no second call.

    Args:
        named: parameter name -> parameter; all fp32 and on one device.

    Attributes:
        value: an `nn.Parameter` of shape (P,) whose `grad` is the flat gradient.
        reduced: gradient and `sums` side by side, shape (P + SUMS,): what one all-reduce adds up.

    Raises:
        InputError: nothing to train, or a parameter that isn't fp32.
    """

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        if not named:
            raise InputError("the model has no trainable parameter")
        if wrong := [name for name, parameter in named.items() if parameter.dtype != torch.float32]:
            raise InputError(f"trainable parameters must be fp32, not so: {', '.join(wrong[:5])}")
        self.named = dict(named)
        device = next(iter(named.values())).device
        total = sum(parameter.numel() for parameter in named.values())
        self.value = nn.Parameter(torch.empty(total, device=device))
        self.reduced = torch.zeros(total + SUMS, device=device)
        self.gradient, self.sums = self.reduced[:total], self.reduced[total:]
        self.value.grad = self.gradient
        with torch.no_grad():
            for (_, parameter), piece, grad in zip(
                named.items(), self.split(self.value.data).values(), self.split(self.gradient).values(), strict=True
            ):
                piece.copy_(parameter)
                parameter.data = piece
                parameter.grad = grad

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a flat tensor in the parameters' shapes, by name."""
        pieces = flat.split([parameter.numel() for parameter in self.named.values()])
        return {
            name: piece.view(parameter.shape)
            for (name, parameter), piece in zip(self.named.items(), pieces, strict=True)
        }

    def clear(self) -> None:
        """Zero the gradient and the sums, in place: autograd adds into the views."""
        self.reduced.zero_()


class AdamWLoRA(torch.optim.Optimizer):
    """AdamW as the predecessor of this project computes it (microsoft/LoRA, examples/NLG).

    It differs from `torch.optim.AdamW` in two places: ε is added to √v before the bias correction, which enters
    through the step size, and the weight decay p −= lr·wd·p comes after the update instead of before it.

    Args:
        params: parameters or groups.
        lr: step size.
        betas: decay of the first and second moments.
        eps: added to √v.
        weight_decay: decoupled decay.
        correct_bias: whether the moments' start at zero is corrected for.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "correct_bias": correct_bias}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state.update({key: torch.zeros_like(parameter) for key in MOMENTS})
                state["step"] += 1
                state["exp_avg"].mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
                state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                step_size = group["lr"]
                if group["correct_bias"]:
                    step = int(state["step"])
                    step_size *= math.sqrt(1 - beta2**step) / (1 - beta1**step)
                denominator = state["exp_avg_sq"].sqrt().add_(group["eps"])
                parameter.addcdiv_(state["exp_avg"], denominator, value=-step_size)
                if group["weight_decay"] > 0:
                    parameter.add_(parameter, alpha=-group["lr"] * group["weight_decay"])
        return loss


def make_optimizer(
    name: str,
    parameters: Iterable[Any],
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    correct_bias: bool = True,
) -> torch.optim.Optimizer:
    """The optimiser a setting names; the learning rate is set at every step.

    Args:
        name: `adamw` (torch's, fused) or `adamw_lora` (the predecessor's).
        parameters: what to optimise.
        betas, eps, weight_decay: as AdamW's.
        correct_bias: False only with `adamw_lora`.

    Raises:
        InputError: an unknown name, a value out of range, or `adamw` without bias correction.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    if not all(0 <= beta < 1 for beta in betas):
        raise InputError(f"`adam_beta1` and `adam_beta2` must be at least 0 and below 1, got {betas}")
    if eps <= 0 or weight_decay < 0:
        raise InputError(f"`adam_epsilon` must be above 0 and `weight_decay` at least 0, got {eps} and {weight_decay}")
    if name == "adamw_lora":
        return AdamWLoRA(parameters, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias)
    if not correct_bias:
        raise InputError("`correct_bias` false needs `optimizer` adamw_lora; torch's AdamW always corrects")
    return torch.optim.AdamW(parameters, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def multiply_rates_(
    optimizer: torch.optim.Optimizer, value: nn.Parameter, pieces: Mapping[str, Tensor], factors: Mapping[str, float]
) -> None:
    """Train some parameters with a multiple of the learning rate.

    torch's AdamW takes a step linear in its rate, so the step of those entries is multiplied after it was taken
    (with `adamw_lora`, whose decay follows the update, that differs by a term in rate²·decay). The optimiser, its state
    and snapshots stay what they are without it.

    Args:
        optimizer: over `value`; hooks are added to it.
        value: the flat parameter.
        pieces: parameter name -> its view of `value`.
        factors: parameter name -> what its rate is multiplied by; names of parameters that don't train are ignored.
    """
    assert all(piece.data_ptr() >= value.data_ptr() for piece in pieces.values()), "pieces must be views of value"
    faster = [(pieces[name], factor) for name, factor in factors.items() if name in pieces]
    before: list[Tensor] = []

    def remember(*_: object) -> None:
        before[:] = [piece.clone() for piece, _ in faster]

    def lengthen(*_: object) -> None:
        with torch.no_grad():
            for (piece, factor), old in zip(faster, before, strict=True):
                torch.lerp(old, piece, factor, out=piece)

    if faster:
        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(lengthen)
