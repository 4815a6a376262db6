"""LoRA (Hu et al. 2021) and its relatives: a low-rank update beside each adapted weight. The layers are in `lora/`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, lora_targets, parse_targets, targets_of
from lora_nlg.lora import (
    LoRASpec,
    frozen_projections,
    inject,
    load_lora_state_dict,
    lora_plus_rates,
    lora_state_dict,
    variant_of,
)
from lora_nlg.methods.full import Full
from lora_nlg.methods.method import Method, differences


@dataclass(frozen=True)
class LoRASettings:
    """LoRA."""

    lora_dim: int = 4
    """Rank r; 0 trains the whole model."""
    lora_alpha: float = 128.0
    """Numerator of the scaling alpha/r (the paper's E2E recipe: 32)."""
    lora_dropout: float = 0.0
    """Dropout on the input of the low-rank branch."""
    lora_targets: str = "q,v"
    """What to adapt, comma-separated: q, k, v, o, fc, proj, wte; `q:r=8:alpha=16,v` sets one apart."""
    lora_scaling: Literal["alpha/r", "rslora", "none"] = "alpha/r"
    """alpha/r, rslora (alpha/sqrt r) or none."""
    lora_bias: Literal["none", "all", "lora_only"] = "none"
    """Biases trained with the adapter: none, all or lora_only."""
    lora_variant: Literal["lora", "dora", "pissa"] = "lora"
    """lora, dora (trained magnitudes) or pissa (starts from the weight's principal part)."""
    lora_plus_ratio: float = 1.0
    """LoRA+: times the learning rate of the matrix that starts at zero; its authors advise 16."""
    lora_freeze_a: bool = False
    """LoRA-FA: keep the random A as drawn and train B alone."""

    def __post_init__(self) -> None:
        if self.lora_dim < 0:
            raise InputError(f"`lora_dim` must be at least 0, got {self.lora_dim}")
        if not self.lora_plus_ratio > 0:
            raise InputError(f"`lora_plus_ratio` must be above 0, got {self.lora_plus_ratio}")

    def specs(self) -> dict[str, LoRASpec]:
        """Target name -> how it is adapted; empty for rank 0."""
        if self.lora_dim == 0:
            return {}
        spec = LoRASpec(self.lora_dim, self.lora_alpha, self.lora_dropout, self.lora_scaling)
        return parse_targets(self.lora_targets, spec)

    def method(self) -> Method:
        """LoRA; of rank 0, full fine-tuning, as the predecessor has it."""
        if not (specs := self.specs()):
            return Full()
        return LoRA(specs, self.lora_variant, self.lora_bias, self.lora_plus_ratio, self.lora_freeze_a)


@dataclass(frozen=True)
class LoRA(Method):
    """LoRA.

    Attributes:
        targets: target name -> rank, alpha, dropout and scaling rule.
        variant: how the update is formed: `lora`, `dora` or `pissa`.
        bias: which biases train with it and are kept: `none`, `all` or `lora_only`.
        plus_ratio, freeze_a: LoRA+ and LoRA-FA, two ways to train it; not kept, since they leave nothing to load.
    """

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    targets: Mapping[str, LoRASpec] = field(default_factory=dict)
    variant: str = "lora"
    bias: str = "none"
    plus_ratio: float = 1.0
    freeze_a: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError("LoRA adapts nothing without targets")

    @classmethod
    def settings(cls) -> type:
        """One rank and alpha for all targets, as people type them."""
        return LoRASettings

    @classmethod
    def of(cls, model: GPT2, bias: str = "none") -> LoRA:
        """The LoRA that a model has in it.

        Raises:
            InputError: it has none, or not the same in every block.
        """
        return cls(targets_of(model, model.config), variant_of(model), bias)

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Replace the adapted layers; see `lora.inject`."""
        inject(model, lora_targets(model.config, self.targets), self.variant, initialise)

    def base_trained(self, model: GPT2) -> Collection[str]:
        """The biases that train with it."""
        return [name for name in lora_state_dict(model, self.bias) if name.endswith(".bias")]

    def trained(self, model: GPT2) -> Collection[str]:
        """A and B, or B alone (LoRA-FA); what else the variant trains; biases if asked for."""
        frozen = frozen_projections(model) if self.freeze_a else set()
        parameters = {name for name, _ in model.named_parameters()}  # and no buffers: PiSSA keeps its start in some
        return (set(lora_state_dict(model, self.bias)) & parameters) - frozen

    def rates(self, model: GPT2) -> Mapping[str, float]:
        """LoRA+'s, if asked for."""
        return lora_plus_rates(model, self.plus_ratio)

    def stored(self, model: GPT2) -> tuple[Method, dict[str, Tensor]]:
        """Exactly the entries with `lora_`, and the biases trained with it."""
        return self, lora_state_dict(model, self.bias)

    def load(self, model: GPT2, state: Mapping[str, Tensor]) -> None:
        """See `lora.load_lora_state_dict`."""
        load_lora_state_dict(model, state, self.bias)

    def difference(self, model: GPT2) -> str:
        """In variant, rank, alpha, rule or place. Dropout acts in training alone: a run may continue with another."""
        if (variant := variant_of(model)) != self.variant:
            return f"variant is {self.variant} there, {variant} here"
        shown = [
            {name: f"r={spec.r} alpha={spec.alpha:g} ({spec.rule})" for name, spec in specs.items()}
            for specs in (self.targets, targets_of(model, model.config))
        ]
        return differences(*shown)

    @property
    def keeps_base(self) -> bool:
        """Unless biases train with it."""
        return self.bias == "none"

    @property
    def scaling(self) -> float | None:
        """alpha/r, where all targets agree in it."""
        scalings = {spec.scaling for spec in self.targets.values()}
        return scalings.pop() if len(scalings) == 1 else None

    def rescaled(self, factor: float) -> LoRA:
        """With every alpha multiplied."""
        if self.bias != "none":
            raise InputError("this run can't be scaled, since biases were trained with it; leave `scale_factor` at 1")
        # A rule that ignores alpha is written as alpha/r, which gives any scaling.
        targets = {
            name: replace(spec, alpha=spec.scaling * spec.r * factor, rule="alpha/r")
            if spec.rule == "none"
            else replace(spec, alpha=spec.alpha * factor)
            for name, spec in self.targets.items()
        }
        return replace(self, targets=targets)

    def to_json(self) -> dict[str, Any]:
        """With the resulting scaling of every target."""
        targets = {name: {**asdict(spec), "scaling": spec.scaling} for name, spec in self.targets.items()}
        return {"targets": targets, "variant": self.variant, "bias": self.bias}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoRA:
        """The inverse of `to_json`; the scaling that is stated must be the one that follows."""
        targets = {}
        for name, entry in value["targets"].items():
            targets[name] = LoRASpec(**{key: entry[key] for key in ("r", "alpha", "dropout", "rule")})
            if targets[name].scaling != entry["scaling"]:
                raise InputError(
                    f"{name}: scaling {entry['scaling']} is not {targets[name].scaling}, as r and alpha say"
                )
        return cls(targets, value["variant"], value["bias"])

    def facts(self) -> dict[str, str]:
        """Every target's; the variant, unless it is plain LoRA."""
        variant = {"variant": self.variant} if self.variant != "lora" else {}
        targets = {
            f"target {name}": f"r={spec.r} alpha={spec.alpha:g} ({spec.rule}), scaling {spec.scaling:g}, "
            f"dropout {spec.dropout:g}"
            for name, spec in self.targets.items()
        }
        return {"method": self.title, **variant, **targets, "bias": self.bias}

    def __str__(self) -> str:
        """With rank and scaling of every target."""
        variant = {"lora": "LoRA", "dora": "DoRA", "pissa": "PiSSA"}[self.variant]
        return f"{variant} on " + ", ".join(
            f"{name} (r={spec.r}, alpha={spec.alpha:g}, scaling {spec.scaling:g})"
            for name, spec in self.targets.items()
        )
