"""`lora-nlg` that starts in milliseconds, for scripts that call it often: a process that has imported everything forks.

What a script finds on its path is a client, which hands over its words, folder, environment and streams and ends as the
fork does. What is read while importing (LORA_NLG_METHODS, OMP_NUM_THREADS) is the server's.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"
LATER = ("torch.utils.tensorboard", "torch._dynamo")
"""What commands import only when they need it; torch's first optimiser imports torch._dynamo."""
CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"+"], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(9) or 99))
"""


@contextmanager
def forked_commands() -> Iterator[Path]:
    """A folder with a `lora-nlg` to put first on PATH, while its server runs."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's address must be short
        address, client = f"{folder}/socket", Path(folder, "lora-nlg")
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        client.chmod(0o755)
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, __file__, address]
        with subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield client.parent


def serve(address: str) -> None:
    """Fork for every client, until whoever started this closes its standard input or ends."""
    from lora_nlg.__main__ import COMMANDS

    for name in [*(f"lora_nlg.commands.{command.replace('-', '_')}" for command in COMMANDS), *LATER]:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            client, _ = listening.accept()
            if os.fork() == 0:
                try:
                    listening.close()
                    status = _run(client)
                    client.sendall(str(status).encode())
                finally:
                    os._exit(0)
            client.close()
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)


def _run(client: socket.socket) -> int:
    """A client's command, as `python -m lora_nlg` would end."""
    from lora_nlg.__main__ import main

    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    with client.makefile("rb") as sent:
        words, folder, environment = json.loads(sent.read())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
