"""METEOR 1.5's English resources: where they are, and a compact index of them that loads in milliseconds.

They are not ours to ship. The pycocoevalcap package carries them: the tool's jar (a zip file, from which the word
lists and synonyms are read; no Java is needed) and a table of 5.3 million paraphrases. The table is indexed once into
a memory-mapped cache: a trie of all its phrases in sorted arrays, so that looking a phrase up is exact.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import itertools
import logging
import os
import zipfile
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.meteor.cache import Arrays, cache_folder, cached
from nlg_metrics.metrics.meteor.normalizer import Prefixes

_log = logging.getLogger(__name__)
_FORMAT = 1  # of the index; raise it with every change of what `_build` makes
_JAR = "meteor-1.5.jar"
_TABLE = "paraphrase-en.gz"
_TEXTS = {
    "function_words": "function/english.words",
    "prefixes": "nonbreaking/english.prefixes",
    "synsets": "synonym/english.synsets",
    "exceptions": "synonym/english.exceptions",
}
_HELP = (
    "`pip install pycocoevalcap==1.2` brings them in the pycocoevalcap package, or give a folder that holds both files"
)
_NODE_BITS = 20  # of a trie key: the word id; the parent node is above it

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Files:
    """The two files METEOR's resources come from."""

    jar: Path
    table: Path

    @classmethod
    def find(cls, folder: str | os.PathLike[str] | None = None) -> Files:
        """Find them in `folder`, or by default in the installed pycocoevalcap package (which is not imported).

        Args:
            folder: holds `meteor-1.5.jar`, and `paraphrase-en.gz` beside it or in `data/`.

        Raises:
            InputError: they are not there.
        """
        if folder is None:
            package = importlib.util.find_spec("pycocoevalcap")
            places = list(package.submodule_search_locations or []) if package else []
            if not places:
                raise InputError(f"METEOR needs its resources, {_JAR} and {_TABLE}; {_HELP}")
            root = Path(places[0]) / "meteor"
        else:
            root = Path(folder)
        jar, table = root / _JAR, root / "data" / _TABLE
        if not table.is_file():
            table = root / _TABLE
        for path in (jar, table):
            if not path.is_file():
                raise InputError(f"METEOR needs its resources, and {path} is not there; {_HELP}")
        return cls(jar.resolve(), table.resolve())

    def fingerprint(self) -> dict[str, Any]:
        """What tells these files from others or changed ones, without reading them."""
        found: dict[str, Any] = {"format": _FORMAT}
        for path in (self.jar, self.table):
            status = path.stat()
            found[str(path)] = [status.st_size, status.st_mtime_ns]
        return found


class Resources:
    """Synonyms, function words, prefixes and paraphrases, from the cache or, once, from the files.

    Args:
        folder: where the files are; default: the installed pycocoevalcap package.
        cache: folder for the index; default: `cache_folder()`.

    Raises:
        InputError: the files are absent or not what they should be, or the cache cannot be written.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, cache: str | os.PathLike[str] | None = None
    ) -> None:
        files = Files.find(folder)
        name = hashlib.sha256(f"{files.jar}\n{files.table}".encode()).hexdigest()[:12]
        path = (cache_folder() if cache is None else Path(cache)) / f"meteor-en-{name}.arrays"
        self._arrays = cached(path, files.fingerprint(), lambda: _build(files))

    @cached_property
    def identity(self) -> str:
        """First twelve hexadecimal digits of the SHA-256 of the resources' contents."""
        return bytes(self._arrays["identity"]).hex()[:12]

    @cached_property
    def prefixes(self) -> Prefixes:
        """The words a dot does not end a sentence after."""
        return Prefixes.parse(self._lines("prefixes"))

    @cached_property
    def function_words(self) -> frozenset[str]:
        """The words that count as function words."""
        return frozenset(self._lines("function_words"))

    @cached_property
    def phrases(self) -> PhraseTable:
        """The paraphrases."""
        return PhraseTable(self._arrays)

    def synsets(self, word: str) -> frozenset[int]:
        """The synonym sets of a word and of its base forms; words are synonyms if they share one."""
        if word in self._bases:
            bases = self._bases[word]
        else:
            bases = [self._base_form(word)]
        return frozenset(itertools.chain(*map(self._direct, [word, *bases])))

    def _direct(self, word: str) -> list[int]:
        row = self._synset_rows.get(word)
        if row is None:
            return []
        start, end = self._arrays["synset_starts"][row : row + 2]
        found: list[int] = self._arrays["synset_ids"][start:end].tolist()
        return found

    def _base_form(self, word: str) -> str:
        """Undo a regular inflection: the first rule whose result has synonym sets; no result is ""."""
        if word.endswith("ss") or len(word) <= 2:
            return word
        for suffix, replacement in _INFLECTIONS:
            if word.endswith(suffix):
                base = word[: -len(suffix)] + replacement
                if base in self._synset_rows:
                    return base
        return ""

    @cached_property
    def _synset_rows(self) -> dict[str, int]:
        words = self._lines("synset_words")
        return dict(zip(words, range(len(words)), strict=True))

    @cached_property
    def _bases(self) -> dict[str, list[str]]:
        """Irregular form -> its base forms."""
        lines = self._lines("exceptions")
        bases: dict[str, list[str]] = {}
        for base, forms in zip(lines[0::2], lines[1::2], strict=True):
            for form in forms.split():
                bases.setdefault(form, []).append(base)
        return bases

    def _lines(self, name: str) -> list[str]:
        return _text_lines(bytes(self._arrays[name]))


