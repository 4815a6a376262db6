"""The training loop, for one process and for many.

The gradient of a step is that of the mean loss over the target tokens of the whole global batch: every micro-batch
adds its sum divided by the global count, and one all-reduce adds up the ranks. After every step the run is a pure
function of (configuration, step, parameters, optimiser moments): dropout is seeded by the step and the order comes
from the sampler, so a snapshot of the tensors continues bit for bit.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lora_nlg.batching import Example, Loader, StepData
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.gpt2 import GPT2
from lora_nlg.progress import progress_bar
from lora_nlg.run_folder import SNAPSHOTS, best_folder, snapshot_folders
from lora_nlg.training.loss import TargetLoss
from lora_nlg.training.optim import FlatParameters
from lora_nlg.training.schedules import Schedule
from lora_nlg.training.settings import LoopSettings, Outcome
from lora_nlg.training.snapshots import Snapshot, differences, latest_snapshot, save_snapshot
from lora_nlg.training.step import autocast, batch_loss, seed_step, update_norms, validation_loss
from lora_nlg.training.stopping import EXIT_CODES, Best, StopRequest, stop_on_signals
from lora_nlg.training.tracking import Tracker, Trackers

log = logging.getLogger(__name__)
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What both optimisers keep of every parameter."""


@dataclass
class _Pending:
    """Steps whose numbers are still on the device."""

    steps: list[StepData] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class Trainer:
    """A run: fit, validate, snapshot, resume.

    `step` is that of the last step taken, `first_step` that of the snapshot resumed from (0: none).

    Args:
        model: on `world.device`, with `requires_grad` set on what trains and `prepare_precision` done.
        loader: the training batches.
        flat: the trainable parameters.
        optimizer: over `flat.value`.
        schedule: the learning rate.
        settings: see `LoopSettings`.
        world: the ranks.
        folder: the run directory; rank 0 writes snapshots there.
        identity: configuration and hashes of the inputs; a snapshot of another identity is refused.
        save_model: called on rank 0 with a folder and the step, writes the adapter (or model) there.
        valid_batches: validation examples, batched; empty for none.
        tracker: where numbers go; None on ranks that don't write.
        generate: called on every rank to validate by generation; gives the scores (with `bleu` among them) and a
            few generated texts by name, the same on all ranks.
    """

    def __init__(
        self,
        model: GPT2,
        loader: Loader,
        flat: FlatParameters,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: LoopSettings,
        world: World,
        folder: str | Path,
        identity: Mapping[str, Any],
        save_model: Callable[[Path, int], None],
        valid_batches: Sequence[Sequence[Example]] = (),
        tracker: Callable[[int], Tracker] | None = None,
        generate: Callable[[], tuple[dict[str, float], dict[str, str]]] | None = None,
    ) -> None:
        self.model, self.loader, self.flat, self.optimizer = model, loader, flat, optimizer
        self.schedule, self.settings, self.world = schedule, settings, world
        self.folder, self.identity, self.save_model = Path(folder), dict(identity), save_model
        self.valid_batches = valid_batches
        self.generate = generate
        self._make_tracker = tracker
        self.tracker: Tracker = Trackers()
        self.loss = TargetLoss(settings.label_smooth)
        self.plain_loss = self.loss.without_smoothing()
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=settings.dtype == "fp16")
        self.scaler.scale(torch.zeros((), device=world.device))  # a rank's first step may hold no batch to scale
        self.step = self.first_step = 0
        self.bests = {"loss": Best(), "bleu": Best(higher_is_better=True)}
        self._saved_step = -1
        self._pending = _Pending()
        self._clock = (time.perf_counter(), 0)  # when the last line was written, and tokens since then
        self._speed = 0.0
        world.require_equal(self.identity, "configuration or input")
        world.broadcast_(flat.value.data)

    @property
    def best(self) -> Best:
        """The best of the validations that decide."""
        return self.bests[self.settings.best_by]

    @property
    def snapshots(self) -> Path:
        """Where snapshots lie."""
        return self.folder / SNAPSHOTS

    def resume(self) -> bool:
        """Continue from the newest sound snapshot, if there is one.

        Raises:
            InputError: the snapshot belongs to another configuration; all differences are listed.
        """
        snapshot, problem = None, ""
        if self.world.is_main:
            try:
                snapshot = latest_snapshot(self.snapshots)
                if snapshot is not None and (changed := differences(snapshot.identity, self.identity)):
                    problem = (
                        f"{self.folder} holds a run with another configuration ({'; '.join(changed)}); use the "
                        f"same values, another --work_dir (RUN= in the scripts), or --resume restart"
                    )
            except InputError as error:
                problem = str(error)
        header = None if snapshot is None else (snapshot.step, dict(snapshot.state))
        header, problem = self.world.from_main((header, problem))
        if problem:
            self.world.fail(problem)
        if header is None:
            return False
        self.step, state = header
        self._restore(None if snapshot is None else snapshot.tensors, state)
        self.first_step = self._saved_step = self.step
        return True

    def fit(self) -> Outcome:
        """Train to the last step, a signal or an early stop.

        Raises:
            InputError: the loss is no longer finite.
            OSError: the disk is full or can't be written.
        """
        if self._make_tracker is not None and self.world.is_main:
            self.tracker = self._make_tracker(self.step)
        self.model.train()
        try:
            with stop_on_signals() as request, self._progress() as bar:
                reason = self._run(request, bar)
        except BaseException:
            with suppress(OSError):  # the error on its way out matters more than a second one
                self.tracker.close()
            raise
        code = 0
        if reason in ("SIGINT", "SIGTERM"):
            code = next(value for number, value in EXIT_CODES.items() if number.name == reason)
        self.tracker.close()
        self.world.barrier()
        return Outcome(self.step, reason, code, self.best)

    def _run(self, request: StopRequest, bar: tqdm[Any]) -> str:
        self._clock = (time.perf_counter(), 0)
        if self._gave_up():
            self._save()
            return "early stop"
        for data in self.loader.steps(self.step + 1, self.settings.max_step):
            self.train_step(data, bool(request))
            self.step = data.step
            last = self.step == self.settings.max_step
            stopping = False
            # Reading numbers back waits for a CUDA device, so there it is done once per interval, and by all ranks
            # at the same step: they must agree on when to stop.
            alone = bool(request) and self.world.size == 1
            if self.world.device.type == "cpu" or self.step % self.settings.log_interval == 0 or last or alone:
                stopping = self._collect(bar)
            bar.update()
            stopping = self._validate_if_due(bar, last) or stopping
            done = last or stopping or self._gave_up()
            if done or self.step % self.settings.save_interval == 0:
                stopping = self._collect(bar) or stopping
                self._save()
            if stopping:
                return "SIGINT" if request.signal is not None and request.signal.name == "SIGINT" else "SIGTERM"
            if done:
                return "finished" if last else "early stop"
        self._save()
        return "finished"

    def _gave_up(self) -> bool:
        return 0 < self.settings.patience <= self.best.worse

    def take_pending(self) -> list[list[float]]:
        """The loss, gradient norm and stop requests of the steps since the last call; waits for the device."""
        pending, self._pending = self._pending, _Pending()
        return torch.stack(pending.values).tolist() if pending.values else []

    def train_step(self, data: StepData, stop: bool = False) -> None:
        """Take one optimiser step.

        Args:
            data: this rank's batches.
            stop: tell all ranks that this one was asked to end. Default: False.
        """
        settings, device = self.settings, self.world.device
        rate = self.schedule(data.step - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.flat.clear()
        denominator = max(data.n_targets, 1) + settings.denominator_offset
        for number, batch in enumerate(data.micro_batches):
            seed_step(settings.random_seed, data.step, self.world.rank, number)
            batch = batch.to(device)
            with autocast(settings.dtype, device):
                total = batch_loss(self.model, batch, self.loss)
            torch.autograd.backward(self.scaler.scale(total / denominator))
            self.flat.sums[0] += total.detach()
        if stop:
            self.flat.sums[1] += 1
        self.world.sum_(self.flat.reduced)
        self.scaler.unscale_(self.optimizer)
        norm = torch.linalg.vector_norm(self.flat.gradient)
        loss = self.flat.sums[0] / denominator
        if device.type == "cpu" and not (math.isfinite(loss) and (self.scaler.is_enabled() or math.isfinite(norm))):
            self._not_finite(data, float(loss), float(norm))
        if settings.grad_clip > 0:
            self.flat.gradient.mul_((settings.grad_clip / (norm + 1e-6)).clamp_(max=1.0))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._pending.steps.append(data)
        self._pending.rates.append(rate)
        self._pending.values.append(torch.stack((loss, norm, self.flat.sums[1])))

    def _collect(self, bar: tqdm[Any]) -> bool:
        """Read pending numbers back, check and note them; returns whether any rank asked to stop."""
        pending, self._pending = self._pending, _Pending()
        if not pending.steps:
            return False
        rows = torch.stack(pending.values).tolist()  # the one wait for the device
        stop = False
        for data, rate, (loss, norm, stops) in zip(pending.steps, pending.rates, rows, strict=True):
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
                self._not_finite(data, loss, norm)
            self.tracker.log("train", data.step, {"loss": loss, "lr": rate, "grad_norm": norm, "epoch": data.epoch})
            stop = stop or stops > 0
            since, tokens = self._clock
            self._clock = (since, tokens + data.n_tokens)
            if data.step % self.settings.log_interval == 0:
                self._note_speed(data.step)
        speed = f", {self._speed:,.0f} tokens/s" if self._speed else ""
        bar.set_postfix_str(f"loss {rows[-1][0]:.4f}, lr {pending.rates[-1]:.2e}{speed}", refresh=False)
        return stop

    def _note_speed(self, step: int) -> None:
        since, tokens = self._clock
        now = time.perf_counter()
        values = {"tokens_per_s": round(tokens / max(now - since, 1e-9), 1)}
        if self.world.device.type == "cuda":
            values["peak_memory_mib"] = torch.cuda.max_memory_allocated(self.world.device) / 2**20
        else:
            import resource

            values["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        self.tracker.log("speed", step, values)
        if norms := update_norms(self.model):
            self.tracker.log("update", step, norms)
        self.tracker.flush()
        self._speed = values["tokens_per_s"]
        self._clock = (now, 0)

    def _not_finite(self, data: StepData, loss: float, norm: float) -> None:
        kept = snapshot_folders(self.snapshots) if self.world.is_main else []
        what = f"loss {loss}" if not math.isfinite(loss) else f"loss {loss:.4f} but gradient norm {norm}"
        self.world.fail(
            f"step {data.step}: {what}; the batch holds examples {', '.join(data.ids)}; "
            f"last finite snapshot: {kept[-1] if kept else 'none'}; lower --lr or set --grad_clip"
        )

    def _validate_if_due(self, bar: tqdm[Any], last: bool) -> bool:
        """Validate by loss, by generation, or both; returns whether a rank asked to stop meanwhile."""
        settings = self.settings
        by_loss = bool(self.valid_batches) and (last or self.step % settings.eval_interval == 0)
        generates = self.generate is not None and settings.generate_interval > 0
        by_generation = generates and (last or self.step % settings.generate_interval == 0)
        if not by_loss and not by_generation:
            return False
        stopping = self._collect(bar)
        start = time.perf_counter()
        if by_loss:
            values = validation_loss(self.model, self.valid_batches, settings.dtype, self.world, self.plain_loss)
            self.tracker.log("valid", self.step, values)
            text = f"validation loss {values['loss']:.4f}, perplexity {values['ppl']:.2f}"
            self._judge(bar, "loss", values["loss"], text)
        if by_generation:
            assert self.generate is not None, "checked above"
            scores, texts = self.generate()
            self.tracker.log("generation", self.step, scores)
            for name, text in texts.items():
                self.tracker.text("generation", self.step, name, text)
            text = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
            self._judge(bar, "bleu", scores["bleu"], f"generated: {text}")
        since, tokens = self._clock
        self._clock = (since + time.perf_counter() - start, tokens)  # tokens/s are those of training
        return stopping

    def _judge(self, bar: tqdm[Any], kind: str, value: float, text: str) -> None:
        """Say a validation's result, and keep the model if it is the best.

        It goes to best/, or, if this kind of validation doesn't decide, to best_loss/ or best_bleu/.
        """
        best = self.bests[kind].update(value, self.step)
        if best and self.world.is_main:
            self.save_model(self.folder / best_folder(kind, self.settings.best_by), self.step)
        if self.world.is_main:
            bar.write(f"step {self.step}: {text}{'  (best so far)' if best else ''}", file=sys.stderr)

    def _save(self) -> None:
        """Snapshot and model files, written by rank 0 while the others wait at their next reduction.

        Also called by a run that is resumed at its last step: one killed between the two lacks the model's files.
        """
        if not self.world.is_main:
            return
        if self.step != self._saved_step:
            self.tracker.flush()  # the snapshot promises that all lines up to its step are there
            save_snapshot(self.snapshots, self._capture(), self.settings.keep_last)
            self._saved_step = self.step
        self.save_model(self.folder, self.step)

    def _capture(self) -> Snapshot:
        # Empty where fp16 has overflowed at every step so far.
        moments = self.optimizer.state[self.flat.value] or {
            "step": 0, **{key: torch.zeros_like(self.flat.value) for key in MOMENTS}
        }  # fmt: skip
        flats = {"parameter": self.flat.value.detach(), **{key: moments[key] for key in MOMENTS}}
        tensors = {
            f"{prefix}/{name}": piece.cpu()
            for prefix, flat in flats.items()
            for name, piece in self.flat.split(flat).items()
        }
        state = {
            "best": {kind: asdict(best) for kind, best in self.bests.items()},
            "updates": int(moments["step"]),  # fewer than steps where fp16 overflowed
            "scaler": self.scaler.state_dict(),
            "ranks": self.world.size,
            "threads": torch.get_num_threads(),
        }
        return Snapshot(self.step, tensors, state, self.identity)

    @torch.no_grad()
    def _restore(self, tensors: Mapping[str, Tensor] | None, state: Mapping[str, Any]) -> None:
        """Put a snapshot back; ranks without the tensors receive them from rank 0."""
        value = self.flat.value
        moments = {key: torch.zeros_like(value) for key in MOMENTS}
        for prefix, flat in {"parameter": value.data, **moments}.items():
            for name, piece in self.flat.split(flat).items():
                if tensors is not None:
                    piece.copy_(tensors[f"{prefix}/{name}"])
            self.world.broadcast_(flat)
        on_device = bool(self.optimizer.defaults.get("fused")) and value.is_cuda
        updates = torch.tensor(float(state["updates"]), device=value.device if on_device else "cpu")
        self.optimizer.state[value] = {"step": updates, **moments}
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.bests = {kind: Best(**values) for kind, values in state["best"].items()}
        for name, now in (("ranks", self.world.size), ("threads", torch.get_num_threads())):
            if state[name] != now and self.world.is_main:
                log.warning(
                    "warning: the snapshot was taken with %s %s, now %s: the run continues, but not bit for bit",
                    state[name], name, now,
                )  # fmt: skip

    def _progress(self) -> tqdm[Any]:
        return progress_bar(
            total=self.settings.max_step, initial=self.step, desc="train", unit="step", disable=not self.world.is_main
        )
