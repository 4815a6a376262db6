"""What `adapter_config.json` of a PEFT LoRA adapter says, and whether plain LoRA on the unchanged base computes it.

PEFT (peft.tuners.lora.LoraConfig) has options that change what an adapter computes without a trace in its tensors.
So nothing is ignored: an option is read, is known to leave the arithmetic alone, or stands at its default. Any other
is refused by name, one of a newer PEFT too. Patterns over module names are matched in bounded time or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_nlg.errors import InputError
from lora_nlg.gpt2.targets import LAYERS

READ = (
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_rslora",
    "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "init_lora_weights",
)  # fmt: skip
"""Options that are read here."""
HARMLESS = (
    "auto_mapping", "peft_version", "revision", "inference_mode", "runtime_config", "megatron_core",
    "qalora_group_size", "fan_in_fan_out", "eva_config",
)  # fmt: skip
"""Options of no effect on what a saved adapter computes: notes on where it is from, how memory is used in training, the
setting of an option that is refused when it is on (QALoRA's group, the name of megatron's module), what PEFT corrects
by the kind of layer (fan_in_fan_out), and how A and B were first drawn (EVA)."""
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
_MERGE = "merge it in PEFT (merge_and_unload), or save it there as plain LoRA"
_AS_PLAIN = "save it in PEFT with path_initial_model_for_weight_conversion, which makes plain LoRA of it"
_LONGEST_PATTERN, _MOST_BRANCHES = 200, 4
_ATOM = r"(?:\\[.dw_/-]|[\w.-]|\[[\w^-]+\])"
_SIMPLE_PATTERN = re.compile(rf"\^?(?:{_ATOM}[*+?]?\??|\((?:\?:)?{_ATOM}+(?:\|{_ATOM}+)*\))*\$?")


@dataclass(frozen=True)
class PeftOptions:
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
        if self.excluded and _named(self.excluded, module):
            return False
        if self.targets == "all-linear":
            return module.endswith(("attn.c_attn", *LAYERS.values()))
        return _named(["c_attn"] if self.targets is None else self.targets, module)


def _first(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    # PEFT's own rule (peft.utils.other.get_pattern_key)
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def _named(names: Sequence[str] | str, module: str) -> bool:
    # PEFT's own rule (peft.tuners.tuners_utils.check_target_module_exists)
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def read_options(config: Any, source: str) -> PeftOptions:
    """Read a configuration, each option of it.

    Args:
        config: the value of `adapter_config.json`.
        source: where it is from, for messages.

    Raises:
        InputError: not a LoRA adapter, an option that computes something else, or a value of the wrong type.
    """
    if not isinstance(config, dict):
        raise InputError(f"{source} is not a PEFT adapter's configuration: it is no JSON object")
    if config.get("peft_type") != "LORA":
        raise InputError(f"{source} is a PEFT adapter of type {config.get('peft_type')}, not LORA")
    reader = _Reader(config, source)
    reader.refuse_other_arithmetic()
    return PeftOptions(
        r=reader.rank("r", config.get("r", 8)),
        alpha=reader.positive("lora_alpha", config.get("lora_alpha", 8)),
        dropout=reader.dropout(),
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


class _Reader:
    """Typed values of a configuration."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self.config, self.source = config, source

    def refuse_other_arithmetic(self) -> None:
        """Stop at options that aren't plain LoRA's.

        Raises:
            InputError: there are some; they are named.
        """
        wrong = []
        for name, value in self.config.items():
            if name in DEFAULTS:
                off = value is None or (type(value) is type(DEFAULTS[name]) and value == DEFAULTS[name])
                off = off or (name == "modules_to_save" and value == [])
            else:  # an option of a newer PEFT is off where it says nothing
                off = name in READ or name in HARMLESS or value is None or value is False or value in ([], {}, "")
            if not off:
                wrong.append(f"{name} = {_short(value)}")
        if (task := self.config.get("task_type")) not in (None, "CAUSAL_LM"):
            wrong.append(f"task_type = {_short(task)}")
        advice = _MERGE
        start = self.config.get("init_lora_weights", True)
        if start not in (PISSA, None) and not (isinstance(start, bool | str) and start in PLAIN_STARTS):
            wrong.append(f"init_lora_weights = {_short(start)}")
            advice = _AS_PLAIN
        if wrong:
            raise InputError(
                f"{self.source} says {'; '.join(wrong[:6])}{'; …' if len(wrong) > 6 else ''}, which plain LoRA doesn't "
                f"compute; {advice}"
            )

    def refuse(self, name: str, value: Any, wanted: str) -> InputError:
        """The error for an option that must be something else than it is."""
        return InputError(f"{self.source}: {name} must be {wanted}, got {_short(value)}")

    def rank(self, name: str, value: Any) -> int:
        """The value of an option, if it is a rank."""
        if type(value) is not int or value < 1:
            raise self.refuse(name, value, "a whole number of at least 1")
        return int(value)

    def positive(self, name: str, value: Any) -> float:
        """The value of an option, if it is a positive number."""
        if type(value) not in (int, float) or not 0 < value < 1e30:
            raise self.refuse(name, value, "a positive number")
        return float(value)

    def dropout(self) -> float:
        """The dropout of the branch."""
        value = self.config.get("lora_dropout", 0.0)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self.refuse("lora_dropout", value, "a number from 0 to below 1")
        return float(value)

    def truth(self, name: str) -> bool:
        """An option that is true or false. Default: false."""
        value = self.config.get(name, False)
        if not isinstance(value, bool):
            raise self.refuse(name, value, "true or false")
        return value

    def patterns(self, name: str) -> dict[str, Any]:
        """An option of patterns of module names, each checked. Default: none."""
        value = self.config.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(name, value, "an object of patterns")
        for pattern in value:
            self.check_pattern(name, pattern)
        return value

    def names(self, name: str) -> Sequence[str] | str | None:
        """An option that names modules, by a checked pattern or in a list."""
        value = self.config.get(name)
        if isinstance(value, str) and value != "all-linear":
            self.check_pattern(name, value)
        elif isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise self.refuse(name, value, "a list of module names")
        elif value is not None and not isinstance(value, str):
            raise self.refuse(name, value, "a list of module names or a pattern")
        return value

    def check_pattern(self, name: str, pattern: str) -> None:
        """Refuse a pattern that could take long: what backtracks is bounded by its length and number of branches."""
        branches = len(re.findall(r"(?<!\\)[*+?(]", pattern.replace("(?:", "(")))
        fits = len(pattern) <= _LONGEST_PATTERN and branches <= _MOST_BRANCHES
        try:
            if fits and _SIMPLE_PATTERN.fullmatch(pattern):
                re.compile(pattern)
                return
        except re.error:
            pass
        raise self.refuse(
            name,
            pattern,
            f"of names and simple patterns (at most {_MOST_BRANCHES} of *, + and groups; none in another)",
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
