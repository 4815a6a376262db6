"""Downloads rehearsed against a local HTTP server: good, resumed, truncated, corrupted, missing and flaky files."""

import contextlib
import hashlib
import http.server
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_nlg import fetching
from lora_nlg.__main__ import main
from lora_nlg.corpora.download import download_corpus, instead_of
from lora_nlg.corpora.prepare import READ, prepare_corpus
from lora_nlg.corpora.repositories import REPOSITORIES, Repository
from lora_nlg.errors import InputError
from lora_nlg.fetching import Checksum, connect, fetch

ROOT = Path(__file__).resolve().parents[3]
CONTENT = random.Random(1).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `behaviour[path]` is a list of faults, one used up a request, then the file is served well."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, list[str]] = {}
        self.seen: list[tuple[str, str | None, int]] = []  # path, Range, bytes sent
        self.folder: Path | None = None
        self.delay = 0.0

    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about; nothing to print."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, path):
        if self.folder is not None:
            file = self.folder / path.lstrip("/")
            return file.read_bytes() if file.is_file() else None
        return self.files.get(path)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        time.sleep(server.delay)
        content, asked = server.content(self.path), self.headers.get("Range")
        faults = server.behaviour.get(self.path, [])
        fault = faults.pop(0) if faults else ""
        if fault.isdigit():
            return self.send_error(int(fault))
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and fault != "no range" else 0
        if fault == "wrong place":
            start //= 2
        if start >= len(content):
            return self.send_error(416)
        if fault == "corrupted":
            content = content[:-1] + bytes([content[-1] ^ 1])
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body[: len(body) // 2] if fault == "truncated" else b"" if fault == "nothing" else body
        self.wfile.write(sent)
        server.seen.append((self.path, asked, len(sent)))
        return None


@pytest.fixture
def server():
    running = Server()
    running.files["/file"] = CONTENT
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def get(server, path, *names):
    with connect() as client:
        return fetch(client, [f"{server.url}/{name}" for name in names or ["file"]], path, Checksum(DIGEST), pause=0.01)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_good_file(server, tmp_path):
    assert get(server, tmp_path / "a/file") == 0
    assert (tmp_path / "a/file").read_bytes() == CONTENT
    assert names_in(tmp_path / "a") == ["file"]
    assert server.seen == [("/file", None, 300_000)]


def test_a_truncated_file_is_continued_where_it_stopped(server, tmp_path):
    server.behaviour["/file"] = ["truncated", "truncated"]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.seen == [
        ("/file", None, 150_000),
        ("/file", "bytes=150000-", 75_000),
        ("/file", "bytes=225000-", 75_000),
    ]


def test_a_part_of_an_earlier_run_is_continued(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:100_000])
    get(server, tmp_path / "file")
    assert server.seen == [("/file", "bytes=100000-", 200_000)]
    assert names_in(tmp_path) == ["file"]


def test_a_complete_part_needs_no_byte(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    get(server, tmp_path / "file")
    assert server.seen == []  # the only request was answered 416
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"another file", CONTENT[:99_999] + b"!", CONTENT + b"more"])
def test_a_damaged_part_is_started_again(server, tmp_path, part):
    (tmp_path / "file.part").write_bytes(part)
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.behaviour["/file"] = ["truncated", "no range"]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [sent for _, _, sent in server.seen] == [150_000, 300_000]


def test_a_server_that_continues_elsewhere_is_not_believed(server, tmp_path):
    server.behaviour["/file"] = ["truncated", "wrong place"]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["503", "500", "429", "nothing"])
def test_a_passing_fault_is_tried_again(server, tmp_path, fault):
    server.behaviour["/file"] = [fault, fault]
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (["corrupted"], f"not {DIGEST[:12]}…"),
        (["404"], "HTTP 404"),
        (["403"], "HTTP 403"),
        (["503"] * 4, "HTTP 503 Service Unavailable (4 tries)"),
        (["nothing"] * 4, "(received 0 bytes, expected 300000) (4 tries)"),
    ],
)
def test_a_lasting_fault_is_one_line_and_leaves_no_file(server, tmp_path, faults, said):
    server.behaviour["/file"] = faults
    with pytest.raises(InputError) as error:
        get(server, tmp_path / "file")
    message = str(error.value)
    assert said in message and f"{server.url}/file" in message and "DATA_URL" in message
    assert "\n" not in message
    assert not (tmp_path / "file").exists()


def test_a_corrupted_file_is_not_continued(server, tmp_path):
    server.behaviour["/file"] = ["corrupted"]
    with pytest.raises(InputError):
        get(server, tmp_path / "file")
    get(server, tmp_path / "file")
    assert server.seen[-1] == ("/file", None, 300_000)


