"""The download against a hub of our own on this machine: checksums, resuming, refusals. Real HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.weights import base_hash, load_base
from lora_nlg.weights.download import FILES, download_gpt2

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """The part of the hub's HTTP interface that a download uses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.served: dict[str, int] = {}
        self.corrupt = ""
        self.cut = ""
        self.ranges = True


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:  # the client also asks for things this hub doesn't have
        if self.path.startswith("/api/models/"):
            siblings = [{"rfilename": name, **self.checksum(name)} for name in FILES]
            self.send(json.dumps({"id": "x/y", "sha": COMMIT, "siblings": siblings}).encode(), "api")
            return
        name = self.path.rpartition("/")[2]
        if name not in FILES:
            self.send_error(404)
            return
        content = (self.server.folder / name).read_bytes()
        if name == self.server.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send(content, name)

    def checksum(self, name: str) -> dict:
        content = (self.server.folder / name).read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if name != "model.safetensors":
            return {"blobId": blob, "size": len(content)}
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
        return {"blobId": blob, "size": len(content), "lfs": lfs}

    def send(self, content: bytes, name: str) -> None:
        start = 0
        if self.server.ranges and (unit := self.headers.get("Range", "")):
            start = int(unit.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:]
        if name == self.server.cut:
            body = body[: len(body) // 2]
            self.server.cut = ""
            self.close_connection = True
        # Counted before it is sent: the client, once it has it, may have the count reset.
        self.server.served[name] = self.server.served.get(name, 0) + len(body)
        self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "model.safetensors").write_bytes(os.urandom(300_000))
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{hub.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(card: str = "sm") -> None:
        download_gpt2(card, tmp_path / "out")

    return run


NOT_A_MODEL = "config.json describes no model, not gpt2"
"""What the strict loader says of the bytes this hub serves: the right checksum alone is not enough."""


def test_a_damaged_file_is_refused_and_fetched_again(hub: Hub, fetch, tmp_path: Path, caplog) -> None:
    out = tmp_path / "out"
    hub.corrupt = "merges.txt"
    with pytest.raises(InputError, match=r"merges\.txt: .*the file there has git .*set HF_ENDPOINT to a mirror"):
        fetch()
    assert not list(out.glob("merges.txt*"))
    hub.corrupt = ""
    with caplog.at_level("INFO"), pytest.raises(InputError, match=NOT_A_MODEL):
        fetch()
    assert f"{out / 'config.json'} is there already, checksum right" in caplog.text
    assert (out / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(InputError, match=NOT_A_MODEL):
        fetch()
    assert (out / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()


def test_an_interrupted_download_continues(hub: Hub, fetch, tmp_path: Path) -> None:
    """A quarter of the weights is there from a run that was stopped; the next run asks for the rest alone."""
    out, size = tmp_path / "out", 300_000
    out.mkdir()
    (out / "model.safetensors.part").write_bytes((hub.folder / "model.safetensors").read_bytes()[: size // 4])
    with pytest.raises(InputError, match=NOT_A_MODEL):
        fetch()
    assert (out / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert hub.served["model.safetensors"] == size - size // 4
    assert not list(out.glob("*.part"))


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, fetch, tmp_path: Path) -> None:
    """Half of the weights arrive, the connection breaks: the same run asks for the rest alone."""
    hub.cut = "model.safetensors"
    with pytest.raises(InputError, match=NOT_A_MODEL):
        fetch()
    weights = (hub.folder / "model.safetensors").read_bytes()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    assert hub.served["model.safetensors"] == len(weights)


@pytest.mark.parametrize("length", [300_000, 400_000])
def test_a_part_of_something_else(hub: Hub, fetch, tmp_path: Path, length: int) -> None:
    """A part as long as the file or longer, of another file: begun anew, never taken."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors.part").write_bytes(b"x" * length)
    hub.ranges = length <= 300_000  # with the longer part: a hub that ignores ranges
    with pytest.raises(InputError, match=NOT_A_MODEL):
        fetch()
    assert (out / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()


def test_a_real_base_arrives_whole(hub: Hub, fetch, tmp_path: Path, base_folder: Path, monkeypatch) -> None:
    from lora_nlg.weights import base as module

    for name in ("config.json", "model.safetensors"):
        shutil.copy(base_folder / name, hub.folder / name)
    monkeypatch.setattr(module, "named_config", lambda *_, **__: load_base(base_folder).config)
    fetch()
    assert base_hash(load_base(tmp_path / "out")) == base_hash(load_base(base_folder))
    record = json.loads((tmp_path / "out" / "download.json").read_text())
    assert record["commit"] == COMMIT and record["files"]["model.safetensors"]["sha256"]


def test_no_connection_and_no_such_model(fetch, tmp_path: Path, capsys, monkeypatch) -> None:
    assert main(["download-gpt2", "huge", "--out", str(tmp_path)]) == 1
    assert "no released GPT-2 'gpt2.huge'; choose from gpt2.sm" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert main(["download-gpt2", "sm", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "can't reach openai-community/gpt2" in error and "copy config.json, vocab.json" in error
