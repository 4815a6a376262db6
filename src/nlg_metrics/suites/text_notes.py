"""What is odd about the texts of a scoring, said beside the official numbers, which it doesn't change.

Outputs that still hold what a decoder should have taken off (end and padding tokens, marks of a subword vocabulary, the
context in front) lose points that the model didn't lose, and references without a word give points to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from nlg_metrics.files import LONE_SURROGATE
from nlg_metrics.segments import Segments

_BRACKETED = "endoftext|startoftext|pad|s|/ ?s|unk|eos|bos|sep|cls|mask|end|start|eot|sot|extra_id_[0-9]+"
# Blanks inside, for texts whose punctuation has been split off.
_TOKEN = re.compile(
    rf"<\s*\|[^<>|]{{1,40}}\|\s*>|<\s*(?:{_BRACKETED})\s*>|\[\s*(?:PAD|SEP|CLS|UNK|EOS|BOS|MASK)\s*\]",
    re.IGNORECASE,
)
_SUBWORD = re.compile("[\u2581\u0120\u010a\u2047]|@@(?=\\s|$)")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")
_WORDS = re.compile(r"\w+")
_LINEARISED = re.compile(r"[^|:\[\]]{1,60} : [^|]{1,200} \| |\w[\w ]{0,40}\[[^\[\]]{1,200}\], ?\w[\w ]{0,40}\[")

_KINDS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("a byte order mark", lambda text: "\ufeff" in text, "save the file as UTF-8 without one"),
    ("half a character (a lone surrogate)", lambda text: bool(LONE_SURROGATE.search(text)), "look where it was cut"),
    ("a replacement character (U+FFFD)", lambda text: "\ufffd" in text, "look where they were decoded"),
    ("control characters", lambda text: bool(_CONTROL.search(text)), "strip them first"),
    (
        "marks of a subword vocabulary (\u2581, \u0120, @@)",
        lambda text: bool(_SUBWORD.search(text)),
        "detokenise first",
    ),
)


def text_notes(segments: Segments) -> list[str]:
    """A sentence for each oddity, with how many texts have it and what to do.

    Args:
        segments: what is scored, as released or with its punctuation split off.
    """
    outputs = segments.hypotheses
    references = [text for group in segments.references for text in group]
    notes = [*_token_notes(outputs, references)]
    for name, has, advice in _KINDS:
        notes += _holding(
            name, sum(map(has, outputs)), len(outputs), sum(map(has, references)), len(references), advice
        )
    echoed = sum(map(_echoes, outputs, segments.contexts, segments.references))
    if echoed:
        notes.append(f"{echoed:,} of {len(outputs):,} outputs begin with their context; cut it off first")
    empty = sum(not text.strip() for text in outputs)
    if empty:
        notes.append(f"{empty:,} of {len(outputs):,} outputs are empty")
    return notes + _wordless(segments)


def _token_notes(outputs: Sequence[str], references: Sequence[str]) -> list[str]:
    """Special tokens, by name; those that references hold too are the corpus' own."""
    found: dict[str, int] = {}
    for text in outputs:
        if "<" in text or "[" in text:
            for token in {_bare(match) for match in _TOKEN.findall(text)}:
                found[token] = found.get(token, 0) + 1
    in_references = {
        _bare(match) for text in references if "<" in text or "[" in text for match in _TOKEN.findall(text)
    }
    return [
        f"{count:,} of {len(outputs):,} outputs hold {token}; strip it first"
        for token, count in found.items()
        if token not in in_references
    ] + [f"references hold {token}; strip it first" for token in sorted(in_references)]


def _bare(token: str) -> str:
    return "".join(token.split())


def _holding(name: str, outputs: int, all_outputs: int, references: int, all_references: int, advice: str) -> list[str]:
    counts = [
        f"{count:,} of {total:,} {what}"
        for count, total, what in ((outputs, all_outputs, "outputs"), (references, all_references, "references"))
        if count
    ]
    return [f"{' and '.join(counts)} hold {name}; {advice}"] if counts else []


def _echoes(output: str, context: str, references: Sequence[str]) -> bool:
    """Whether an output begins with its context or, where that is unknown, with what looks like one."""
    if context:
        wanted = _squeezed(context)
        begins = len(wanted) > 3 and _squeezed(output).startswith(wanted) and ("|" in output or ":" in output)
        return begins or (context in output)
    return bool(_LINEARISED.match(output.lstrip())) and not any(_LINEARISED.match(text.lstrip()) for text in references)


def _squeezed(text: str) -> str:
    return "".join(_WORDS.findall(text.lower()))


def _wordless(segments: Segments) -> list[str]:
    """Segments none of whose references has a word."""
    ids = [
        id_
        for id_, group in zip(segments.ids, segments.references, strict=True)
        if not any(_WORDS.search(text) for text in group)
    ]
    if not ids:
        return []
    place = "line" if segments.unit == "lines" else "id"
    return [
        f"{len(ids):,} of {len(segments):,} segments have no reference with a word (first: {place} {ids[0]}); their "
        "scores mean nothing: give them one or leave them out"
    ]
