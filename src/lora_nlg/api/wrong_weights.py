"""When the weights a field names can't be used: what they are instead, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_nlg.errors import InputError
from lora_nlg.weights.identify import Identity, identify


@contextmanager
def explained(path: str | None, field: str) -> Iterator[None]:
    """Within the block a failure says what the path is and what to do, if it is something else than the field takes.

    Args:
        path: the value of the field; None is not looked at.
        field: `init_checkpoint`, which takes a base, or `checkpoint`, which takes a run.

    Raises:
        InputError: what the block raised, or what the path is.
    """
    try:
        yield
    except InputError:
        if path is None or not Path(path).exists():
            raise
        identity = identify(path)
        advice = (_to_base if field == "init_checkpoint" else _to_run)(identity, path)
        if not advice:
            raise
        wanted = "base" if field == "init_checkpoint" else "run"
        raise InputError(f"`{field}` {path} is not a {wanted}: it is a {identity.title}; {advice}") from None


def _to_base(identity: Identity, path: str) -> str:
    """What to do with a thing that is no base; nothing if it is one."""
    if identity.kind == "model" and identity.path != Path(path):
        return f"give the model in it: `init_checkpoint` {identity.path}"
    more = {"adapter": "", "loralib": " --lora_alpha A --init_checkpoint BASE", "peft": " --init_checkpoint BASE"}
    if identity.kind not in more:
        return ""
    command = f"lora-nlg convert {path} --to merged --out DIR{more[identity.kind]}"
    return f"to train on from it: `{command}`, then `init_checkpoint` DIR"


def _to_run(identity: Identity, path: str) -> str:
    """What to do with another program's adapter; nothing for what decoding takes."""
    more = {"loralib": " --lora_alpha A --init_checkpoint BASE", "peft": " --init_checkpoint BASE"}
    if identity.kind not in more:
        return ""
    command = f"lora-nlg convert {path} --to adapter --out DIR{more[identity.kind]}"
    return f"to decode with it: `{command}`, then `checkpoint` DIR"
