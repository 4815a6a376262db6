"""One checksum over what was trained and what is said of it.

A description states the hash of its tensors (`sha256`), and `checksum` is a hash of the whole description, that one
included: a changed alpha is noticed as a changed weight is. Files of releases before it have none, and still load.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from lora_nlg.errors import InputError

CHECKSUM = "checksum"
log = logging.getLogger(__name__)


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description, a JSON object with the hash of its tensors, and its checksum."""
    return {**description, CHECKSUM: _checksum(description)}


def check_seal(description: Mapping[str, Any], source: str) -> None:
    """Refuse a description that isn't as it was written; say once of one that has no checksum.

    Raises:
        InputError: its checksum is another one.
    """
    if CHECKSUM not in description:
        _say_unsealed(source)
    elif description[CHECKSUM] != _checksum({key: value for key, value in description.items() if key != CHECKSUM}):
        raise InputError(
            f"{source} was changed after it was written: its description doesn't have the checksum it states; copy it "
            "again from where it was trained"
        )


def _checksum(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


@cache
def _say_unsealed(source: str) -> None:
    log.warning("%s is of a release before checksums: whether its description was changed can't be told", source)
