"""`convert --to hub-folder`: what the card says, that its lines run, and the upload to a stand-in of the Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import lora_nlg
from lora_nlg.__main__ import main
from lora_nlg.files import sha256_file, write_json
from lora_nlg.methods.full import Full

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "data/sample"
SIGNATURE = "BLEU|tool:e2e-metrics-p|case:lc"


class Hub(BaseHTTPRequestHandler):
    """The parts of the Hub's HTTP interface an upload uses, for two tokens: one may write, one may not.

    Files above a size go by git-lfs, in a request of their own; the others in the commit, as base64.
    """

    repositories: dict[str, dict[str, bytes]]
    stored: dict[str, bytes]
    asked: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer may-write":
            return self.answer(403, {"error": "You don't have the rights to do this"})
        if self.path == "/api/validate-yaml":
            header = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer(200, {"errors": [], "warnings": [] if header["library_name"] else [{"message": "?"}]})
        if self.path == "/api/repos/create":
            named = json.loads(body)
            name = f"{named['organization']}/{named['name']}"
            known = name in self.repositories
            self.repositories.setdefault(name, {})
            return self.answer(409 if known else 200, {"url": f"{self.url}/{name}", "error": "You already created it"})
        if match := re.fullmatch("/api/models/(.+)/preupload/main", self.path):
            modes = [
                ("lfs" if file["size"] > 20_000 else "regular", file["path"]) for file in json.loads(body)["files"]
            ]
            return self.answer(
                200, {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for mode, path in modes]}
            )
        if self.path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for entry in objects:
                entry["actions"] = {"upload": {"href": f"{self.url}/store/{entry['oid']}"}}
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if match := re.fullmatch("/api/models/(.+)/commit/main", self.path):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.repositories[match[1]][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.repositories[match[1]][value["path"]] = self.stored[value["oid"]]
            return self.answer(200, {"commitUrl": f"{self.url}/{match[1]}/commit/1a2b", "commitOid": "1a2b"})
        return self.answer(404, {"error": self.path})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.stored[oid] = content
        self.answer(200, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Hub]]]:
    handler = type("FreshHub", (Hub,), {"repositories": {}, "stored": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)  # what HF_ENDPOINT says at the start
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "may-write")
    yield url, handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the sample, with scores of its adapter as the scorer writes them."""
    folder = tmp_path_factory.mktemp("hub")
    assert main(["prepare", "sample", "--out", str(folder / "data")]) == 0
    lora_nlg.train(
        train_data=folder / "data/train.jsonl", init_checkpoint=SAMPLE / "base", work_dir=folder / "run", seq_len=64,
        max_step=2, warmup_step=0, lora_alpha=32, device="cpu", report_to="none",
    )  # fmt: skip
    adapter = sha256_file(folder / "run/adapter.safetensors")
    search = {"beam": 2, "length_penalty": 0.9, "no_repeat_ngram_size": 3, "eval_len": 12, "min_length": 0}
    score = {"name": "BLEU", "value": 0.712345678, "parts": {}, "signature": SIGNATURE, "interval": [0.69, 0.73]}
    write_json(
        folder / "run/scores.json",
        {
            "tool": "e2e", "version": "1", "segments": {"unit": "contexts", "count": 120},
            "decoding": {"data": {"path": "x/test.jsonl"}, "model": {"adapter_sha256": adapter}, "search": search},
            "bootstrap": {"resamples": 1000, "seed": 0, "level": 0.9}, "scores": {"BLEU": score}, "subsets": {},
        },
    )  # fmt: skip
    return folder / "run"


def header_of(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---")[1]))


def test_the_card_says_what_the_run_is(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "e2e-lora"
    assert main(["convert", str(run), "--to", "hub-folder", "--out", str(out), "--base_name", "ORG/my-gpt2"]) == 0
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "ORG/my-gpt2"
    card = (out / "README.md").read_text()
    header = header_of(card)
    assert (header["base_model"], header["library_name"]) == ("ORG/my-gpt2", "peft")
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "bleu", "value": 0.712346, "name": "BLEU"}]
    assert result["dataset"]["split"] == "test"
    assert "| BLEU | 0.7123 | 0.6900 … 0.7300 | `BLEU\\|tool:e2e-metrics-p\\|case:lc` |" in card
    assert "| metric | score | 90% interval |" in card and "On 120 contexts of test; decoded with beam 2" in card
    assert "| q | 4 | 32 | 8 | 0 |" in card and "lr: 0.0002" in card and "MIT licence" in card
    assert "3,600 texts for 1,200 meaning representations" in card
    assert str(run.parent) not in card, "nothing of this machine"


