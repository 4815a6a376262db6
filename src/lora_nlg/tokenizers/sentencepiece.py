"""SentencePiece vocabularies (Kudo & Richardson 2018), trained so that they behave as GPT-2's tokenizer does.

BPE pieces, no normalisation, no space put before or removed from a text, and bytes for what has no piece: every text
comes back as it was. `<|endoftext|>` is a control symbol, which no text encodes to.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, write_json
from lora_nlg.tokenizers.added_tokens import CONFIG, TOKENIZER_JSON, added_tokens, read_object
from lora_nlg.tokenizers.base import END_OF_TEXT, split_special
from lora_nlg.tokenizers.sentencepiece_json import SPACE, tokenizer_config, tokenizer_json

log = logging.getLogger(__name__)
MODEL_FILE = "sentencepiece.model"
PROBE = f" two  spaces, <0x41>, {END_OF_TEXT}\n\té \N{GRINNING FACE}  "  # what a lossless vocabulary gives back


class SentencePieceTokenizer:
    """A SentencePiece model behind the `Tokenizer` protocol.

    Args:
        model: the content of a `.model` file.
        source: where it came from, for error messages.

    Raises:
        InputError: not a SentencePiece model, no end symbol, or one that does not give text back unchanged
            (trained with normalisation, a dummy prefix or without bytes).
    """

    name = "sentencepiece"

    def __init__(self, model: bytes, source: str = "the SentencePiece model"):
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.load_from_serialized_proto(model)
        except (RuntimeError, ValueError):
            raise InputError(f"{source} is not a SentencePiece model") from None
        self.vocab_size = int(self._processor.vocab_size())
        self.eos_id = int(self._processor.eos_id())
        if self.eos_id < 0:
            raise InputError(f"{source} has no end symbol; train one with `lora-nlg train-tokenizer`")
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._space_bytes = [self._byte(byte) for byte in SPACE.encode("utf-8")]
        # Twice, because a dummy prefix is only lost at the very start of a text.
        if self.decode(self.encode(PROBE) + self.encode(PROBE)) != PROBE * 2:
            raise InputError(
                f"{source} does not give back the spaces and characters of a text (normalisation, dummy "
                "prefix or no byte fallback); train one that does with `lora-nlg train-tokenizer`"
            )
        newline = self._processor.encode("\n")
        self.end_ids: tuple[int, ...] = (self.eos_id, *(newline if len(newline) == 1 else ()))

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text; see `Tokenizer.encode`."""
        ids: list[int] = []
        for stretch in split_special(text, allow_special):
            if stretch is None:
                ids.append(self.eos_id)
                continue
            # SentencePiece would take a literal U+2581 for a space; as bytes it stays what it is.
            for index, part in enumerate(stretch.split(SPACE)):
                if index:
                    ids += self._space_bytes
                try:
                    ids += self._processor.encode(part)
                except (RuntimeError, UnicodeEncodeError):
                    raise InputError(f"text with a lone surrogate cannot be encoded: {part[:60]!r}") from None
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; see `Tokenizer.decode`."""
        ids = [int(index) for index in ids]
        for index in ids:
            if not 0 <= index < self.vocab_size:
                raise InputError(f"token id {index} lies outside the vocabulary of {self.vocab_size}")
        return str(self._processor.decode(ids))

    def save(self, folder: str | Path) -> list[Path]:
        """Write `sentencepiece.model` and, for transformers, `tokenizer.json` with its settings."""
        path = Path(folder) / MODEL_FILE
        with atomic_write(path, "wb") as file:
            file.write(self._model)
        if (content := tokenizer_json(self._processor)) is None:
            log.warning("%s has no equal form as %s: transformers can't read this vocabulary", path, TOKENIZER_JSON)
            return [path]
        write_json(Path(folder) / TOKENIZER_JSON, content)
        write_json(Path(folder) / CONFIG, tokenizer_config(self._processor))
        return [path, Path(folder) / TOKENIZER_JSON, Path(folder) / CONFIG]

    def pieces(self) -> dict[str, int]:
        """Piece → id."""
        return {self._processor.id_to_piece(index): index for index in range(self.vocab_size)}

    def check_twin(self, path: Path) -> None:
        """Refuse a `tokenizer.json` beside the model that is another vocabulary.

        Raises:
            InputError: it isn't what `save` writes.
        """
        if read_object(path).get("model") != (tokenizer_json(self._processor) or {}).get("model"):
            raise InputError(
                f"{path} is another vocabulary than the SentencePiece model beside it; delete the wrong one"
            )

    def _byte(self, byte: int) -> int:
        return int(self._processor.piece_to_id(f"<0x{byte:02X}>"))


def read_model(path: Path) -> SentencePieceTokenizer:
    """Read a `.model` file.

    Raises:
        InputError: absent or not a SentencePiece model this project can use.
    """
    try:
        tokenizer = SentencePieceTokenizer(path.read_bytes(), str(path))
        pieces = tokenizer.pieces()
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: a piece of it is not UTF-8; copy it again") from None
    added = [token for token in added_tokens(path.parent, pieces) if token.id != tokenizer.eos_id]
    if added:
        raise InputError(
            f"{path} comes with the added token {added[0].content!r}, which SentencePiece doesn't know; train a "
            "vocabulary that has it as text (`lora-nlg train-tokenizer`)"
        )
    if (path.parent / TOKENIZER_JSON).is_file():
        tokenizer.check_twin(path.parent / TOKENIZER_JSON)
    return tokenizer


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> SentencePieceTokenizer:
    """Train a vocabulary. The same texts in the same order give the same bytes.

    Args:
        texts: one stretch of text each, with the leading space it will be encoded with (`" " + completion`).
        vocab_size: number of ids: 256 bytes, the unknown and the end symbol, characters and merged pieces.

    Raises:
        InputError: no text, or a size the text cannot fill or that cannot hold the bytes and characters.
    """
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    if not lines:
        raise InputError("no text to train a vocabulary on: every line of the input is empty")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # An iterator rather than file names: the model records the names of its input files.
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            character_coverage=0.9995,
            max_sentence_length=1 << 24,  # longer lines would be skipped in silence
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            pad_id=-1,
            eos_piece=END_OF_TEXT,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise InputError(f"no vocabulary of {vocab_size} pieces from {len(lines)} lines of text: {reason}") from None
    return SentencePieceTokenizer(model.getvalue())
