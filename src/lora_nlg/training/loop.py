"""The training loop, for one process and for many: when to read numbers back, validate, save and stop.

After every step the run is a pure function of (configuration, step, parameters, optimiser moments): the order of
examples comes from the sampler, dropout is seeded by the step, so a snapshot of the tensors continues bit for bit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from lora_nlg.batching import Loader, StepData
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.progress import not_counted, progress_bar
from lora_nlg.training.checkpoints import Checkpoints
from lora_nlg.training.late import LATE
from lora_nlg.training.meter import Meter
from lora_nlg.training.schedules import Schedule
from lora_nlg.training.settings import LoopSettings, Outcome
from lora_nlg.training.step import Step, update_norms
from lora_nlg.training.stopping import EXIT_CODES, Best, NotFinite, StopRequest, stop_on_signals
from lora_nlg.training.tracking import Tracker
from lora_nlg.training.validation import Validation


class Trainer:
    """A run: fit, validate, save, resume.

    Args:
        model: what is trained.
        take_step: takes an optimiser step.
        schedule: the learning rate of every step, and how many steps there are.
        loader: the training batches.
        validations: measure (`loss`, `bleu`) -> how it is found.
        checkpoints: where state and model are kept.
        settings: when to do what.
        world: the ranks.

    Attributes:
        step: the last step taken.
        bests: measure -> its best validation.

    Raises:
        InputError: the measure that decides isn't validated, or the ranks were given different things.
    """

    def __init__(
        self,
        *,
        model: GPT2,
        take_step: Step,
        schedule: Schedule,
        loader: Loader,
        validations: Mapping[str, Validation],
        checkpoints: Checkpoints,
        settings: LoopSettings,
        world: World,
    ) -> None:
        if settings.best_by == "bleu" and "bleu" not in validations:
            raise InputError("`best_by` bleu needs validation by generation: `valid_bleu` true")
        self.model, self.take_step, self.schedule, self.loader = model, take_step, schedule, loader
        self.validations, self.checkpoints = validations, checkpoints
        self.settings, self.world = settings, world
        self.intervals = {
            "loss": settings.eval_interval or loader.sampler.steps_per_epoch,
            "bleu": settings.generate_interval or loader.sampler.steps_per_epoch,
        }
        self.step = 0
        self.bests = {"loss": Best(), "bleu": Best(higher_is_better=True)}
        self.meter = Meter(world.device, overflows=take_step.state.scaler.is_enabled())
        world.require_equal(checkpoints.identity, "configuration or input")
        world.broadcast_(take_step.state.flat.value.data)

    @property
    def best(self) -> Best:
        """The best of the validations that decide."""
        return self.bests[self.settings.best_by]

    def resume(self) -> bool:
        """Continue from the newest sound snapshot, if there is one; see `Checkpoints.resume`."""
        found = self.checkpoints.resume()
        if found is not None:
            self.step, self.bests = found
        return found is not None

    def fit(self, tracker: Tracker) -> Outcome:
        """Train to the last step, a signal or an early stop.

        Args:
            tracker: where numbers go; closed at the end.

        Raises:
            InputError: the loss is no longer finite.
            OSError: the disk is full or can't be written.
        """
        self.meter.start(tracker)
        self.model.train()
        try:
            with stop_on_signals() as request, self._progress() as bar:
                reason = self._run(request, bar)
        except BaseException as error:
            with suppress(OSError):  # the error on its way out matters more than a second one
                tracker.close()
            if isinstance(error, NotFinite):
                newest = self.checkpoints.newest()
                self.world.fail(f"{error}; last finite snapshot: {newest or 'none'}; lower `lr` or set `grad_clip`")
            raise
        tracker.close()
        self.world.barrier()
        code = next((value for number, value in EXIT_CODES.items() if number.name == reason), 0)
        return Outcome(self.step, reason, code, self.best)

    def _run(self, request: StopRequest, bar: tqdm[Any]) -> str:
        """Step until there is a reason to end; returns it."""
        steps = self.loader.steps(self.step + 1, self.schedule.max_step)
        reason = self._reason_to_end(request)  # a run resumed at its end has one already
        while not reason:
            self._advance(next(steps), stop=bool(request))
            if self._must_read():
                self._read(bar)
            else:
                self.meter.read(late=LATE)
            bar.update()
            self._validate_what_is_due(bar)
            reason = self._reason_to_end(request)
            if not reason and self._is_due(self.settings.save_interval):
                self._save()
        self._save()
        return reason

    def _advance(self, data: StepData, stop: bool) -> None:
        rate = self.schedule(data.step - 1)
        self.meter.note(data, rate, self.take_step(data, rate, stop))
        self.step = data.step

    def _reason_to_end(self, request: StopRequest) -> str:
        if self.meter.stopped:
            return request.name
        if self._is_last():
            return "finished"
        return "early stop" if 0 < self.settings.early_stop <= self.best.worse else ""

    def _is_last(self) -> bool:
        return self.step == self.schedule.max_step

    def _is_due(self, interval: int) -> bool:
        return self.step % interval == 0

    def _due_validations(self) -> list[str]:
        return [measure for measure in self.validations if self._is_last() or self._is_due(self.intervals[measure])]

    def _must_read(self) -> bool:
        """Whether the numbers of all steps taken are needed now.

        Reading them waits for a CUDA device, so there it is done once per interval; in between they are read late,
        but by all ranks at the same step: they must agree on when to stop.
        """
        settings = self.settings
        due = self._is_last() or self._is_due(settings.log_interval) or self._is_due(settings.save_interval)
        return self.world.device.type == "cpu" or due or bool(self._due_validations())

    def _read(self, bar: tqdm[Any]) -> None:
        self.meter.read()
        if self._is_due(self.settings.log_interval):
            self.meter.log_speed(self.step)
            if norms := update_norms(self.model):
                self.meter.tracker.log("update", self.step, norms)
            self.meter.tracker.flush()
        bar.set_postfix_str(str(self.meter), refresh=False)

    def _validate_what_is_due(self, bar: tqdm[Any]) -> None:
        if due := self._due_validations():
            with self.meter.paused(), not_counted(bar):
                for measure in due:
                    self._validate(measure, bar)

    def _validate(self, measure: str, bar: tqdm[Any]) -> None:
        """Validate by one measure, say how it went, and keep the model if it is the best."""
        validation, tracker = self.validations[measure], self.meter.tracker
        values, texts = validation()
        tracker.log(validation.kind, self.step, values)
        for context, text in texts.items():
            tracker.text(validation.kind, self.step, context, text)
        best = self.bests[measure].update(values[measure], self.step)
        if best:
            self.checkpoints.save_best(self.step, measure, self.settings.best_by)
        if self.world.is_main:
            shown = f"step {self.step}: {validation.describe(values)}{'  (best so far)' if best else ''}"
            bar.write(shown, file=sys.stderr)

    def _save(self) -> None:
        self.meter.read()  # where a stop was noticed late: nothing is saved that isn't finite
        self.meter.tracker.flush()  # the snapshot promises that all lines up to its step are there
        self.checkpoints.save(self.step, self.bests, self.settings.keep_last)

    def _progress(self) -> tqdm[Any]:
        total, disable = self.schedule.max_step, not self.world.is_main
        return progress_bar(total=total, initial=self.step, desc="train", unit="step", disable=disable)