@pytest.mark.parametrize(
    ("corpus", "licence"), [("e2e", "cc-by-sa-4.0"), ("webnlg", "cc-by-nc-sa-4.0"), ("dart", "mit")]
)
def test_a_corpus_comes_with_its_licence(corpus: str, licence: str) -> None:
    from lora_nlg.corpora.repositories import REPOSITORIES
    from lora_nlg.hub.card import CardFacts, model_card
    from lora_nlg.hub.record import RunRecord

    facts = CardFacts("ORG/x", "openai-community/gpt2", True, Full(), 5, True, (50256, 628))
    card = model_card(facts, RunRecord(corpus=corpus))
    header = header_of(card)
    assert header["license"] == licence and header["datasets"][0].rpartition("/")[2] in ("e2e_nlg", "web_nlg", "dart")
    assert REPOSITORIES[corpus].licence in card and REPOSITORIES[corpus].page in card
    own = model_card(facts, RunRecord(corpus="mine"))
    assert "license" not in header_of(own) and "Its licence isn't recorded" in own and "## Scores" not in own


@pytest.mark.parametrize("with_base", [False, True], ids=["adapter", "merged"])
def test_the_lines_of_the_card_load_it_and_write_the_text(
    with_base: bool, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("peft", reason="needs peft")
    out = tmp_path / "mine"
    assert main(["convert", str(run), "--to", "hub-folder", "--out", str(out), f"--with_base={with_base}"]) == 0
    assert (out / "model.safetensors").exists() is with_base is not (out / "adapter_config.json").exists()
    lines = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    context = json.loads((SAMPLE / "train.jsonl").read_text().splitlines()[0])["context"]
    assert lines and context in lines[1]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(lines[1], "README.md", "exec"), {})
    search = {"beam": 2, "length_penalty": 0.9, "no_repeat_ngram_size": 3, "eval_len": 12}
    (ours,) = lora_nlg.load(run, device="cpu").generate(context, semantics="hf", early_stopping=False, **search)
    assert capsys.readouterr().out.strip() == ours != ""


def test_scores_of_another_adapter_stay_out(run: Path, tmp_path: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    other = json.loads((run / "scores.json").read_text())
    other["decoding"]["model"]["adapter_sha256"] = "0" * 64
    write_json(run / "scores.json", other)
    try:
        out = ["--to", "hub-folder", "--out", str(tmp_path / "out"), "--with_base"]
        assert main(["convert", str(run), *out]) == 0
    finally:
        write_json(run / "scores.json", scores)
    assert "## Scores" not in (tmp_path / "out/README.md").read_text()


def test_push_uploads_the_folder(
    run: Path, tmp_path: Path, hub: tuple[str, type[Hub]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, server = hub
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("not for the Hub")
    command = ["convert", str(run), "--to", "hub-folder", "--out", str(out), "--base_name", "ORG/my-gpt2"]
    for _ in range(2):  # the second time the repository is there
        assert main([*command, "--push", "ORG/e2e-lora"]) == 0
        assert f"uploaded: {url}/ORG/e2e-lora/commit/1a2b" in capsys.readouterr().out
    files = server.repositories["ORG/e2e-lora"]
    assert files == {path.name: path.read_bytes() for path in out.iterdir() if path.name != "notes.txt"}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= files.keys()
    assert "from_pretrained('ORG/e2e-lora')" in files["README.md"].decode()
    assert "/api/validate-yaml" in server.asked and "/ORG/e2e-lora.git/info/lfs/objects/batch" in server.asked


def test_the_endpoint_is_the_environments(tmp_path: Path, hub: tuple[str, type[Hub]]) -> None:
    url, server = hub
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n")
    code = "import sys; from lora_nlg.hub.push import push_folder; print(push_folder(*sys.argv[1:3], ['README.md']))"
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "ORG/x"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{url}/ORG/x/commit/1a2b" and set(server.repositories["ORG/x"]) == {"README.md"}


def test_what_push_needs_is_said_before_any_work(
    run: Path, tmp_path: Path, hub: tuple[str, type[Hub]], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refused(*flags: str) -> str:
        assert main(["convert", str(run), "--out", str(tmp_path / "out"), *flags]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.splitlines()[-1]

    to_hub = ["--to", "hub-folder", "--push"]
    assert "--push must be ORG/NAME, got 'e2e'" in refused(*to_hub, "e2e")
    assert "--push and --base_name are for --to hub-folder, not peft" in refused("--to", "peft", "--push", "ORG/x")
    said = refused(*to_hub, "ORG/x")
    assert "has no known name on the Hub" in said and "give --base_name, or --with_base to push the merged" in said
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert "--push ORG/x needs a token of the Hub: log in with `hf auth login`, or set HF_TOKEN" in refused(
        *to_hub, "ORG/x"
    )
    assert hub[1].asked == []


def test_a_refusal_of_the_hub_is_one_line(
    tmp_path: Path, hub: tuple[str, type[Hub]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_nlg.errors import InputError
    from lora_nlg.hub.push import push_folder

    monkeypatch.setenv("HF_TOKEN", "may-read")
    with pytest.raises(InputError, match=r"didn't take ORG/x: .*; may the token write there\?$"):
        push_folder(tmp_path, "ORG/x", ["README.md"])
