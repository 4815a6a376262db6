"""GPT-2's released weights from the Hugging Face hub: resumed if interrupted, checked against the hub's checksums.

The hub states for each file its SHA-256 (large files) or its git blob hash (small ones); what arrived must have it.
huggingface_hub finds the files; the bytes are fetched here, since its own download starts a broken file over.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import HfApi
from tqdm import tqdm

from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file, write_json
from lora_nlg.gpt2 import named_config
from lora_nlg.weights.base import load_base

REPOSITORIES = {
    "gpt2.sm": "openai-community/gpt2",
    "gpt2.md": "openai-community/gpt2-medium",
    "gpt2.lg": "openai-community/gpt2-large",
    "gpt2.xl": "openai-community/gpt2-xl",
}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
RECORD = "download.json"
log = logging.getLogger(__name__)


def download_gpt2(card: str, folder: str | Path, revision: str = "main") -> Path:
    """Download a GPT-2 into a folder that `--init_checkpoint` and `--tokenizer` take.

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
        stated = {file.rfilename: file for file in info.siblings or [] if file.rfilename in FILES}
        if absent := [name for name in FILES if name not in stated]:
            raise InputError(f"{repository} at {revision} has no {', '.join(absent)}")
        checksums = {}
        for name in FILES:
            kind, wanted = _stated_checksum(stated[name])
            checksums[name] = {kind: wanted}
            if (folder / name).is_file() and _checksum(folder / name, kind) == wanted:
                log.info("%s is there already, checksum right", folder / name)
                continue
            url = f"{hub.endpoint}/{repository}/resolve/{info.sha}/{name}"
            arrived = _fetch(url, folder / f"{name}.part", int(stated[name].size or 0))
            if (found := _checksum(arrived, kind)) != wanted:
                arrived.unlink()
                raise InputError(
                    f"{name} of {repository} arrived with {kind} {found[:12]}…, the hub states {wanted[:12]}…; it was "
                    "removed, run the download again"
                )
            os.replace(arrived, folder / name)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises those of its HTTP library, another one in each major version
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"can't download {repository}: {reason}; what has arrived is kept, and the next run continues with it. "
            f"Without a connection, copy {', '.join(FILES)} of {repository} into {folder}"
        ) from None
    load_base(folder, named_config(card))
    write_json(folder / RECORD, {"repository": repository, "commit": info.sha, "files": checksums})
    return folder


def _fetch(url: str, part: Path, size: int) -> Path:
    """Bring `part` to its full size, asking only for the bytes it lacks."""
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    if have and have == size:
        return part
    headers = {"User-Agent": "lora-nlg", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urlopen(Request(url, headers=headers), timeout=60)
    except HTTPError as error:
        if error.code != 416:  # nothing left of this range: what is there is no beginning of the file
            raise
        part.unlink()
        return _fetch(url, part, size)
    with response:
        have = have if response.status == 206 else 0  # a server may ignore the range and send everything
        label = part.name.removesuffix(".part")
        with part.open("ab" if have else "wb") as file, _bar(label, have, size) as bar:
            while block := response.read(1 << 18):
                file.write(block)
                bar.update(len(block))
    if size and part.stat().st_size < size:
        raise OSError(f"the connection broke after {part.stat().st_size:,} of {size:,} bytes of {label}")
    return part


def _bar(label: str, have: int, size: int) -> tqdm:
    return tqdm(desc=label, initial=have, total=size or None, unit="B", unit_scale=True, disable=None)


def _stated_checksum(file: object) -> tuple[str, str]:
    lfs = getattr(file, "lfs", None)
    if lfs is not None:
        return "sha256", str(lfs.sha256)
    return "git", str(getattr(file, "blob_id", ""))


def _checksum(path: Path, kind: str) -> str:
    if kind == "sha256":
        return sha256_file(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # how git names a file's content
