"""A trained run from its directory alone: base, adapter and vocabulary, each checked against its recorded hash.

A run holds `adapter.safetensors` (and often `best/adapter.safetensors`), a run that trained the whole model
holds `model/`. Both name their base and vocabulary; the vocabulary may lie in the run itself (`tokenizer/`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lora_nlg.errors import InputError
from lora_nlg.files import read_json, write_json
from lora_nlg.gpt2 import GPT2
from lora_nlg.methods import METHODS, without_method
from lora_nlg.run_folder import ADAPTER, ADAPTER_DESCRIPTION, BEST, MEMBER, MODEL, MODEL_DESCRIPTION, TOKENIZER
from lora_nlg.tokenizers import Tokenizer, load_tokenizer
from lora_nlg.weights.adapter import (
    AdapterInfo,
    check_tokenizer,
    find_adapter,
    info_from_json,
    install,
    read_adapter,
    save_adapter,
)
from lora_nlg.weights.base import base_config, base_hash, load_base, save_base
from lora_nlg.weights.sealing import sealed
from lora_nlg.weights.tensor_files import WEIGHT_FILES, find_weights, holds_weights


class Run(NamedTuple):
    """What decoding needs: the model (adapted, not merged), its vocabulary, and what the files say they are."""

    model: GPT2
    tokenizer: Tokenizer
    info: AdapterInfo


def save_full_model(folder: str | Path, model: GPT2, info: AdapterInfo) -> Path:
    """Write a model that was trained as a whole: a Hugging Face folder with a description.

    Args:
        folder: usually `RUN/model`; made if absent.
        model: a GPT-2 with nothing put in.
        info: what it is.

    Returns:
        The path of `model.safetensors`.
    """
    (Path(folder) / MODEL_DESCRIPTION).unlink(missing_ok=True)  # it belongs to the weights that are replaced
    file = save_base(model, folder)
    write_json(Path(folder) / MODEL_DESCRIPTION, sealed({**info.to_json(), "sha256": base_hash(model)}))
    return file


def save_model(folder: Path, model: GPT2, info: AdapterInfo, step: int, tokenizer: Tokenizer) -> None:
    """Write what was trained: the adapter pair, or, where everything was, a Hugging Face folder with its vocabulary.

    Args:
        folder: a run's, or one in it such as `best/`.
        model: the model in training.
        info: what it is.
        step: optimiser steps it has taken.
        tokenizer: its vocabulary.
    """
    info = replace(info, step=step)
    if info.method.is_whole:
        tokenizer.save(folder / MODEL)
        save_full_model(folder / MODEL, model, info)
    else:
        save_adapter(folder, model, info)


def saved_step(folder: Path) -> int | None:
    """The step of the model whose files are in a run's folder; None where they aren't whole."""
    for description, weights in (
        (folder / ADAPTER_DESCRIPTION, folder / ADAPTER),
        (folder / MODEL / MODEL_DESCRIPTION, folder / MODEL / WEIGHT_FILES[0]),
    ):
        if description.is_file() and weights.is_file():  # the description is written last
            try:
                return info_from_json(read_json(description), str(description)).step
            except (ValueError, RecursionError):  # damaged: as good as not there
                return None
    return None


def load_run(
    path: str | Path,
    base: str | Path | None = None,
    tokenizer: str | Path | None = None,
    *,
    allow_other_base: bool = False,
    allow_other_tokenizer: bool = False,
    before: Run | None = None,
) -> Run:
    """Build the model a run trained, and its vocabulary.

    Args:
        path: a run directory, a folder with an adapter (`RUN/best`, a snapshot), an adapter file, or a folder with
            a whole GPT-2 and its vocabulary.
        base: where the base is. Default: where the adapter says it was.
        tokenizer: where the vocabulary is. Default: in the run, where the run says it was, or beside the base.
        allow_other_base: put the adapter on a base of equal shape with other values. Default: False.
        allow_other_tokenizer: accept another vocabulary than trained with. Default: False.
        before: a run in memory, which stays as it is. If both are adapters of one base, that base serves both.
            Default: None.

    Returns:
        The model on the CPU in evaluation mode, its adapter not merged; the vocabulary; the description.

    Raises:
        InputError: nothing to load there, the base or vocabulary is not found, or either isn't the one trained with.
    """
    model, info, places = load_model(path, base, allow_other_base=allow_other_base, before=before)
    if before is not None and info.tokenizer is not None and info.tokenizer == before.info.tokenizer:
        return Run(model, before.tokenizer, info)
    return Run(model, find_tokenizer(info, tokenizer, places, str(path), allow_other_tokenizer, model), info)


def load_model(
    path: str | Path, base: str | Path | None = None, *, allow_other_base: bool = False, before: Run | None = None
) -> tuple[GPT2, AdapterInfo, list[Path]]:
    """The model of a run without its vocabulary; see `load_run`.

    Returns:
        The model, its description, and the folders where its vocabulary may lie.

    Raises:
        InputError: nothing to load there, results of two runs, or a base that is not found or another one.
    """
    path = Path(path)
    if (path / ADAPTER).is_file() and (path / MODEL).exists():
        raise InputError(f"{path} holds both {ADAPTER} and {MODEL}/, results of two runs; give the one that is meant")
    if path.is_file() or (path / ADAPTER).is_file():
        info, tensors = read_adapter(path)
        base = Path(base) if base is not None else _recorded_base(info, path)
        if before is not None and _share_a_base(info, before.info):
            model = without_method(before.model)
        else:
            file = find_weights(base)
            recorded = None if info.base is None else info.base.config
            model = load_base(file, base_config(file, recorded=recorded))
        install(model, info, tensors, str(find_adapter(path)), allow_other_base)
        places = [path if path.is_dir() else path.parent]
    else:
        base = _model_folder(path)
        model, info = load_base(base), _full_info(base)
        places = [path]
    return model.eval(), info, [*places, base]


def require_run(path: Path) -> None:
    """Refuse what `load_run` would find nothing in, before anything is loaded.

    Raises:
        InputError: there is neither an adapter nor a model.
    """
    if not path.is_file() and not (path / ADAPTER).is_file():
        _model_folder(path)


def has_diverged(path: Path) -> bool:
    """Whether a folder is a sweep's member that has a result but no adapter."""
    return (path / MEMBER).is_file() and not (path / ADAPTER).is_file()


