"""The predictions file: one line an entry, in data order, from searches that may be interrupted.

Finished searches are noted in journals beside the file as they end (`journal.py`). A decode that was killed reads the
journals and searches only what is missing; the file itself appears whole, at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lora_nlg.corpora.record import Record
from lora_nlg.decoding.decoder import Decoder
from lora_nlg.decoding.journal import Journal
from lora_nlg.decoding.settings import Hypothesis
from lora_nlg.distributed import World
from lora_nlg.files import is_stream, write_jsonl
from lora_nlg.progress import progress_bar

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
        # What isn't a file, such as a pipe, has nothing beside it.
        Journal(None if is_stream(path) else path, decoder.fingerprint(penalty), world.rank)
        for path, penalty in zip(paths, penalties, strict=True)
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
