"""(IA)³: keys, values and the MLP's inner activations are scaled by vectors (Liu et al. 2022, arXiv:2205.05638).

What trains is a scale's difference from one, so weight decay draws it towards one and the start is the base itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config
from lora_nlg.gpt2.targets import C_ATTN, LAYERS, QKV
from lora_nlg.lora import AdaptedLinear, linear_layer
from lora_nlg.methods.method import Method, some_of
from lora_nlg.methods.peft import PREFIX, PeftOptions, adapts, check_modules, module_tensors

TARGETS = (*QKV, "ff")
_FF = LAYERS["proj"]


class ScaledOutputs(AdaptedLinear):
    """A linear layer whose output is q, k and v, some of them scaled: by 1 + `ia3_k` and so on, each (width,).

    Args:
        layer: what it replaces.
        parts: which are scaled.
    """

    def __init__(self, layer: nn.Linear, parts: tuple[str, ...]) -> None:
        super().__init__(layer)
        self.parts, self.width = parts, layer.out_features // len(QKV)
        for part in parts:
            self.add_vector(f"ia3_{part}", self.width)

    def change(self) -> Tensor:
        """The scales' difference from one, (out_features,); zero where none is trained."""
        zero = self.weight.new_zeros(self.width, dtype=torch.float32)
        return torch.cat([self.get_parameter(f"ia3_{part}") if part in self.parts else zero for part in QKV])

    def delta_weight(self) -> Tensor:
        """The rows' share of the change, (out_features, in_features)."""
        return self.weight.to(self.update_dtype) * self.change()[:, None]

    def merged_bias(self) -> Tensor | None:
        """The bias, scaled as the rows are."""
        return None if self.bias is None else self.bias.to(self.update_dtype) * (1 + self.change())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        y = self.product(x)
        return y if self.merged else scaled(y, self.change())


class ScaledInputs(AdaptedLinear):
    """A linear layer whose input is scaled by 1 + `ia3_ff`, (in_features,)."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.add_vector("ia3_ff", layer.in_features)

    def delta_weight(self) -> Tensor:
        """The columns' share of the change, (out_features, in_features)."""
        return self.weight.to(self.update_dtype) * self.get_parameter("ia3_ff")

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return self.product(x if self.merged else scaled(x, self.get_parameter("ia3_ff")))


def scaled(x: Tensor, change: Tensor) -> Tensor:
    """x·(1 + change), rounded once: in 16 bits 1 + change itself would lose a small change."""
    return torch.addcmul(x, x, change.to(x.dtype))


@dataclass(frozen=True)
class IA3(Method):
    """(IA)³."""

    name: ClassVar[str] = "ia3"
    title: ClassVar[str] = "(IA)³"
    peft: ClassVar[PeftOptions | None] = PeftOptions(
        "IA3",
        "(IA)³ of attention and MLP",
        read=("target_modules", "exclude_modules", "feedforward_modules"),
        harmless=("fan_in_fan_out", "init_ia3_weights"),
        defaults={"modules_to_save": None},
    )

    ia3_targets: str = "k,v,ff"
    """What to scale, comma-separated: q, k, v, ff (the MLP's inner activations). PEFT's default is q,k,v,ff."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ia3_targets", some_of(self.ia3_targets, TARGETS, "ia3_targets"))

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Replace c_attn and the MLP's second layer, where they are scaled; every scale starts at one."""
        targets = self.ia3_targets.split(",")
        parts = tuple(part for part in QKV if part in targets)
        for block in model.transformer.h:
            if parts:
                block.set_submodule(C_ATTN, ScaledOutputs(linear_layer(block, C_ATTN), parts))
            if "ff" in targets:
                block.set_submodule(_FF, ScaledInputs(linear_layer(block, _FF)))

    def to_peft(self, state: Mapping[str, Tensor], config: GPT2Config) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """PEFT scales c_attn as a whole: what isn't trained of it is scaled by one."""
        targets, tensors = self.ia3_targets.split(","), {}
        layers = [C_ATTN] if targets != ["ff"] else []
        layers += [_FF] if "ff" in targets else []
        for block in range(config.n_layer):
            for layer in layers:
                module = f"transformer.h.{block}.{layer}"
                if layer == _FF:
                    scale = 1 + state[f"{module}.ia3_ff"][None]
                else:
                    zero = torch.zeros(config.n_embd)
                    scale = 1 + torch.cat([state.get(f"{module}.ia3_{part}", zero) for part in QKV])[:, None]
                tensors[f"{PREFIX}{module}.ia3_l"] = scale
        feedforward = [layer for layer in layers if layer == _FF]
        return {"target_modules": layers, "feedforward_modules": feedforward, "fan_in_fan_out": True}, tensors

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
    ) -> tuple[Method, dict[str, Tensor]]:
        """Of c_attn, those parts that are scaled by one in all blocks are left out."""
        assert cls.peft is not None, "declared above"
        reader = cls.peft.reader(config, source)
        reader.stop_at(reader.other_arithmetic())
        targets, excluded = reader.names("target_modules"), reader.names("exclude_modules")
        feedforward = reader.names("feedforward_modules")
        held = module_tensors(tensors, ("ia3_l",), source)
        check_modules(held, lambda module: adapts(module, targets, excluded, (C_ATTN, _FF)), source)
        state: dict[str, Tensor] = {}
        for module, (scale,) in held.items():
            is_input = adapts(module, feedforward, None, (_FF,))
            layer = module.split(".", 3)[-1]
            if (layer, is_input) not in ((C_ATTN, False), (_FF, True)):
                side = "input" if is_input else "output"
                raise InputError(
                    f"{source}: (IA)³ on the {side} of {module} has no counterpart here; {cls.peft.advice}"
                )
            if scale.dim() != 2 or scale.shape[0 if is_input else 1] != 1 or (not is_input and len(scale) % len(QKV)):
                raise InputError(f"{source}: the scale of {module} is {tuple(scale.shape)}")
            parts = {"ff": scale[0]} if is_input else dict(zip(QKV, scale[:, 0].chunk(len(QKV)), strict=True))
            state |= {f"{module}.ia3_{part}": value - 1 for part, value in parts.items()}
        used = {target for target in TARGETS if any(v.any() for k, v in state.items() if k.endswith(f".ia3_{target}"))}
        used = used or {name.rpartition("_")[2] for name in state}  # untrained: all of them
        method = cls(",".join(sorted(used)))
        return method, {name: value for name, value in state.items() if name.rpartition("_")[2] in used}
