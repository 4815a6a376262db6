"""GPT-2's byte-level byte-pair encoding (Radford et al. 2019, section 2.2), run by the library `tokenizers`.

The vocabulary comes as two files (`encoder.json` + `vocab.bpe` as OpenAI named them, `vocab.json` +
`merges.txt` as Hugging Face does) or as one `tokenizer.json`; all three become the same tokenizer with the
same hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, read_json, read_text, write_json
from lora_nlg.tokenizers.added_tokens import (
    CONFIG,
    TOKENIZER_JSON,
    Added,
    added_tokens,
    read_object,
    refuse_other_encoding,
)
from lora_nlg.tokenizers.base import END_OF_TEXT, show, split_special

Merges = list[tuple[str, str]]
_PLAIN_MODEL = ("type", "vocab", "merges", "unk_token", "fuse_unk")
"""Fields of a `tokenizer.json`'s model that leave the encoding alone; any other must be off."""


class GPT2Tokenizer:
    """Byte-level BPE behind the `Tokenizer` protocol.

    Args:
        vocabulary: token → id, the tokens spelled with GPT-2's printable stand-ins for bytes (`Ġ` for a
            space).
        merges: pairs of tokens, the first to be merged first.
        source: where they came from, for error messages.
        added: tokens that text which spells them encodes to, as transformers does. Default: none.

    Raises:
        InputError: ids that are not 0 … n−1, a byte or `<|endoftext|>` without a token, a merge that does not make
            a token, or a token that no merge makes: the files are damaged or do not belong together.
    """

    name = "gpt2-bpe"

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Merges,
        source: str = "the vocabulary",
        added: Sequence[Added] = (),
    ):
        vocabulary = vocabulary | {token.content: token.id for token in added}
        _check(vocabulary, merges, added, source)
        self._vocabulary = vocabulary
        self._merges = merges
        self._added = added
        self._backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
        # `<|endoftext|>` stays a plain row of the vocabulary. Registered as a special token it would be cut
        # out of any text that spells it.
        self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._backend.decoder = decoders.ByteLevel()
        self._backend.add_tokens([token.token() for token in added])
        self.vocab_size = len(vocabulary)
        self.eos_id = vocabulary[END_OF_TEXT]
        self.sha256 = _content_hash(vocabulary, merges, added)
        blank_line = self.encode("\n\n")
        self.end_ids: tuple[int, ...] = (self.eos_id, *(blank_line if len(blank_line) == 1 else ()))

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of a text; see `Tokenizer.encode`."""
        ids: list[int] = []
        for stretch in split_special(text, allow_special):
            if stretch is None:
                ids.append(self.eos_id)
                continue
            try:
                ids += self._backend.encode(stretch, add_special_tokens=False).ids
            except (UnicodeEncodeError, TypeError):
                raise InputError(f"text with a lone surrogate cannot be encoded: {stretch[:60]!r}") from None
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; see `Tokenizer.decode`."""
        kept = [index for index in map(int, ids) if index != self.eos_id]
        if any(not 0 <= index < self.vocab_size for index in kept):
            wrong = next(index for index in kept if not 0 <= index < self.vocab_size)
            raise InputError(f"token id {wrong} lies outside the vocabulary of {self.vocab_size}")
        return self._backend.decode(kept, skip_special_tokens=False)

    def save(self, folder: str | Path) -> list[Path]:
        """Write what transformers reads too: `vocab.json` and `merges.txt`, or, with added tokens, `tokenizer.json`."""
        if self._added:
            return self._save_as_one(Path(folder))
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        write_json(vocabulary, self._vocabulary)
        with atomic_write(merges) as file:
            file.write("#version: 0.2\n")
            file.writelines(f"{left} {right}\n" for left, right in self._merges)
        return [vocabulary, merges]

    def _save_as_one(self, folder: Path) -> list[Path]:
        content = json.loads(self._backend.to_str())
        end = Added(END_OF_TEXT, self.eos_id, special=True, normalized=False)
        content["added_tokens"] = [asdict(token) for token in sorted([*self._added, end], key=lambda token: token.id)]
        write_json(folder / TOKENIZER_JSON, content)
        named = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
        write_json(folder / CONFIG, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **named})
        return [folder / TOKENIZER_JSON, folder / CONFIG]


