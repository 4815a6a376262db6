"""Train, open and ask runs from Python: `lora_nlg.train`, `lora_nlg.load`, `TrainedRun.generate`."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_nlg.api.decoding import CheckpointSettings, TextSettings, as_trained, make_decoder, open_run
from lora_nlg.api.fields import settings_from, signature_of
from lora_nlg.api.train_settings import GROUPS, TrainSettings
from lora_nlg.api.training import run_training
from lora_nlg.corpora.record import Record, check_records, write_records
from lora_nlg.decoding import BeamSettings, Decoder, Hypothesis, SamplingSettings
from lora_nlg.distributed import World, pick_device
from lora_nlg.errors import InputError
from lora_nlg.files import read_jsonl
from lora_nlg.progress import progress_bar
from lora_nlg.run_folder import METRICS, RECORDS
from lora_nlg.training import Outcome
from lora_nlg.weights.run import Run

Data = str | os.PathLike[str] | Iterable[Record | Mapping[str, Any]]
"""A prepared file, or records as `Record` or mappings with its fields."""
_SEARCH = (BeamSettings, TextSettings, SamplingSettings)
_TRANSFORMERS = {
    "num_beams": "beam", "max_new_tokens": "eval_len", "min_new_tokens": "min_length", "num_return_sequences": "n_best",
    "do_sample": "sample",
}  # fmt: skip
"""transformers' names of fields of the search, which are understood; its other names are the same as here."""


class TrainedRun:
    """A trained run: texts for contexts, and what it noted.

    Args:
        settings: which run, and how it is opened.
        outcome: how training ended, if it was now. Default: None.

    Attributes:
        folder: the run directory, which `lora-nlg decode`, `convert` and `playground` take too.
        outcome: steps taken, why it ended (`finished`, `early stop` or a signal's name), the best validation; None for
            a run that was loaded.
    """

    def __init__(self, settings: CheckpointSettings, outcome: Outcome | None = None) -> None:
        self.folder, self.outcome = Path(settings.checkpoint), outcome
        self._settings = settings
        self._decoder: Decoder | None = None
        self._opened = None if outcome else self._open()

    def _open(self) -> Run:
        with _naming_the_base():
            return open_run(self._settings, self._settings.checkpoint)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the run's `metrics.jsonl`, each with its `kind` (`train`, `valid`, `speed`, …) and `step`."""
        return [value for _, value in read_jsonl(self.folder / METRICS)]

    def generate(self, contexts: str | Sequence[str], **fields: Any) -> list[str]:
        """The best text for each context.

        Args:
            contexts: meaning representations as the training data writes them; E2E's `name[Blue Spice]` is understood.
            **fields: of the search, as `lora-nlg generate` has them: `beam`, `length_penalty`, `eval_len`, …; or
                transformers' `num_beams`, `max_new_tokens`, ….

        Returns:
            One text a context, in order.

        Raises:
            InputError: no context, an unknown field, or one out of range.
        """
        if set(fields) & {"n_best", "num_return_sequences"}:
            raise InputError("`generate` gives one text a context; `hypotheses` gives `n_best` of them")
        return [hypotheses[0].text for hypotheses in self.hypotheses(contexts, **fields)]

    def hypotheses(self, contexts: str | Sequence[str], **fields: Any) -> list[list[Hypothesis]]:
        """The `n_best` hypotheses for each context, best first, with `text`, `score`, `log_prob`; see `generate`."""
        given = {_TRANSFORMERS.get(name, name): value for name, value in fields.items()}
        if len(given) < len(fields):
            raise InputError(f"a field is given twice: {', '.join(fields)}")
        search, text, sampling = settings_from(_SEARCH, given, skip=["end_ids"])
        asked = [as_trained(context) for context in ([contexts] if isinstance(contexts, str) else contexts)]
        if not asked:
            raise InputError("no meaning representation: give at least one context")
        self._opened = self._opened or self._open()
        self._decoder = make_decoder(
            self._opened,
            self._settings,
            search,
            text,
            sampling,
            world=World(device=pick_device(self._settings.device)),
            batch_size=None,
            share=self._decoder,
        )
        distinct = list(dict.fromkeys(asked))
        found = {}
        with progress_bar(total=len(distinct), desc="generate", unit="context") as bar:
            for index, hypotheses in self._decoder.decode(distinct):
                found[distinct[index]] = hypotheses
                bar.update()
        return [found[context] for context in asked]

    def __repr__(self) -> str:
        ended = f", {self.outcome.reason} at step {self.outcome.step}" if self.outcome else ""
        return f"TrainedRun({str(self.folder)!r}{ended})"


