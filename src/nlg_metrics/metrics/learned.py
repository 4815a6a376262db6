"""What metrics with a trained model share: their libraries, which are optional, and which model it was.

The libraries bring torch; nothing here imports them before such a metric is made.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from nlg_metrics.errors import InputError

_WEIGHTS = ("*.safetensors", "*.bin")
_DIGITS = 12


def library(name: str, metric: str, package: str) -> Any:
    """The library of a metric.

    Args:
        name: of its module.
        metric: for the message.
        package: what `pip install` takes.

    Raises:
        InputError: it is not installed, or does not run with what else is.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == name:
            raise InputError(f"{metric} needs the library {name}: pip install {package}") from None
        raise _does_not_run(name, metric, package, error) from None
    except Exception as error:
        raise _does_not_run(name, metric, package, error) from None


def _does_not_run(name: str, metric: str, package: str, error: Exception) -> InputError:
    return InputError(
        f"{metric}'s library {name} does not run with the other libraries here ({_first_line(error)}); "
        f"pip install {package}, in an environment of its own if need be"
    )


def no_model(metric: str, model: str, error: Exception) -> InputError:
    """The refusal of a model that its library can't load."""
    return InputError(
        f"{metric}'s model {model} can't be loaded ({_first_line(error)}); give a model of the Hugging Face hub or its "
        "folder after `=`, or load it once where there is a network"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def revision(model: str, config: Any) -> str:
    """Which state of a model it was: the hub's commit, or of a folder the start of its weights' SHA-256."""
    if commit := getattr(config, "_commit_hash", None):
        return str(commit)[:_DIGITS]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _WEIGHTS for path in Path(model).glob(pattern)):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:_DIGITS]
