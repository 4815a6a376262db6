"""The predictions file: one line an entry, in data order, from searches that may be interrupted.

Finished searches are appended to a journal beside the file (`FILE.partial/rank-0.jsonl`, …) as they end. A decode that
was killed reads the journals and searches only what is missing; the file itself appears whole, at the end. A
journal opens with a fingerprint of model, settings and data form; one of another fingerprint is not used.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lora_nlg.corpora.record import Record
from lora_nlg.decoding.decoder import Decoder
from lora_nlg.decoding.settings import Hypothesis
from lora_nlg.distributed import World
from lora_nlg.files import write_jsonl
from lora_nlg.progress import progress_bar
from lora_nlg.run_folder import journal_folder

log = logging.getLogger(__name__)


def write_predictions(path: str | Path, records: Sequence[Record], found: Mapping[str, list[Hypothesis]]) -> int:
    """Write one line for each record: `{"id", "hypothesis", "score", "tokens", "n_best"}`.

    Args:
        path: replaced atomically.
        records: the data, in order.
        found: each distinct context's hypotheses, best first.

    Returns:
        Number of lines.
    """
    return write_jsonl(path, (prediction(record, found[record.context]) for record in records))


def prediction(record: Record, hypotheses: Sequence[Hypothesis]) -> dict[str, Any]:
    """One line of the predictions file."""
    n_best = [_line(hypothesis) for hypothesis in hypotheses]
    return {"id": record.id, **n_best[0], "n_best": n_best}


def _line(hypothesis: Hypothesis) -> dict[str, Any]:
    # Minus infinity is no JSON number; it is the score of a search that found nothing.
    score = hypothesis.score if hypothesis.score > float("-inf") else None
    return {"hypothesis": hypothesis.text, "score": score, "tokens": list(hypothesis.tokens)}


class Journal:
    """What has been decoded so far, on disk.

    Args:
        path: the predictions file it is for.
        fingerprint: changes whenever the hypotheses would.
        rank: the process that appends.

    Attributes:
        found: context -> hypotheses, as read from all ranks' journals of this fingerprint.
    """

    def __init__(self, path: str | Path, fingerprint: str, rank: int = 0) -> None:
        self.folder = journal_folder(path)
        self.fingerprint = fingerprint
        self.file_path = self.folder / f"rank-{rank}.jsonl"
        self.found: dict[str, list[Hypothesis]] = {}
        self.file: IO[str] | None = None
        for file in sorted(self.folder.glob("rank-*.jsonl")):
            self.found.update(_read(file, fingerprint))

    def __enter__(self) -> Journal:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = _read(self.file_path, self.fingerprint)
        # Rewritten rather than continued: a killed process may have left half a line.
        write_jsonl(self.file_path, [{"fingerprint": self.fingerprint}, *(_entry(*found) for found in own.items())])
        self.file = self.file_path.open("a", encoding="utf-8")
        return self

    def append(self, context: str, hypotheses: Iterable[Hypothesis]) -> None:
        """Note a finished search."""
        assert self.file is not None, "use the journal as a context manager"
        self.file.write(json.dumps(_entry(context, hypotheses), ensure_ascii=False) + "\n")
        self.file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.file is not None
        self.file.close()


def decode_records(
    decoder: Decoder, records: Sequence[Record], paths: Sequence[Path], penalties: Sequence[float], world: World
) -> list[dict[str, list[Hypothesis]]]:
    """Decode each distinct context that the journals beside the files don't hold yet, each on one rank.

    Args:
        decoder: model and settings.
        records: the data.
        paths: a file of predictions for each length penalty.
        penalties: the length penalties.
        world: this process among the ranks.

    Returns:
        For each penalty every context's hypotheses, on every rank.
    """
    contexts = list(dict.fromkeys(record.context for record in records))
    journals = [
        Journal(path, decoder.fingerprint(penalty), world.rank) for path, penalty in zip(paths, penalties, strict=True)
    ]
    # All ranks must have read all journals before any is written to, and agree on what is left to do.
    known = [context for context in contexts if all(context in journal.found for journal in journals)]
    found = world.from_main([{context: journal.found[context] for context in known} for journal in journals])
    todo = [context for context in contexts if context not in found[0]]
    if world.is_main and len(todo) < len(contexts):
        log.info("%d of %d contexts were decoded before; going on with the rest", len(found[0]), len(contexts))
    world.barrier()
    # Dealt out by length, so that ranks have equally much to do.
    mine = sorted(todo, key=lambda context: (len(context), context))[world.rank :: world.size]
    own: list[dict[str, list[Hypothesis]]] = [{} for _ in paths]
    with ExitStack() as stack:
        for journal in journals:
            stack.enter_context(journal)
        with progress_bar(total=len(mine), unit=" contexts", desc="decode", disable=not world.is_main) as bar:
            for index, rankings in decoder.decode_penalties(mine, penalties):
                for journal, ranking, hypotheses in zip(journals, own, rankings, strict=True):
                    journal.append(mine[index], hypotheses)
                    ranking[mine[index]] = hypotheses
                bar.update()
    for part in world.gather(own):
        for ranking, more in zip(found, part, strict=True):
            ranking.update(more)
    return list(found)


def remove_journals(path: str | Path) -> None:
    """Delete the journals of all ranks: the predictions file is complete."""
    shutil.rmtree(journal_folder(path), ignore_errors=True)


def _entry(context: str, hypotheses: Iterable[Hypothesis]) -> list[Any]:
    return [context, [[list(h.tokens), h.log_prob, h.score, h.finished, h.text] for h in hypotheses]]


def _read(path: Path, fingerprint: str) -> dict[str, list[Hypothesis]]:
    if not path.is_file():
        return {}
    found = {}
    with path.open(encoding="utf-8") as file:
        if file.readline() != json.dumps({"fingerprint": fingerprint}) + "\n":
            log.info("%s is of another model or other settings; not used", path)
            return {}
        for line in file:
            if not line.endswith("\n"):  # the process was killed in the middle of it
                break
            context, hypotheses = json.loads(line)
            found[context] = [Hypothesis(tuple(tokens), *rest) for tokens, *rest in hypotheses]
    return found
