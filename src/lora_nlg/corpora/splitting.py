"""One set of records parted into train, valid and test, by context: what is asked in one was never said in another."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import replace

from lora_nlg.corpora.release import SPLITS, Release
from lora_nlg.errors import InputError


def parse_parts(text: str, present: Collection[str]) -> dict[str, float]:
    """`80/10/10` → split → its share of the contexts; two parts are train and what is missing.

    Args:
        text: two or three positive numbers with slashes between them.
        present: the splits there are already.

    Raises:
        InputError: no such numbers, or a part is there already.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 < share < math.inf for share in shares):
        raise InputError(f"`split` {text!r} must be the shares of train, valid and test, such as 80/10/10")
    if "train" not in present:
        raise InputError("`split` parts a training set, and none is there")
    names = list(SPLITS) if len(shares) == 3 else ["train", "test" if "valid" in present else "valid"]
    if taken := [name for name in names[1:] if name in present]:
        absent = [name for name in SPLITS if name not in present]
        hint = f"give two shares, for train and {absent[0]}" if absent else "leave it out"
        raise InputError(f"`split` {text!r} would make {' and '.join(taken)}, which is there already; {hint}")
    return {name: share / sum(shares) for name, share in zip(names, shares, strict=True)}


def divide(release: Release, parts: dict[str, float], seed: int) -> dict[str, Release]:
    """Part a release by contexts, drawn at random; records keep their order.

    Args:
        release: what is parted; what it left out stays with the first part.
        parts: split → share of the contexts; every part gets at least one.
        seed: decides the draw, together with the contexts in their order.

    Raises:
        InputError: there are fewer contexts than parts.
    """
    contexts = list(dict.fromkeys(record.context for record in release.records))
    if len(contexts) < len(parts):
        raise InputError(f"`split`: {len(contexts)} different contexts can't be parted into {len(parts)}")
    random.Random(seed).shuffle(contexts)
    names = list(parts)
    sizes = {name: max(1, round(parts[name] * len(contexts))) for name in names[1:]}
    while sum(sizes.values()) >= len(contexts):  # the first part has one too
        sizes[max(sizes, key=lambda name: sizes[name])] -= 1
    owner = dict.fromkeys(contexts, names[0])
    start = 0
    for name, size in sizes.items():
        owner.update(dict.fromkeys(contexts[start : start + size], name))
        start += size
    divided = {}
    for name in names:
        records = [record for record in release.records if owner[record.context] == name]
        divided[name] = replace(release, records=records)
        if name != names[0]:
            texts = sum(len(record.references) for record in records)
            divided[name] = Release(release.source, len(records), texts, records)
    return divided
