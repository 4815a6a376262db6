"""What a tuning method is: what it puts into a GPT-2, what of it trains, what is kept of it, and how it is described.

A method is a frozen dataclass in a file of its own, named as `--method` names it. Its fields are its flags, its
description in adapter files and its identity in snapshots, so there is one spelling of each. The trainer, the decoder,
adapter files and commands work through this contract and know no method by name.

Where a method acts, a GPT-2 has a place for it:

- a layer's weight is used with an update: an `AdaptedLayer` in place of the layer (LoRA, VeRA, IA³), which folds into
  a plain one;
- something stands behind a sub-layer or a block: `Block.after_attn`, `after_mlp`, `after_block` (adapters); it stays;
- keys and values stand before every sequence's own: `GPT2.prefix` (prefix and prompt tuning), computed once and kept in
  the decoder's cache once for all contexts;
- or the base's own parameters train (full, Top-k, BitFit).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2, GPT2Config, base_modules, base_names
from lora_nlg.lora import copy_state_, strip
from lora_nlg.methods.peft import PeftOptions


@dataclass(frozen=True)
class Method:
    """A way to tune a GPT-2; see the module.

    A subclass says what it puts in (`put_into`), or which of the base's parameters it trains (`base_trained`); the rest
    follows. Instances check their fields when they are made and raise `InputError`.

    Attributes:
        name: as `--method` and adapter files have it; the name of the file it is defined in.
        title: as people call it, with its authors.
        is_whole: a run leaves a whole model rather than an adapter.
        peft: its counterpart in PEFT, if `to_peft` and `from_peft` speak of one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    is_whole: ClassVar[bool] = False
    peft: ClassVar[PeftOptions | None] = None

    @classmethod
    def settings(cls) -> type:
        """The dataclass of its flags, whose `method()` gives an instance: the method itself, for most."""
        return cls

    def method(self) -> Method:
        """What the flags describe; see `settings`."""
        return self

    def put_into(self, model: GPT2, initialise: bool = True) -> None:
        """Put modules with new parameters into a base, in place, by torch's random numbers; nothing by default.

        Args:
            model: the base.
            initialise: False leaves values that will be loaded over. Default: True.
        """

    def base_trained(self, model: GPT2) -> Collection[str]:
        """Names of the base's own parameters that train: none by default."""
        return ()

    def trained(self, model: GPT2) -> Collection[str]:
        """Names of all parameters that train: what was put in, and `base_trained`."""
        put_in = own_state(model)
        return {name for name, _ in model.named_parameters() if name in put_in} | set(self.base_trained(model))

    def rates(self, model: GPT2) -> Mapping[str, float]:
        """Parameter name → what its learning rate is multiplied by, where that isn't 1."""
        return {}

    def stored(self, model: GPT2) -> tuple[Method, dict[str, Tensor]]:
        """What an adapter file holds: a method that decodes as this one, and its tensors.

        The tensors are what was put in, frozen ones included, and the base's parameters that were trained. A method
        that is simpler once trained (a prefix without the network that made it) gives the simpler one.
        """
        state = own_state(model)
        return self, state | {name: model.get_parameter(name) for name in self.base_trained(model)}

    @torch.no_grad()
    def load(self, model: GPT2, state: Mapping[str, Tensor]) -> None:
        """Copy what `stored` gave into a model that has the method, strictly.

        Raises:
            InputError: keys are missing or unexpected, or shapes differ; all of them are named.
        """
        own = {**own_state(model), **{name: model.get_parameter(name) for name in self.base_trained(model)}}
        copy_state_(own, state)

    def difference(self, model: GPT2) -> str:
        """How what a model has in it differs from what this method puts there; empty where it doesn't."""
        put_in = {name: tuple(value.shape) for name, value in own_state(model).items()}
        return differences(self._shapes(model.config), put_in)

    def _shapes(self, config: GPT2Config) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in own_state(self._sketch(config)).items()}

    def _sketch(self, config: GPT2Config) -> GPT2:
        """A model with the method in it and no values."""
        with torch.device("meta"):
            model = GPT2(config)
            self.put_into(model, initialise=False)
        return model

    def window(self, config: GPT2Config) -> int:
        """Longest sequence on a base of this shape, in tokens: what it puts before the text takes positions from it."""
        return self._sketch(config).window

    def count(self, config: GPT2Config) -> int:
        """Parameters that train, on a base of this shape; nothing of its size is made."""
        model = self._sketch(config)
        trained = self.trained(model)  # of a variant, buffers too
        return sum(parameter.numel() for name, parameter in model.named_parameters() if name in trained)

    @property
    def keeps_base(self) -> bool:
        """Whether the base's own parameters stay as they are, so that several adapters can share it."""
        return True

    @property
    def scaling(self) -> float | None:
        """What the update is multiplied by, where there is one such number."""
        return None

    def rescaled(self, factor: float) -> Method:
        """The method with its whole update multiplied by a factor, above 0.

        Raises:
            InputError: the update is not of a kind that has a scale.
        """
        raise InputError(f"this run can't be scaled, since {self.title} has no scaling; leave `scale_factor` at 1")

    def to_json(self) -> dict[str, Any]:
        """The fields of an adapter's description that are the method's."""
        return {"settings": asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Method:
        """The inverse of `to_json`.

        Raises:
            InputError, KeyError, TypeError, ValueError: a field is missing, unknown or makes no sense.
        """
        given = value["settings"]
        if unknown := sorted(set(given) - {field.name for field in fields(cls)}):
            raise InputError(f"{cls.name} has no setting {unknown[0]!r}")
        return cls(**given)

    def to_peft(self, state: Mapping[str, Tensor], config: GPT2Config) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What PEFT runs as this method.

        Args:
            state: the method's tensors, as `stored` gives them with it.
            config: the base's shape.

        Returns:
            The options of `adapter_config.json` that are the kind's own; the tensors of `adapter_model.safetensors`.

        Raises:
            InputError: PEFT has nothing that computes the same.
        """
        raise InputError(
            f"PEFT has no counterpart of {self.title}; keep it as it is, or convert it to a whole model (`to` merged)"
        )

    @classmethod
    def from_peft(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
    ) -> tuple[Method, dict[str, Tensor]]:
        """The inverse of `to_peft`, for adapters of the kind `peft`.

        Args:
            config: the value of `adapter_config.json`.
            tensors: those of `adapter_model.safetensors`, fp32.
            source: where both are from, for messages.

        Returns:
            The method, and its tensors for `load`.

        Raises:
            InputError: an option or a tensor with which something else is computed.
        """
        raise InputError(f"{source}: {cls.title} has no counterpart in PEFT")

    def facts(self) -> dict[str, str]:
        """What there is to say of it, by name, in reading order."""
        return {"method": str(self)}

    def __str__(self) -> str:
        """In words, for people."""
        said = ", ".join(f"{name} {value}" for name, value in asdict(self).items())
        return f"{self.title} ({said})" if said else self.title


def some_of(text: str, allowed: Sequence[str], field: str) -> str:
    """The value of a field that lists some of a few names with commas, in the order of those allowed.

    Raises:
        InputError: another name, or one given twice.
    """
    names = text.replace(" ", "").split(",")
    if wrong := [name for name in names if name not in allowed or names.count(name) > 1]:
        raise InputError(f"`{field}` must be some of {', '.join(allowed)}, each once; got {wrong[0]!r}")
    return ",".join(name for name in allowed if name in names)


def own_state(model: GPT2) -> dict[str, Tensor]:
    """The tensors a method has put into a model, frozen ones included: all that aren't the base's, by name."""
    base = base_names(model.config)
    return {name: value for name, value in model.state_dict(keep_vars=True).items() if name not in base}


def is_plain(model: GPT2) -> bool:
    """Whether nothing was put into a model."""
    return not own_state(model)


def without_method(model: GPT2) -> GPT2:
    """A copy of a model with nothing put in, sharing every parameter of the base with the original.

    Raises:
        InputError: a layer is merged, so that its base weight is hidden.
    """
    copy = strip(model)
    base = base_modules(copy.config)
    for name, _ in list(copy.named_modules()):
        owner, _, leaf = name.rpartition(".")
        if name and name not in base and owner in base:
            setattr(copy.get_submodule(owner), leaf, None)
    return copy


def prepare(model: GPT2, method: Method, seed: int) -> None:
    """Put a method into a base and set `requires_grad` on what trains, in place.

    Args:
        model: the base.
        method: what to train.
        seed: of the method's random start.
    """
    torch.manual_seed(seed)
    method.put_into(model)
    trained = method.trained(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Where two descriptions differ, in words: `q is r=4 there, absent here`."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return "; ".join(f"{name} is {ours.get(name, 'absent')} there, {theirs.get(name, 'absent')} here" for name in names)