def test_the_next_address_is_asked(server, tmp_path):
    server.files["/old"] = b"an earlier state of the file"
    assert get(server, tmp_path / "file", "absent", "old", "file") == 2
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_server_and_no_http(tmp_path):
    with connect() as client:
        with pytest.raises(InputError, match="Connection refused"):
            fetch(client, ["http://127.0.0.1:9/file"], tmp_path / "file", Checksum(DIGEST), pause=0)
        with pytest.raises(InputError, match="not an http or https address"):
            fetch(client, ["file:///etc/hostname"], tmp_path / "file", Checksum(DIGEST))


def test_a_silent_server_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_SILENCE", 0.05)
    server.delay = 0.3
    with pytest.raises(InputError, match="timed out"):
        get(server, tmp_path / "file")


@contextlib.contextmanager
def raw_server(head: bytes, drip: bytes = b"", then: bytes = b""):
    """Answers each request with `head`, then a byte of `drip` every 20 ms for ever, or `then` without an end."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(head)
            while (drip or then) and not over.is_set():
                connection.sendall(drip or then)
                over.wait(0.02 if drip else 0)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"
    over.set()
    listening.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (OK + b"\r\n", b"x"),
        (OK + b"Content-Length: 300000\r\n\r\n", b"x"),
        (OK + b"X: ", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"", b"H"),
    ],
)
def test_a_server_that_drips_is_given_up(tmp_path, monkeypatch, head, drip):
    monkeypatch.setattr(fetching, "_SILENCE", 0.2)
    with raw_server(head, drip) as address, connect() as client, pytest.raises(InputError) as error:
        fetch(client, [address], tmp_path / "file", Checksum(DIGEST), pause=0)
    assert "fewer than 1,024 bytes a second" in str(error.value) or "illegal" in str(error.value)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"Content-Length: 99999999999\r\n\r\n"])
def test_a_file_without_end_is_given_up(tmp_path, head):
    too_much = pytest.raises(InputError, match="more than the 500,000 bytes the file may have")
    with raw_server(head, then=b"x" * 65536) as address, connect() as client, too_much:
        fetch(client, [address], tmp_path / "file", Checksum(DIGEST), pause=0, largest=500_000)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: \xb2\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\n\r\nno gzip",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /file\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes x\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ],
)
def test_an_odd_answer_is_one_line(tmp_path, head):
    with raw_server(head) as address, connect() as client, pytest.raises(InputError, match="could not fetch") as error:
        fetch(client, [address], tmp_path / "file", Checksum(DIGEST), pause=0)
    assert "\n" not in str(error.value) and names_in(tmp_path) in ([], ["file.part"])


@pytest.mark.parametrize(
    "address", ["http://", "http://[::1/", "http://a b/", "http://x:99999/", "http://\x00/", "http://é" + "a" * 70]
)
def test_an_odd_address_is_one_line(tmp_path, address):
    with connect() as client, pytest.raises(InputError) as error:
        fetch(client, [address], tmp_path / "file", Checksum(DIGEST), pause=0)
    assert "\n" not in str(error.value)


@dataclass(frozen=True)
class SmallRepository(Repository):
    """A corpus of two small files on a local server."""

    def checksums(self):
        return {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.txt", "deep/b.txt")}


@pytest.fixture
def small(server):
    for state, names in (("pinned", ["a.txt"]), ("main", ["a.txt", "deep/b.txt"])):
        server.files |= {f"/{state}/{name}": name.encode() for name in names}
    server.files |= {f"/mirror/small/{name}": name.encode() for name in ("a.txt", "deep/b.txt")}
    return SmallRepository(
        "small", "page", f"{server.url}/{{revision}}/{{file}}", "pinned", "main", "licence", "prepare"
    )


def test_a_corpus_from_its_home(server, small, tmp_path):
    fetched = download_corpus(small, tmp_path, pause=0)
    assert (fetched.downloaded, fetched.present, fetched.from_later_address) == (2, 0, ["deep/b.txt"])
    assert (tmp_path / "deep/b.txt").read_text() == "deep/b.txt"
    requests = len(server.seen)
    again = download_corpus(small, tmp_path, pause=0)
    assert (again.downloaded, again.present) == (0, 2)
    assert len(server.seen) == requests


def test_a_missing_file_does_not_keep_the_others(server, small, tmp_path):
    del server.files["/pinned/a.txt"], server.files["/main/a.txt"]
    fetched = download_corpus(small, tmp_path, pause=0)
    assert (fetched.downloaded, fetched.present) == (1, 0) and (tmp_path / "deep/b.txt").is_file()
    assert list(fetched.missing) == ["a.txt"] and "HTTP 404 Not Found; " in fetched.missing["a.txt"]


def test_what_prepare_reads_instead():
    e2e = READ["e2e"].places
    assert instead_of("devset.csv", e2e) == "valid from valid.txt or devel-fixed.no-ol.csv or validation.csv"
    assert instead_of("dev/1triples/x.xml", READ["webnlg"].places) == "valid from dev.xml or dev.json"
    others = "test from test.txt or testset_w_refs.csv or test-fixed.csv or test.csv"
    assert instead_of("testset.csv", e2e) == others
    assert instead_of("README", e2e) == ""


def test_a_corpus_from_a_mirror(server, small, tmp_path):
    fetched = download_corpus(small, tmp_path, f"{server.url}/mirror/", pause=0)
    assert fetched.downloaded == 2
    assert {path for path, _, _ in server.seen} == {"/mirror/small/a.txt", "/mirror/small/deep/b.txt"}


def test_a_file_of_ones_own_is_not_replaced_unasked(small, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(InputError, match=r"a\.txt is there but is not the released file.*set `overwrite`"):
        download_corpus(small, tmp_path, pause=0)
    assert (tmp_path / "a.txt").read_text() == "mine"
    download_corpus(small, tmp_path, overwrite=True, pause=0)
    assert (tmp_path / "a.txt").read_text() == "a.txt"


@pytest.mark.parametrize("corpus", REPOSITORIES)
def test_the_homes(corpus, shared_data):
    """Pinned commits, checksums of the real files, and a folder that `prepare` can read."""
    repository = REPOSITORIES[corpus]
    assert len(repository.revision) == 40
    checksums = repository.checksums()
    assert all(len(digest) == 64 for digest in checksums.values())
    present = [file for file in checksums if (shared_data / corpus / file).is_file()]
    # The train files of E2E (CSV) and DART are the only ones not at hand here.
    assert set(checksums) - set(present) <= {"trainset.csv", "dart-v1.1.1-full-train.json"}
    for file in present:
        assert hashlib.sha256((shared_data / corpus / file).read_bytes()).hexdigest() == checksums[file]
    first, second = repository.addresses(present[0])
    assert repository.revision in first and f"/{repository.branch}/" in second


def command(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-m", "lora_nlg", "download-data", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell starts its background jobs with Ctrl-C ignored, and children inherit that: tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_interrupted_and_run_again_on_the_real_corpus(server, shared_data, tmp_path):
    server.folder, server.delay = shared_data, 0.02
    arguments = ("webnlg", "--out", str(tmp_path / "raw"), "--mirror", server.url)
    process = command(*arguments)
    deadline = time.monotonic() + 60
    while len(server.seen) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    early = sum(path.suffix == ".xml" for path in (tmp_path / "raw").rglob("*"))
    assert 0 < early < 107

    server.delay = 0.0
    process = command(*arguments)
    shown, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "licence: CC BY-NC-SA 4.0" in shown
    assert f"{107 - early} files downloaded, {early} already there; all checksums right" in shown
    manifest = prepare_corpus("webnlg", tmp_path / "raw", tmp_path / "out").manifest
    assert [manifest["splits"][split]["entries"] for split in ("train", "valid", "test")] == [6940, 872, 1862]


def test_the_script_passes_the_mirror_on(server, shared_data, tmp_path):
    """DATA_URL, RAW and the corpus go from the script to the command; DART's train file is not on this mirror."""
    server.folder = shared_data
    shim = tmp_path / "bin/lora-nlg"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lora_nlg "$@"\n')
    shim.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "DATA_URL": server.url,
        "RAW": str(tmp_path / "raw"),
    }
    script = str(ROOT / "scripts/download_data.sh")
    done = subprocess.run(["bash", script, "dart"], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert f"{server.url}/dart/dart-v1.1.1-full-train.json: HTTP 404" in line
    assert "also reads train from train.json or dart-v1.1.1-full-train.xml or train.xml" in line
    assert names_in(tmp_path / "raw") == [
        "dart-v1.1.1-full-dev.json",
        "dart-v1.1.1-full-test.xml",
    ]  # fetched all the same
    assert "Traceback" not in done.stderr
    without = subprocess.run(["bash", script], capture_output=True, text=True, env=environment, timeout=60)
    assert without.returncode != 0
    assert "usage: scripts/download_data.sh e2e|webnlg|dart" in without.stderr


def test_a_corpus_that_has_no_home(capsys):
    with contextlib.suppress(SystemExit):
        assert main(["download-data", "sample", "--out", "x"]) == 1
    assert "webnlg" in capsys.readouterr().err
