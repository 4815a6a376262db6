"""Tokens that fine-tuning programs add to a vocabulary (`<H>`, `<pad>`), which no merge makes.

The library `tokenizers` cuts them out of a text before anything else, and so does transformers. Four files may name
them: `tokenizer.json`, `added_tokens.json`, `tokenizer_config.json` and `special_tokens_map.json`; transformers
(PreTrainedTokenizerBase.from_pretrained) reads all of them, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from lora_nlg.errors import InputError
from lora_nlg.files import read_json
from lora_nlg.tokenizers.base import END_OF_TEXT

TOKENIZER_JSON, CONFIG = "tokenizer.json", "tokenizer_config.json"
_BY_ID, _SPECIAL = "added_tokens.json", "special_tokens_map.json"
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")


@dataclass(frozen=True)
class Added:
    """A token that text which spells it encodes to.

    Attributes:
        content: how it is spelled.
        id: its id.
        special: whether programs may leave it out of a decoded text.
        single_word: found as a word of its own only.
        lstrip, rstrip: swallows the blanks before or behind it.
        normalized: looked for after those that are not.
    """

    content: str
    id: int
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True

    def token(self) -> AddedToken:
        """As the library takes it."""
        return AddedToken(self.content, **{flag: getattr(self, flag) for flag in _FLAGS})


def added_tokens(folder: Path, vocabulary: dict[str, int], config: dict[str, Any] | None = None) -> list[Added]:
    """The tokens that the files of a folder add to a vocabulary, by id; `<|endoftext|>` is left out.

    Args:
        folder: with any of the four files.
        vocabulary: token → id of the model itself.
        config: the value of a `tokenizer.json` to read in place of the folder's. Default: the folder's, if any.

    Raises:
        InputError: a file of other types, two of them contradict each other, or a special token without an id.
    """
    found: dict[str, Added] = {}
    if config is None and (folder / TOKENIZER_JSON).is_file():
        config = read_object(folder / TOKENIZER_JSON)
    for token, source in _tokens_with_ids(folder, config):
        known = found.setdefault(token.content, token)
        if (known.id, known.lstrip, known.rstrip, known.single_word) != (
            token.id, token.lstrip, token.rstrip, token.single_word,
        ) or vocabulary.get(token.content, token.id) != token.id:  # fmt: skip
            raise InputError(f"{source} contradicts the other files about the added token {token.content!r}")
    for content, source in _special_tokens(folder):
        if content in vocabulary:
            found.setdefault(content, Added(content, vocabulary[content], special=True, normalized=False))
        elif content not in found:
            raise InputError(f"{source} names the special token {content!r}, of which no file beside it says the id")
    found.pop(END_OF_TEXT, None)
    return sorted(found.values(), key=lambda token: token.id)


def _tokens_with_ids(folder: Path, config: dict[str, Any] | None) -> Iterator[tuple[Added, str]]:
    source = str(folder / TOKENIZER_JSON)
    entries = (config or {}).get("added_tokens") or []
    if not isinstance(entries, list):
        raise InputError(f"{source}: added_tokens must be a list")
    for entry in entries:
        yield _added(entry, entry.get("id") if isinstance(entry, dict) else None, source), source
    special = {content for content, _ in _special_tokens(folder)}
    source = str(folder / CONFIG)
    by_id = _optional(folder / CONFIG).get("added_tokens_decoder") or {}
    if not isinstance(by_id, dict):
        raise InputError(f"{source}: added_tokens_decoder must map ids to tokens")
    described = set()
    for index, entry in by_id.items():
        token = _added(entry, int(index) if index.isdecimal() and len(index) < 10 else None, source)
        described.add(token.content)
        yield token, source
    source = str(folder / _BY_ID)
    for content, number in _optional(folder / _BY_ID).items():
        if content not in described:
            flags = {"special": content in special, "normalized": content not in special}
            yield _added({"content": content, **flags}, number, source), source
        elif all(token.get("content") != content or int(index) != number for index, token in by_id.items()):
            raise InputError(f"{source} contradicts {CONFIG} about the added token {content!r}")


def _added(entry: Any, number: Any, source: str) -> Added:
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not entry["content"]:
        raise InputError(f"{source}: an added token must say its content, got {str(entry)[:60]}")
    flags = {flag: entry.get(flag, Added.__dataclass_fields__[flag].default) for flag in _FLAGS}
    if type(number) is not int or number < 0 or not all(isinstance(value, bool) for value in flags.values()):
        raise InputError(
            f"{source}: the added token {entry['content']!r} needs an id, and flags that are true or false"
        )
    return Added(entry["content"], number, **flags)


def _special_tokens(folder: Path) -> Iterator[tuple[str, str]]:
    """What the files name as special: pad_token and the like, and lists of further ones."""
    for name in (CONFIG, _SPECIAL):
        for key, value in _optional(folder / name).items():
            if key.endswith("_token") and not isinstance(value, bool):
                entries = [value]
            elif key in _LISTS:
                entries = list(value.values()) if isinstance(value, dict) else value
            else:
                continue
            if not isinstance(entries, list):
                raise InputError(f"{folder / name}: {key} must be a list of tokens")
            for entry in entries:
                content = entry.get("content") if isinstance(entry, dict) else entry
                if content is not None and not isinstance(content, str):
                    raise InputError(f"{folder / name}: {key} must name tokens, got {str(entry)[:60]}")
                if content and content != END_OF_TEXT:
                    yield content, str(folder / name)


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def read_object(path: Path) -> dict[str, Any]:
    """The object a JSON file holds.

    Raises:
        InputError: absent, or anything else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not what its name says: it holds no JSON object")
    return value


def refuse_other_encoding(folder: Path) -> None:
    """Refuse settings beside a vocabulary that make transformers encode text otherwise.

    Raises:
        InputError: a space put before the text.
    """
    if _optional(folder / CONFIG).get("add_prefix_space") not in (None, False):
        raise InputError(
            f"{folder / CONFIG} puts a space before the text (add_prefix_space); GPT-2's tokenizer doesn't"
        )
