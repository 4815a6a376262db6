"""A set of METEOR resources small enough to work cases by hand, in the form of the real ones."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

TEXTS = {
    "function/english.words": "the\na\n.\n'\non\nin\nof\nto\n",
    "nonbreaking/english.prefixes": "# titles\nMr\nDr\n\nNo #NUMERIC_ONLY#\n",
    "synonym/english.synsets": (
        "car\n00000011 00000012\nautomobile\n00000011\nrestaurant\n00000021\neatery\n00000021\n"
        "go\n00000031\nmove\n00000031\nhot_dog\n00000041\n"
    ),
    "synonym/english.exceptions": "go\nwent gone\n",
}
PARAPHRASES = [
    ("inexpensive", "low priced"),
    ("low priced", "inexpensive"),
    ("situated near", "close to"),
    ("situated near", "not far from"),
    ("cheap", "inexpensive"),
    ("meals", "food"),
    ("food", "meals"),
]


def write_resources(folder: Path, paraphrases: list[tuple[str, str]] = PARAPHRASES) -> Path:
    """A folder laid out as the tool's: the jar, and `data/` with the paraphrase table."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "meteor-1.5.jar", "w") as jar:
        for name, text in TEXTS.items():
            jar.writestr(name, text)
    records = "".join(f"0.5\n{left}\n{right}\n" for left, right in paraphrases)
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(records.encode()))
    return folder