_INFLECTIONS = tuple(
    pair
    for kind in (
        "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y",  # nouns
        "s: ies:y es:e es: ed:e ed: ing:e ing:",  # verbs
        "er: est: er:e est:e",  # adjectives
    )
    for pair in (tuple(rule.split(":")) for rule in kind.split())
)


class PhraseTable:
    """All phrases of the paraphrase table as a trie, and for each phrase the phrases it may be replaced by.

    A node is a number: one-word phrases are numbered as their words, longer ones follow level by level in the
    order of (node without its last word, last word), which makes a look-up a binary search of exact keys.

    Args:
        arrays: the index `_build` makes.
    """

    def __init__(self, arrays: Arrays) -> None:
        words = _text_lines(bytes(arrays["phrase_words"]))
        self.word_ids = dict(zip(words, range(len(words)), strict=True))
        self._keys = arrays["trie_keys"]
        self._levels = arrays["trie_levels"].tolist()
        self.is_phrase = arrays["is_phrase"]
        self.starts = arrays["alternative_starts"]
        self.alternatives = arrays["alternatives"]

    @property
    def n_nodes(self) -> int:
        """Number of nodes: phrases and beginnings of phrases."""
        return len(self.is_phrase)

    @property
    def longest(self) -> int:
        """Number of words of the longest phrase."""
        return len(self._levels)

    def extend(self, nodes: NDArray[np.int64], words: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Nodes of phrases of `length` words -> nodes with one more word each, -1 where the table has none.

        Args:
            nodes: (T,) nodes of `length` words, none negative.
            words: (T,) word ids, none negative.
            length: number of words of each of `nodes`, at least 1.

        Returns:
            (T,) nodes of `length` + 1 words.
        """
        if length >= self.longest:
            return np.full(len(nodes), -1, np.int64)
        base = len(self.word_ids)
        first, end = self._levels[length - 1], self._levels[length]
        level = self._keys[first:end]
        wanted = (nodes << _NODE_BITS) | words
        found = np.searchsorted(level, wanted)
        hit = found < len(level)
        hit[hit] = level[found[hit]] == wanted[hit]
        return np.where(hit, base + first + found, -1)


def _build(files: Files) -> Arrays:
    """Read both files into the arrays of the index."""
    identity = hashlib.sha256()
    texts = {}
    try:
        with zipfile.ZipFile(files.jar) as jar:
            for name, member in _TEXTS.items():
                texts[name] = jar.read(member)
                identity.update(texts[name])
        synsets = _index_synsets(_text_lines(texts["synsets"]))
    except (zipfile.BadZipFile, KeyError, zlib.error, ValueError) as error:
        raise InputError(f"{files.jar} is not METEOR 1.5's jar ({error}); {_HELP}") from error
    arrays: Arrays = {
        name: np.frombuffer(texts[name], np.uint8) for name in ("function_words", "prefixes", "exceptions")
    }
    arrays |= synsets
    try:
        arrays |= _index_paraphrases(files.table, identity)
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{files.table} is damaged ({error}); install it again") from error
    arrays["identity"] = np.frombuffer(identity.digest(), np.uint8)
    return arrays


def _text_lines(data: bytes) -> list[str]:
    """Lines ended by LF alone; the other characters `str.splitlines` breaks at belong to words."""
    lines = data.decode("utf-8").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _joined(lines: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("".join(f"{line}\n" for line in lines).encode(), np.uint8)


def _index_synsets(lines: list[str]) -> Arrays:
    """Synonym sets of single words: an underscore never survives normalisation, so `hot_dog` can never match."""
    words, ids, lengths = [], array("i"), [0]
    for word, numbers in zip(lines[0::2], lines[1::2], strict=True):
        if "_" not in word:
            before = len(ids)
            ids.extend(map(int, numbers.split()))
            words.append(word)
            lengths.append(len(ids) - before)
    return {
        "synset_words": _joined(words),
        "synset_starts": np.cumsum(lengths).astype(np.int32),
        "synset_ids": np.array(ids, np.int32),
    }


def _index_paraphrases(table: Path, identity: Any) -> Arrays:
    """Number the phrases in order of appearance, then build the trie and the list of alternatives of each node."""
    numbers: defaultdict[bytes, int] = defaultdict(itertools.count().__next__)
    left, right = array("i"), array("i")
    _log.warning("METEOR: indexing %s; this takes up to a minute, once", table)
    with gzip.open(table) as unpacked:
        for lines in _records(unpacked, table, identity):
            left.extend(map(numbers.__getitem__, lines[1::3]))
            right.extend(map(numbers.__getitem__, lines[2::3]))
    if not left:
        raise InputError(f"{table} holds no paraphrase; install it again")
    words, word_ids, lengths = _split_phrases(numbers)
    del numbers
    keys, levels, node_of_phrase = _build_trie(word_ids, lengths, len(words))
    n_nodes = len(words) + len(keys)
    left_nodes = node_of_phrase[np.frombuffer(left, np.int32)]
    right_nodes = node_of_phrase[np.frombuffer(right, np.int32)]
    is_phrase = np.zeros(n_nodes, np.bool_)
    is_phrase[node_of_phrase] = True
    starts = np.zeros(n_nodes + 1, np.int32)
    starts[1:] = np.cumsum(np.bincount(left_nodes, minlength=n_nodes))
    return {
        "phrase_words": _joined(words),
        "trie_keys": keys,
        "trie_levels": np.array(levels, np.int64),
        "is_phrase": is_phrase,
        "alternative_starts": starts,
        # Stable: the order of a phrase's alternatives in the file decides ties of the aligner.
        "alternatives": right_nodes[np.argsort(left_nodes, kind="stable")],
    }


def _records(unpacked: gzip.GzipFile, table: Path, identity: Any) -> Iterable[list[bytes]]:
    """Yield lists of lines, whole records of three: probability (which METEOR ignores), phrase, alternative."""
    rest = b""
    while block := unpacked.read(1 << 24):
        identity.update(block)
        lines = (rest + block).split(b"\n")
        whole = (len(lines) - 1) // 3 * 3
        rest = b"\n".join(lines[whole:])
        yield lines[:whole]
    if rest:
        raise InputError(f"{table} does not consist of records of three lines; install it again")


def _split_phrases(phrases: Iterable[bytes]) -> tuple[list[str], Ids, NDArray[np.uint8]]:
    """Words in order of appearance, the word ids of all phrases in a row, and each phrase's number of words."""
    numbers: defaultdict[bytes, int] = defaultdict(itertools.count().__next__)
    ids, lengths = array("i"), array("B")
    for phrase in phrases:
        parts = phrase.split(b" ")
        lengths.append(len(parts))
        ids.extend(map(numbers.__getitem__, parts))
    words = [word.decode("utf-8") for word in numbers]
    return words, np.frombuffer(ids, np.int32), np.frombuffer(lengths, np.uint8)


def _build_trie(word_ids: Ids, lengths: NDArray[np.uint8], n_words: int) -> tuple[NDArray[np.int64], list[int], Ids]:
    """Nodes for all phrases and their beginnings.

    Args:
        word_ids: all phrases' words in a row.
        lengths: (P,) number of words of each phrase.
        n_words: size of the vocabulary.

    Returns:
        Keys of the nodes of two and more words, sorted within each level; where each level ends among them
        (the first, of single words, at 0); and the node of each phrase, (P,).
    """
    first_word = np.cumsum(lengths, dtype=np.int64) - lengths
    nodes = word_ids[first_word].copy()
    keys, levels = [], [0]
    for length in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > length)
        wanted = (nodes[longer].astype(np.int64) << _NODE_BITS) | word_ids[first_word[longer] + length]
        level, position = np.unique(wanted, return_inverse=True)
        nodes[longer] = n_words + levels[-1] + position
        keys.append(level)
        levels.append(levels[-1] + len(level))
    return np.concatenate([*keys, np.empty(0, np.int64)]), levels, nodes
