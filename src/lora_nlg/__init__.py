"""lora-nlg: GPT-2 with LoRA for data-to-text generation (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

`lora_nlg.train(…)` trains and gives a run; `lora_nlg.load(folder)` opens one; see docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_nlg.api.run import TrainedRun, load, train

__version__ = "0.1.0"
__all__ = ["TrainedRun", "__version__", "load", "train"]
_ENTRY = ("TrainedRun", "load", "train")


def __getattr__(name: str) -> Any:
    """The Python entry, loaded when it is first asked for: it brings torch."""
    if name not in _ENTRY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lora_nlg.api import run

    return getattr(run, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ENTRY})
