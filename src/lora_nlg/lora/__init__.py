"""LoRA for any torch model: layers, injection, state. Torch only; knows nothing of GPT-2.

In order: `adapted` (a layer with an update, whatever the method), `spec` (rank, scaling, where an update lies),
`functional` (forward and backward pass), `layers`, `inject` (into a model, and out again). Then `dora`, `pissa`,
`variants`; `conv`, `packing`, `batched`.
"""

from lora_nlg.lora.adapted import AdaptedLayer, AdaptedLinear, linear_layer
from lora_nlg.lora.conv import Conv1d, Conv2d, Conv3d
from lora_nlg.lora.inject import (
    adapted_layer,
    adapted_layers,
    copy_state_,
    fold,
    inject,
    load_lora_state_dict,
    lora_layers,
    lora_state_dict,
    mark_only_lora_as_trainable,
    strip,
)
from lora_nlg.lora.layers import Embedding, FusedLinear, Linear, LoRALayer
from lora_nlg.lora.packing import pack_frozen
from lora_nlg.lora.spec import Factors, LoRASpec
from lora_nlg.lora.variants import VARIANTS, frozen_projections, lora_plus_rates, variant_of

__all__ = [
    "VARIANTS",
    "AdaptedLayer",
    "AdaptedLinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Embedding",
    "Factors",
    "FusedLinear",
    "Linear",
    "LoRALayer",
    "LoRASpec",
    "adapted_layer",
    "adapted_layers",
    "copy_state_",
    "fold",
    "frozen_projections",
    "inject",
    "linear_layer",
    "load_lora_state_dict",
    "lora_layers",
    "lora_plus_rates",
    "lora_state_dict",
    "mark_only_lora_as_trainable",
    "pack_frozen",
    "strip",
    "variant_of",
]