def train(*, train_data: Data, valid_data: Data | None = None, **fields: Any) -> TrainedRun:
    """Fine-tune GPT-2 with LoRA, or in full with `lora_dim=0`; a run that was interrupted goes on.

    Args:
        train_data: a prepared file, or records: `{"id": …, "context": …, "references": […]}`. Records are kept in
            the run directory, so that the run can be continued and replayed.
        valid_data: as `train_data`. Default: None, no validation.
        **fields: as the flags of `lora-nlg train`, with its defaults; `work_dir` and `init_checkpoint` (or `init`) are
            needed. Where a flag takes a list with commas, a list of words will do.

    Returns:
        The run, also when SIGINT (a notebook's stop button) ended it after the current step: see its `outcome`.

    Raises:
        InputError: a field is unknown, missing or out of range; the data, base or folder can't be used; or the loss is
            no longer finite.
    """
    given = {**fields, "train_data": train_data, "valid_data": valid_data}
    records = {name: given[name] for name in ("train_data", "valid_data") if _are_records(given[name])}
    settings = TrainSettings.of(*settings_from(GROUPS, given | dict.fromkeys(records, "")))
    if records:
        kept = {name: _kept(name, values, Path(settings.run.work_dir)) for name, values in records.items()}
        settings = TrainSettings.of(*settings_from(GROUPS, given | kept))
    outcome = run_training(settings)
    return TrainedRun(CheckpointSettings(settings.run.work_dir, device=settings.run.device), outcome)


def load(checkpoint: str | os.PathLike[str], **fields: Any) -> TrainedRun:
    """Open a trained run.

    Args:
        checkpoint: the run directory, or any folder or adapter file in it, such as `RUN/best`.
        **fields: as `lora-nlg decode` has them: `init_checkpoint`, `tokenizer`, `scale_factor`, `dtype`, `device`, ….

    Raises:
        InputError: no run there, or its base or vocabulary is not found or another one.
    """
    (settings,) = settings_from([CheckpointSettings], {"checkpoint": checkpoint, **fields})
    return TrainedRun(settings)


def _are_records(data: Data | None) -> bool:
    return data is not None and not isinstance(data, str | os.PathLike)


def _kept(field: str, values: Iterable[Any], folder: Path) -> str:
    """Records as a file in the run directory, named by their content, so that none is ever written over."""
    records = check_records(values, f"`{field}`")
    digest = hashlib.sha256(json.dumps([asdict(record) for record in records]).encode()).hexdigest()
    path = folder / RECORDS / f"{digest[:16]}.jsonl"
    write_records(path, records)
    return str(path)


@contextmanager
def _naming_the_base() -> Iterator[None]:
    """The base is `base` to the rooms below, `init_checkpoint` to whoever opens a run."""
    try:
        yield
    except InputError as error:
        error.args = (str(error).replace("`base`", "`init_checkpoint`"),)
        raise


_given = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("train_data", inspect.Parameter.empty, "Data"),
        ("valid_data", None, "Data | None"),
    )
]
train.__signature__ = signature_of(GROUPS, TrainedRun, *_given)  # type: ignore[attr-defined]
_checkpoint = inspect.Parameter("checkpoint", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="str | PathLike")
load.__signature__ = signature_of([CheckpointSettings], TrainedRun, _checkpoint)  # type: ignore[attr-defined]
