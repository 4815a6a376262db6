"""Put LoRA into any torch model, say what may train, and take the adapter's state out and in.

Knows nothing of GPT-2: targets are module names. The base's parameters keep their names and their storage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from lora_nlg.errors import InputError
from lora_nlg.lora.adapted import AdaptedLayer
from lora_nlg.lora.conv import adapted_convolution, plain_convolution
from lora_nlg.lora.layers import Embedding, LoRALayer
from lora_nlg.lora.spec import LoRASpec
from lora_nlg.lora.variants import VARIANTS, check_variant

M = TypeVar("M", bound=nn.Module)
Target = LoRASpec | Sequence[LoRASpec | None]
BIAS_MODES = ("none", "all", "lora_only")


def inject(model: M, targets: Mapping[str, Target], variant: str = "lora", initialise: bool = True) -> M:
    """Replace the named layers of a model by their LoRA counterparts, in place.

    Args:
        model: any module.
        targets: module name (as in `named_modules`) -> a spec, or for a fused linear layer one spec (or None) a part.
        variant: `lora`, `dora` or `pissa` (see `variants`). Default: `lora`.
        initialise: False leaves zeros, to be loaded into. Default: True.

    Returns:
        The same model.

    Raises:
        InputError: a name is not in the model, names a layer that can't be adapted, or an unknown variant.
    """
    check_variant(variant)
    modules = dict(model.named_modules())
    for name, target in targets.items():
        if name not in modules:
            raise InputError(f"no layer {name!r} to adapt; the model has e.g. {', '.join(list(modules)[1:6])}")
        model.set_submodule(name, adapted_layer(modules[name], target, name, variant, initialise))
    return model


def adapted_layer(
    layer: nn.Module, target: Target, name: str = "", variant: str = "lora", initialise: bool = True
) -> LoRALayer:
    """The LoRA counterpart of a layer, sharing its parameters.

    Raises:
        InputError: the layer is of a kind the variant has no counterpart for, or has one already.
    """
    if isinstance(layer, LoRALayer):
        raise InputError(f"layer {name!r} is adapted already")
    new: LoRALayer
    with torch.device("meta"):  # no time and no random numbers for base weights that are replaced below
        if isinstance(layer, nn.Linear):
            specs = (target,) if isinstance(target, LoRASpec) else target
            new = VARIANTS[variant](layer.in_features, layer.out_features, specs, bias=layer.bias is not None)
        elif variant != "lora":
            raise InputError(f"layer {name!r} is a {type(layer).__name__}; {variant} adapts linear layers only")
        elif isinstance(layer, nn.Embedding) and isinstance(target, LoRASpec):
            new = Embedding(layer.num_embeddings, layer.embedding_dim, target)
        elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and isinstance(target, LoRASpec):
            new = adapted_convolution(layer, target)
        else:
            kind = type(layer).__name__
            raise InputError(f"layer {name!r} is a {kind}; LoRA adapts linear, embedding and convolution layers")
    for leaf, value in layer.named_parameters(recurse=False):
        setattr(new, leaf, value)
    # Adapters are fp32 and drawn on the CPU: the same seed gives the same A on every device and base type.
    for leaf, parameter in [*new.named_parameters(recurse=False)]:
        if leaf.startswith("lora_"):
            setattr(new, leaf, nn.Parameter(torch.zeros(parameter.shape, dtype=torch.float32)))
    for leaf, buffer in [*new.named_buffers(recurse=False)]:
        setattr(new, leaf, torch.zeros(buffer.shape, dtype=torch.float32))
    if initialise:
        new.reset_lora_parameters()
    new.train(layer.training)
    return new.to(next(layer.parameters()).device)


def lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    """The LoRA layers of a model by name, in module order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALayer)}


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLayer]:
    """The layers of a model whose weight has an update, by name, in module order: LoRA's and other methods'."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLayer)}


def mark_only_lora_as_trainable(model: nn.Module, bias: str = "none") -> None:
    """Freeze everything but the adapters and, if asked, biases.

    Args:
        model: a model with LoRA layers.
        bias: `none`, `all` biases of the model, or `lora_only`: those of the adapted layers.

    Raises:
        InputError: another value of `bias`.
    """
    adapter = lora_state_dict(model, bias)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in adapter)


def lora_state_dict(model: nn.Module, bias: str = "none") -> dict[str, Tensor]:
    """The adapter: exactly the entries with `lora_`, and the biases trained with it.

    Raises:
        InputError: another value of `bias` than `mark_only_lora_as_trainable` takes.
    """
    if bias not in BIAS_MODES:
        raise InputError(f"bias must be one of {', '.join(BIAS_MODES)}, got {bias!r}")
    adapted = lora_layers(model)
    state = {}
    for name, value in model.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        trains_bias = bias == "all" or (bias == "lora_only" and owner in adapted)
        if leaf.startswith("lora_") or (leaf == "bias" and trains_bias):
            state[name] = value
    return state


def load_lora_state_dict(model: nn.Module, state: Mapping[str, Tensor], bias: str = "none") -> None:
    """Copy an adapter into a model, strictly.

    Raises:
        InputError: as `copy_state_`.
    """
    copy_state_(lora_state_dict(model, bias), state)


@torch.no_grad()
def copy_state_(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy tensors by name, strictly.

    Raises:
        InputError: keys are missing or unexpected, or shapes differ; all of them are named.
    """
    problems = [f"missing {key}" for key in own.keys() - state.keys()]
    problems += [f"unexpected {key}" for key in state.keys() - own.keys()]
    problems += [
        f"{key} is {tuple(state[key].shape)}, the model needs {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    if problems:
        raise InputError(f"the adapter doesn't fit the model: {'; '.join(sorted(problems))}")
    for key, value in own.items():
        value.copy_(state[key])


def fold(model: M, keep: Collection[str] = ()) -> M:
    """A copy of a model with every adapted layer replaced by a plain layer holding the merged weight.

    Layers without an update are shared with the original, not copied: decoding with several adapters keeps one base.
    Merged weights are fp32 also where the base is held in 16 bits, which would round most of a small update away.

    Args:
        model: any module.
        keep: names of adapted layers that stay as they are. Default: none.

    Raises:
        InputError: a merged weight would not be finite.
    """
    copy = _shallow_copy(model)
    for name, layer in adapted_layers(model).items():
        if name in keep:
            continue
        try:
            weight = layer.merged_weight()
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        bias = layer.merged_bias()
        if bias is not None and not isinstance(bias, nn.Parameter):
            bias = nn.Parameter(bias.detach(), requires_grad=False)
        copy.set_submodule(name, _plain_layer(layer, nn.Parameter(weight, requires_grad=False), bias))
    return copy


def strip(model: M) -> M:
    """A copy of a model without its adapted layers: the base, sharing every parameter with the original.

    Raises:
        InputError: a layer is merged, so that its base weight is hidden; unmerge it first.
    """
    copy = _shallow_copy(model)
    for name, layer in adapted_layers(model).items():
        if layer.merged:
            raise InputError(f"layer {name!r} is merged; unmerge() it before taking its update out")
        copy.set_submodule(name, _plain_layer(layer, layer.weight, getattr(layer, "bias", None)))
    return copy


def _plain_layer(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    with torch.device("meta"):
        if isinstance(layer, nn.Linear):
            plain: nn.Module = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        elif isinstance(layer, nn.Embedding):
            plain = nn.Embedding(layer.num_embeddings, layer.embedding_dim)
        else:
            plain = plain_convolution(layer)
    plain.weight = weight
    if bias is not None:
        plain.bias = bias
    return plain.train(layer.training)


def _shallow_copy(module: M) -> M:
    """A module tree of its own over the same parameters."""
    copy = module.__class__.__new__(module.__class__)
    copy.__dict__ = dict(module.__dict__)
    copy._parameters, copy._buffers = dict(module._parameters), dict(module._buffers)
    copy._modules = {name: None if m is None else _shallow_copy(m) for name, m in module._modules.items()}
    return copy
