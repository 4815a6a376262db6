"""Weights & Biases (https://docs.wandb.ai) as a tracker; an optional extra: pip install 'lora-nlg[wandb]'.

Where it reports to is the library's own business: its login, WANDB_MODE=offline, WANDB_PROJECT and the like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import wandb

from lora_nlg.errors import InputError, first_line
from lora_nlg.files import atomic_write
from lora_nlg.run_folder import WANDB_ID


class WandbTracker:
    """A wandb run. Its id is kept in the run directory, so that a resumed run goes on with the same one.

    Args:
        folder: the run directory; wandb's own files go to `wandb/` in it.
        settings: shown as the run's configuration.

    Raises:
        InputError: wandb can't start, for instance since nobody is logged in.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        file = folder / WANDB_ID
        run_id = file.read_text(encoding="utf-8").strip() if file.is_file() else uuid4().hex[:8]
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lora-nlg"),
                name=os.environ.get("WANDB_NAME", folder.resolve().name),
                id=run_id,
                resume="allow",
                reinit="create_new",  # a run that a notebook has open stays its own
                dir=str(folder),
                config=dict(settings),
            )
        except wandb.errors.Error as error:
            raise InputError(
                f"`report_to` wandb: {first_line(error)}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error
        with atomic_write(file) as opened:
            opened.write(f"{run_id}\n")

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.log`. wandb itself leaves out steps it had before a resume: they are the same."""
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def text(self, kind: str, step: int, name: str, text: str) -> None:
        """See `Tracker.text`."""
        self._run.log({f"{kind}/{name}": text}, step=step)

    def flush(self) -> None:
        """See `Tracker.flush`; wandb's own process writes as it goes."""

    def close(self) -> None:
        """See `Tracker.close`."""
        self._run.finish()