def _share_a_base(info: AdapterInfo, other: AdapterInfo) -> bool:
    has_base = info.method.keeps_base and other.method.keeps_base
    return has_base and info.base is not None and info.base == other.base


def _recorded_base(info: AdapterInfo, path: Path) -> Path:
    if info.base is None:
        raise InputError(f"{path} doesn't say which base it belongs to; give it as `base`")
    if not Path(info.base.path).exists():
        raise InputError(f"{path} was trained on {info.base}, which is not there any more; say where it is with `base`")
    return Path(info.base.path)


def _model_folder(path: Path) -> Path:
    for folder in (path / MODEL, path):
        if holds_weights(folder):
            return folder
    if not path.exists():
        raise InputError(f"no run at {path}; give a directory that `lora-nlg train` wrote")
    if has_diverged(path):
        raise InputError(f"{path} is a member of a sweep that diverged: it has no adapter")
    if (path / "adapter_config.json").is_file():
        raise InputError(
            f"{path} is an adapter of PEFT; make it one of ours: lora-nlg convert {path} --to adapter --out OUT"
        )
    inside = (place.parent for pattern in (BEST, "members/*", "*") for place in path.glob(f"{pattern}/{ADAPTER}"))
    hint = f", e.g. {found}" if (found := next(inside, None)) else ""
    raise InputError(
        f"{path} is not a trained run: it has neither {ADAPTER} nor {MODEL}/; give a directory that "
        f"`lora-nlg train` finished or saved into{hint}"
    )


def rescaled(run: Run, factor: float) -> Run:
    """The run as if alpha had been another: its base and adapter are shared, the update is multiplied.

    Args:
        run: with an adapter; it stays as it is.
        factor: of each target's alpha; 0 is the base, 1 the run itself.

    Raises:
        InputError: a factor that is negative or not finite, or a run whose method has no scaling, or whose update is
            not all there is to it: trained as a whole, or with biases.
    """
    if not 0 <= factor < math.inf:
        raise InputError(f"`scale_factor` must be 0 (the base) or more, got {factor}")
    if factor == 1:
        return run
    method = run.info.method.rescaled(factor or 1)
    model = without_method(run.model)
    if factor == 0:
        return Run(model, run.tokenizer, replace(run.info, method=METHODS["full"]()))
    method.put_into(model, initialise=False)
    method.load(model, run.info.method.stored(run.model)[1])
    return Run(model.eval(), run.tokenizer, replace(run.info, method=method))


def _full_info(folder: Path) -> AdapterInfo:
    file = folder / MODEL_DESCRIPTION
    return info_from_json(read_json(file), str(file)) if file.is_file() else AdapterInfo(METHODS["full"]())


def find_tokenizer(
    info: AdapterInfo,
    given: str | Path | None,
    places: list[Path],
    source: str,
    allow_other: bool = False,
    model: GPT2 | None = None,
) -> Tokenizer:
    """The vocabulary a model was trained with.

    Args:
        info: which one that is.
        given: where it is. Default: looked for in `places`, their `tokenizer/`, and where it was.
        places: folders as `load_model` returns them.
        source: what needs it, for messages.
        allow_other: accept another one, if given. Default: False.
        model: checked to have a row for each id. Default: not checked.

    Raises:
        InputError: not found, another one, or one too large for the model.
    """
    if given is not None:
        found = load_tokenizer(given)
        if not allow_other:
            check_tokenizer(info.tokenizer, found, source)
    else:
        found = _search(info, places, source)
    if model is not None and found.vocab_size > model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {found.vocab_size} ids, the model only {model.config.vocab_size}; give the one "
            f"{source} was trained with (`tokenizer`)"
        )
    return found


def _search(info: AdapterInfo, places: list[Path], source: str) -> Tokenizer:
    others = []
    for place in _tokenizer_places(info, places):
        try:
            found = load_tokenizer(place)
        except InputError:  # no vocabulary in this place; it may be in the next
            continue
        if info.tokenizer is None or found.sha256 == info.tokenizer.sha256:
            return found
        others.append(f"{place} has another ({found.sha256[:12]})")
    wanted = f"the vocabulary {info.tokenizer}" if info.tokenizer is not None else "a vocabulary"
    raise InputError(
        f"{source} needs {wanted}, which is neither in it, beside its base nor where it was"
        f"{'; ' + '; '.join(others) if others else ''}; say where it is with `tokenizer`"
    )


def _tokenizer_places(info: AdapterInfo, places: list[Path]) -> Iterator[Path]:
    folders = [place if place.is_dir() else place.parent for place in places]
    for folder in folders:
        yield folder / TOKENIZER
        if info.tokenizer is not None:  # without a hash to tell, a neighbour's could pass for the model's own
            yield folder.parent / TOKENIZER
    if info.tokenizer is not None:
        yield Path(info.tokenizer.path)
    yield from folders
