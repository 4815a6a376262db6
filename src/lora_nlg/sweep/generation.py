"""BLEU of every member, from texts decoded as `lora-nlg decode` decodes its run folder, on the sweep's one base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lora_nlg.corpora.record import Record
from lora_nlg.decoding import (
    BeamSettings,
    Decoder,
    decode_records,
    fold_for_decoding,
    remove_journals,
    write_predictions,
)
from lora_nlg.decoding.provenance import Hashed, describe, keep_other, write_config
from lora_nlg.distributed import World
from lora_nlg.errors import InputError
from lora_nlg.files import read_hashed, sha256_file
from lora_nlg.gpt2 import GPT2
from lora_nlg.lora import strip
from lora_nlg.run_folder import ADAPTER, PREDICTIONS
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights.adapter import install, read_adapter

DATA = "generation.jsonl"
"""The records that are decoded, in a sweep's folder: what `decode` and the scorers take to do the same."""
Scorer = Callable[[Path, Path], float]
"""A file of records and one of predictions -> BLEU."""


def chosen_records(records: Sequence[Record], contexts: int) -> list[Record]:
    """The records with references, of the first so many distinct contexts.

    Args:
        records: all.
        contexts: how many; 0 takes all.

    Raises:
        InputError: no record has a reference.
    """
    found = [record for record in records if record.references]
    if not found:
        raise InputError("`generate` needs records with references; there is none")
    kept = set(list(dict.fromkeys(record.context for record in found))[: contexts or None])
    return [record for record in found if record.context in kept]


class Generation:
    """Decodes members and scores them.

    Args:
        base: what they were trained on, on its device.
        tokenizer: its vocabulary.
        records: what to decode.
        data: the file that holds them.
        search: of the beam search.
        score: the scorer.
    """

    def __init__(
        self,
        base: GPT2,
        tokenizer: Tokenizer,
        records: Sequence[Record],
        data: Path,
        search: BeamSettings,
        score: Scorer,
    ) -> None:
        self.base, self.tokenizer, self.records, self.data = base, tokenizer, records, data
        self.search, self.score = replace(search, end_ids=None), score
        self._hash = sha256_file(data)
        self._share: Decoder | None = None

    def bleu(self, folder: Path) -> float:
        """Decode a member into its folder, or what of it isn't decoded yet, and score it.

        Args:
            folder: its run folder.
        """
        (info, tensors), sha256 = read_hashed(folder / ADAPTER, lambda: read_adapter(folder))
        model = strip(self.base)
        install(model, info, tensors, str(folder / ADAPTER), False)
        decoder = Decoder(fold_for_decoding(model.eval()), self.tokenizer, self.search, share=self._share)
        self._share = decoder
        path, penalty = folder / PREDICTIONS, self.search.length_penalty
        (found,) = decode_records(decoder, self.records, [path], [penalty], World(device=self.base.head_weight.device))
        about = Hashed(str(folder), sha256), Hashed(str(self.data), self._hash)
        description = describe(decoder, penalty, info, *about)
        keep_other(path, description)
        write_predictions(path, self.records, found)
        write_config(path, description)
        remove_journals(path)
        return self.score(self.data, path)
