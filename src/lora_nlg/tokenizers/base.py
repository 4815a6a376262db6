"""What the rest of the project asks of a vocabulary, whichever kind it is.

Both kinds are lossless and treat a leading space as part of the word that follows, so the training form of an
example is `encode(context) + [eos_id] + encode(" " + completion) + [eos_id]` with either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

END_OF_TEXT = "<|endoftext|>"
"""How the separator and end token is spelled; in text from outside, this is ordinary text."""


class Tokenizer(Protocol):
    """Text to token ids and back.

    Attributes:
        name: `gpt2-bpe` or `sentencepiece`.
        vocab_size: number of ids; a model's embedding needs at least as many rows.
        eos_id: the id of `<|endoftext|>`, which parts context from completion and ends the completion.
        end_ids: every id that ends a hypothesis: `eos_id` first, then the token of the blank line (GPT-2's
            628) or of the newline, where the vocabulary has one.
        sha256: hash of the vocabulary's content, as 64 hexadecimal digits: equal for the same vocabulary in
            another file format, different as soon as one id means something else.
    """

    name: str
    vocab_size: int
    eos_id: int
    end_ids: tuple[int, ...]
    sha256: str

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            text: any Unicode text; an empty one has no tokens. No token is added before or after.
            allow_special: read the literal `<|endoftext|>` as the end token. Default: False, which encodes it
                letter by letter like any other text, so that no corpus can smuggle in an end token.

        Raises:
            InputError: the text holds a lone surrogate (half a character), which has no UTF-8 form.
        """
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; `eos_id` has none. Bytes that form no character become U+FFFD.

        Raises:
            InputError: an id lies outside the vocabulary.
        """
        ...

    def save(self, folder: str | Path) -> list[Path]:
        """Write the vocabulary's files into a folder, for `load_tokenizer` to read. Returns their paths."""
        ...


def split_special(text: str, allow_special: bool) -> Iterator[str | None]:
    """Yield the stretches of ordinary text, and None for every end token to be read as one."""
    if not allow_special:
        yield text
        return
    for index, stretch in enumerate(text.split(END_OF_TEXT)):
        if index:
            yield None
        yield stretch


def show(names: Sequence[str], limit: int = 5) -> str:
    """The first few names, for an error message."""
    return ", ".join(repr(name) for name in names[:limit]) + (", …" if len(names) > limit else "")