def read_pair(vocabulary_file: Path, merges_file: Path) -> GPT2Tokenizer:
    """Read `encoder.json` + `vocab.bpe`, or `vocab.json` + `merges.txt`, and the tokens that files beside them add.

    Raises:
        InputError: either is absent or is not what its name says.
    """
    vocabulary = _vocabulary(read_json(vocabulary_file), str(vocabulary_file))
    merges: Merges = []
    for number, line in enumerate(read_text(merges_file).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise InputError(
                f"{merges_file}, line {number}: a merge is two tokens and a space between, got {line[:60]!r}"
            )
        merges.append((parts[0], parts[1]))
    refuse_other_encoding(vocabulary_file.parent)
    added = added_tokens(vocabulary_file.parent, vocabulary)
    return GPT2Tokenizer(vocabulary, merges, f"{vocabulary_file} with {merges_file.name}", added)


def read_tokenizer_json(path: Path) -> GPT2Tokenizer:
    """Read a `tokenizer.json` of the library `tokenizers`, if it is GPT-2's kind.

    Raises:
        InputError: absent, not such a file, or another kind of tokenizer than byte-level BPE without
            normaliser and without a space put before the text.
    """
    content = read_object(path)
    model, splitter = content.get("model"), content.get("pre_tokenizer") or {}
    if not isinstance(model, dict) or "vocab" not in model:
        raise InputError(f"{path} is not a tokenizer.json: it has no model with a vocab")
    if not isinstance(splitter, dict):
        raise InputError(f"{path} is not a tokenizer.json: its pre_tokenizer is no JSON object")
    byte_level = splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True) is True
    if model.get("type", "BPE") != "BPE" or "merges" not in model or not byte_level:
        kind = f"{model.get('type')} with the pre-tokenizer {splitter.get('type')}"
        raise InputError(f"{path} is {kind}; GPT-2 needs BPE with the pre-tokenizer ByteLevel")
    if content.get("normalizer") or splitter.get("add_prefix_space"):
        raise InputError(f"{path} normalises text or puts a space before it; GPT-2's tokenizer does neither")
    if other := [name for name, value in model.items() if name not in _PLAIN_MODEL and value]:
        raise InputError(
            f"{path} sets {other[0]} to {str(model[other[0]])[:40]!r}, with which text is encoded otherwise"
        )
    refuse_other_encoding(path.parent)
    vocabulary = _vocabulary(model["vocab"], str(path))
    return GPT2Tokenizer(
        vocabulary, _merges(model["merges"], str(path)), str(path), added_tokens(path.parent, vocabulary, content)
    )


def _merges(value: Any, source: str) -> Merges:
    """Merges as pairs or, as older files have them, as two tokens with a space between."""
    if not isinstance(value, list):
        raise InputError(f"{source}: merges must be a list")
    merges = []
    for merge in value:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(token, str) and token for token in pair):
            raise InputError(f"{source}: a merge must be a pair of tokens, got {str(merge)[:60]!r}")
        merges.append((pair[0], pair[1]))
    return merges


def _vocabulary(value: Any, source: str) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(index) is int for index in value.values()):
        raise InputError(f"{source} is not a vocabulary: it must map tokens to ids, like GPT-2's encoder.json")
    return value


def _check(vocabulary: dict[str, int], merges: Merges, added: Sequence[Added], source: str) -> None:
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise InputError(f"{source}: the {len(vocabulary)} ids must be 0 to {len(vocabulary) - 1}, each once")
    if END_OF_TEXT not in vocabulary:
        raise InputError(f"{source} has no token {END_OF_TEXT}, so it is not GPT-2's vocabulary")
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    if absent := sorted(alphabet - vocabulary.keys()):
        raise InputError(f"{source} is not byte-level: no token for {len(absent)} of 256 bytes ({show(absent)})")
    wrong = [f"{a} {b}" for a, b in merges if not {a, b, a + b} <= vocabulary.keys()]
    if wrong:
        raise InputError(f"{source}: {len(wrong)} merges do not make a token ({show(wrong)}); the files do not match")
    made = alphabet | {a + b for a, b in merges} | {token.content for token in added} | {END_OF_TEXT}
    if unmade := [token for token in vocabulary if token not in made]:
        raise InputError(
            f"{source}: no merge makes {len(unmade)} of the tokens ({show(unmade)}), so no text becomes them; the "
            f"list of merges was cut short, or they were added, and {TOKENIZER_JSON} or added_tokens.json must say so"
        )


def _content_hash(vocabulary: dict[str, int], merges: Merges, added: Sequence[Added]) -> str:
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    content = [tokens, merges, *([[list(astuple(token)) for token in added]] if added else [])]
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
