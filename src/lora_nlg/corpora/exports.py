"""The shapes that Hugging Face's `datasets` and GEM give to entries, beside those of the corpora' own releases.

`datasets` keeps a list of objects as one object of lists. GEM (https://gem-benchmark.com) has `target` and
`references` in place of annotations.
"""

from __future__ import annotations

from typing import Any


def rows(value: Any, name: str) -> Any:
    """A list of objects; one object of equally long lists becomes one, and nothing an empty one.

    Raises:
        TypeError: `name` is an object whose parts are no lists or differ in length.
    """
    if not isinstance(value, dict):
        return [] if value is None else value
    # A column may be absent: exports leave empty ones out.
    value = {key: column for key, column in value.items() if column not in ([], None)}
    if not all(isinstance(column, list) for column in value.values()) or len(set(map(len, value.values()))) > 1:
        raise TypeError(f"{name} is neither a list nor one object of equally long lists")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def gem_texts(entry: dict[str, Any]) -> Any:
    """The texts of a GEM entry: its references or, where it has none (training), its target; none in a blind one."""
    texts = entry.get("references") or [entry.get("target")]
    return texts if any(texts) else []
