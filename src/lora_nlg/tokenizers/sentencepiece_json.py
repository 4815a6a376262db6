"""A SentencePiece BPE as a `tokenizer.json`, which transformers' AutoTokenizer reads and gives the same ids.

SentencePiece merges the neighbours whose piece has the best score, the leftmost first; the library `tokenizers` merges
by the order of a list. So every way to make a piece of two others becomes a merge, in the order of the pieces' scores.
Spaces stand as themselves in the pieces instead of U+2581: a literal U+2581 then has no piece and becomes bytes, as
`SentencePieceTokenizer` has it.
"""

from __future__ import annotations

import json
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, decoders, models

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece spells a space inside its pieces


def tokenizer_json(processor: SentencePieceProcessor) -> dict[str, Any] | None:
    """The content of the `tokenizer.json`, or None where the library has no equal form of the vocabulary.

    Args:
        processor: a vocabulary that gives every text back (no normalisation, no dummy prefix, bytes).
    """
    size = int(processor.vocab_size())
    pieces = [processor.id_to_piece(index).replace(SPACE, " ") for index in range(size)]
    plain = [
        index
        for index in range(size)
        if not (processor.is_byte(index) or processor.is_control(index) or processor.is_unknown(index))
    ]
    if len(set(pieces)) < size or any(not float(processor.get_score(index)).is_integer() for index in plain):
        return None  # a unigram model scores by probability, BPE by order
    ids = {pieces[index]: index for index in plain}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in sorted(ids, key=lambda piece: -processor.get_score(ids[piece]))
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, unk_token=processor.id_to_piece(processor.unk_id()))
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    probe = "".join(pieces[index] for index in plain)  # every merge there is
    if backend.encode(probe).ids != processor.encode(probe):
        return None
    end = AddedToken(processor.id_to_piece(processor.eos_id()), special=True, normalized=False)
    backend.add_special_tokens([end])
    content: dict[str, Any] = json.loads(backend.to_str())
    return content


def tokenizer_config(processor: SentencePieceProcessor) -> dict[str, Any]:
    """What `tokenizer_config.json` must say, so that AutoTokenizer takes the file as it is."""
    end = processor.id_to_piece(processor.eos_id())
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "clean_up_tokenization_spaces": False,
    }
