"""One process at a time in a folder, or at a file: a lock that names its owner and dies with it.

An advisory lock of the system (flock) on a small file that says who holds it. The system lets go of it when the
process ends, however it ends. On NFS, Linux passes it on to the server, so it holds between machines where the server
keeps locks; where it doesn't, that is said and the work goes on without.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from lora_nlg.errors import InputError

log = logging.getLogger(__name__)
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Held(InputError):
    """Another process holds the lock."""


@contextmanager
def locked(path: str | Path, what: str) -> Iterator[None]:
    """Hold a lock for the length of a block.

    Args:
        path: the lock's file, removed at the end; its folder is made if absent.
        what: is being written, for messages, e.g. "`work_dir` runs/e2e".

    Raises:
        Held: another process holds it; the message says which.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _lock(path, what)
    try:
        yield
    finally:
        # Removed while it is held, so that nobody's else is.
        path.unlink(missing_ok=True)
        os.close(file)


def _lock(path: Path, what: str) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 200).decode("utf-8", "replace").strip()
            os.close(file)
            raise Held(
                f"{what} is being written by another process ({owner or 'just begun'}); wait for it, stop it, or write "
                "elsewhere"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(file)
                raise
            log.warning("warning: %s can't be locked here (%s): don't start it twice", what, error.strerror)
        if _is_at(file, path):
            break
        os.close(file)  # its owner removed it between the opening and the locking
    os.ftruncate(file, 0)
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode())
    return file


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
