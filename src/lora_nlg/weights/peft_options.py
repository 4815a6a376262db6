"""What `adapter_config.json` of a PEFT LoRA adapter says, and whether plain LoRA on the unchanged base computes it.

Every option of peft.tuners.lora.LoraConfig is classified here; `lora_nlg.methods.peft` says how, and reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_nlg.methods.peft import MERGE, PeftOptions, adapts, shown

READ = (
    "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
    "exclude_modules", "init_lora_weights",
)  # fmt: skip
"""Options that are read here."""
HARMLESS = ("runtime_config", "megatron_core", "qalora_group_size", "fan_in_fan_out", "eva_config")
"""Options of no effect on what a saved adapter computes: how memory is used in training, the setting of an option that
is refused when it is on (QALoRA's group, the name of megatron's module), what PEFT corrects by the kind of layer
(fan_in_fan_out), and how A and B were first drawn (EVA)."""
DEFAULTS: Mapping[str, Any] = {
    "bias": "none",
    "modules_to_save": None,
    "layers_to_transform": None,
    "layers_pattern": None,
    "megatron_config": None,
    "trainable_token_indices": None,
    "loftq_config": {},
    "corda_config": None,
    "lora_ga_config": None,
    "use_dora": False,
    "velora_config": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "monteclora_config": None,
    "layer_replication": None,
    "lora_bias": False,
    "target_parameters": None,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "ensure_weight_tying": False,
}
"""Options that change what an adapter computes, or what it is made of, and PEFT's default: nothing else is taken."""
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that draw A and B and leave the base alone."""
PISSA = "pissa"
_AS_PLAIN = "save it in PEFT with path_initial_model_for_weight_conversion, which makes plain LoRA of it"
OPTIONS = PeftOptions("LORA", "plain LoRA", READ, HARMLESS, DEFAULTS, f"{MERGE}, or save it there as plain LoRA")


@dataclass(frozen=True)
class LoRAOptions:
    """What an adapter's configuration says of its arithmetic.

    Attributes:
        r, alpha: rank and numerator of the scaling, unless a pattern says otherwise.
        dropout: on the input of the low-rank branch, in training.
        rslora: whether alpha is divided by √r instead of r.
        ranks, alphas: pattern over module names -> their own rank or alpha; the first that matches.
        targets, excluded: module names or ends of them, or one pattern over whole names; None leaves it to PEFT.
        pissa: whether the base's principal part is taken off before the update is added.
        base: what the adapter names as its base; may be empty.
    """

    r: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    rslora: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    targets: Sequence[str] | str | None = None
    excluded: Sequence[str] | str | None = None
    pissa: bool = False
    base: str = ""

    def rank(self, module: str) -> int:
        """The rank PEFT gives a module."""
        return int(_first(self.ranks, module, self.r))

    def scaling(self, module: str) -> float:
        """What PEFT multiplies a module's B·A by."""
        r, alpha = self.rank(module), float(_first(self.alphas, module, self.alpha))
        return alpha / math.sqrt(r) if self.rslora else alpha / r

    def adapts(self, module: str) -> bool:
        """Whether PEFT gives a module of a GPT-2 an adapter."""
        return adapts(module, self.targets, self.excluded, ("c_attn",))


def _first(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    # PEFT's own rule (peft.utils.other.get_pattern_key)
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def read_options(config: Any, source: str) -> LoRAOptions:
    """Read a configuration, each option of it.

    Args:
        config: the value of `adapter_config.json`.
        source: where it is from, for messages.

    Raises:
        InputError: not a LoRA adapter, an option that computes something else, or a value of the wrong type.
    """
    reader = OPTIONS.reader(config, source)
    wrong, advice = reader.other_arithmetic(), ""
    start = config.get("init_lora_weights", True)
    if start not in (PISSA, None) and not (isinstance(start, bool | str) and start in PLAIN_STARTS):
        wrong.append(f"init_lora_weights = {shown(start)}")
        advice = _AS_PLAIN
    reader.stop_at(wrong, advice)
    return LoRAOptions(
        r=reader.rank("r", config.get("r", 8)),
        alpha=reader.positive("lora_alpha", config.get("lora_alpha", 8)),
        dropout=reader.dropout("lora_dropout"),
        rslora=reader.truth("use_rslora"),
        ranks={key: reader.rank("rank_pattern", value) for key, value in reader.patterns("rank_pattern").items()},
        alphas={
            key: reader.positive("alpha_pattern", value) for key, value in reader.patterns("alpha_pattern").items()
        },
        targets=reader.names("target_modules"),
        excluded=reader.names("exclude_modules"),
        pissa=config.get("init_lora_weights", True) == PISSA,
        base=str(config.get("base_model_name_or_path") or ""),
    )
