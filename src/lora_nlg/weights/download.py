"""GPT-2's released weights from the Hugging Face hub: resumed if interrupted, checked against the hub's checksums.

The hub states for each file its SHA-256 (large files) or its git blob hash (small ones); what arrived must have it.
huggingface_hub finds the files; `lora_nlg.fetching` brings them: the hub's own download starts a broken file over.
"""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import HfApi

from lora_nlg.errors import InputError
from lora_nlg.fetching import Checksum, connect, fetch
from lora_nlg.files import write_json
from lora_nlg.weights.base import base_config, load_base

REPOSITORIES = {
    "gpt2.sm": "openai-community/gpt2",
    "gpt2.md": "openai-community/gpt2-medium",
    "gpt2.lg": "openai-community/gpt2-large",
    "gpt2.xl": "openai-community/gpt2-xl",
}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
RECORD = "download.json"
_LARGEST = 1 << 33
"""Bytes of a file whose size the hub doesn't state; GPT-2 XL has 6.4 GB."""
log = logging.getLogger(__name__)


def download_gpt2(card: str, folder: str | Path, revision: str = "main") -> Path:
    """Download a GPT-2 into a folder that `load_base` and `load_tokenizer` take.

    Args:
        card: `gpt2.sm`, `.md`, `.lg` or `.xl`; `sm` to `xl` are understood.
        folder: made if absent; files in it that have the right checksum are not fetched again.
        revision: branch, tag or commit of the repository. Default: `main`.

    Returns:
        The folder. `download.json` in it records the repository, its commit and the checksums.

    Raises:
        InputError: an unknown card, no connection, or a file that doesn't have the checksum the hub states.
    """
    folder = Path(folder)
    card = card if card.startswith("gpt2.") else f"gpt2.{card}"
    if card not in REPOSITORIES:
        raise InputError(f"no released GPT-2 {card!r}; choose from {', '.join(REPOSITORIES)}")
    repository = REPOSITORIES[card]
    try:
        hub = HfApi()
        info = hub.model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # the hub's client raises those of its HTTP library, another one in each major version
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"can't reach {repository} on the hub: {reason}. Without a connection, copy {', '.join(FILES)} of it into "
            f"{folder}"
        ) from None
    stated = {file.rfilename: file for file in info.siblings or [] if file.rfilename in FILES}
    if absent := [name for name in FILES if name not in stated]:
        raise InputError(f"{repository} at {revision} has no {', '.join(absent)}")
    checksums = {}
    with connect() as client:
        for name in FILES:
            checksum = _stated_checksum(stated[name])
            checksums[name] = {checksum.kind: checksum.value}
            if checksum.matches(folder / name):
                log.info("%s is there already, checksum right", folder / name)
                continue
            address = f"{hub.endpoint}/{repository}/resolve/{info.sha}/{name}"
            size = getattr(stated[name], "size", None)
            fetch(client, [address], folder / name, checksum, "HF_ENDPOINT", largest=size or _LARGEST)
    file = folder / FILES[-1]
    load_base(file, base_config(file, card))
    write_json(folder / RECORD, {"repository": repository, "commit": info.sha, "files": checksums})
    return folder


def _stated_checksum(file: object) -> Checksum:
    lfs = getattr(file, "lfs", None)
    if lfs is not None:
        return Checksum(str(lfs.sha256))
    return Checksum(str(getattr(file, "blob_id", "")), "git")
