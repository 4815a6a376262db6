"""What has been decoded so far, in files beside the predictions: `FILE.partial/rank-0.jsonl`, ….

A line is a checksum, a blank and one finished search as JSON. The checksum also covers a fingerprint of model, settings
and data form, so that a line that was altered, torn or found by another model is not used, and searched again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lora_nlg.decoding.settings import Hypothesis
from lora_nlg.files import atomic_write
from lora_nlg.run_folder import journal_folder

log = logging.getLogger(__name__)


class Journal:
    """Searches that have finished, on disk.

    Args:
        path: the predictions file it is for; None for a journal that keeps nothing.
        fingerprint: changes whenever the hypotheses would.
        rank: the process that appends.

    Attributes:
        found: context -> hypotheses, as read from all ranks' journals of this fingerprint.
    """

    def __init__(self, path: str | Path | None, fingerprint: str, rank: int = 0) -> None:
        self.folder = None if path is None else journal_folder(path)
        self.fingerprint, self.rank = fingerprint, rank
        self.found: dict[str, list[Hypothesis]] = {}
        self.file: IO[bytes] | None = None
        for file in sorted(self.folder.glob("rank-*.jsonl")) if self.folder else ():
            self.found.update(self._read(file))

    def __enter__(self) -> Journal:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            own = self.folder / f"rank-{self.rank}.jsonl"
            # Rewritten rather than continued: a killed process may have left half a line.
            kept = self._read(own, tell=False)
            with atomic_write(own, "wb") as file:
                file.writelines(self._line(*found) for found in kept.items())
            self.file = own.open("ab")
        return self

    def append(self, context: str, hypotheses: Iterable[Hypothesis]) -> None:
        """Note a finished search."""
        if self.file is not None:
            self.file.write(self._line(context, hypotheses))
            self.file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()

    def _checksum(self, entry: bytes) -> bytes:
        return hashlib.sha256(self.fingerprint.encode() + b" " + entry).hexdigest()[:16].encode()

    def _line(self, context: str, hypotheses: Iterable[Hypothesis]) -> bytes:
        entry: list[Any] = [context, [[list(h.tokens), h.log_prob, h.score, h.finished, h.text] for h in hypotheses]]
        text = json.dumps(entry).encode()
        return self._checksum(text) + b" " + text + b"\n"

    def _read(self, path: Path, tell: bool = True) -> dict[str, list[Hypothesis]]:
        if not path.is_file():
            return {}
        found, bad = {}, 0
        lines = path.read_bytes().split(b"\n")
        for line in lines[:-1]:  # what follows the last line end is empty, or a killed process was in the middle of it
            checksum, _, entry = line.partition(b" ")
            if checksum != self._checksum(entry):
                bad += 1
                continue
            context, hypotheses = json.loads(entry)
            found[context] = [Hypothesis(tuple(tokens), *rest) for tokens, *rest in hypotheses]
        if bad and tell:
            log.warning(
                "warning: %d of %d lines of %s are damaged, or of another model or other settings; these contexts are "
                "searched again",
                bad, bad + len(found), path,
            )  # fmt: skip
        return found


def remove_journals(path: str | Path) -> None:
    """Delete the journals of all ranks: the predictions file is complete."""
    shutil.rmtree(journal_folder(path), ignore_errors=True)
