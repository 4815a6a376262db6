"""`lora_nlg.train`, `load` and `generate`: docs/python.md as it stands, the same words and files as the commands."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lora_nlg
from lora_nlg.__main__ import main
from lora_nlg.commands.arguments import with_flags
from lora_nlg.corpora.record import Record, read_records
from lora_nlg.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "data/sample"
FIELDS: dict[str, Any] = {
    "init_checkpoint": SAMPLE / "base", "seq_len": 64, "max_step": 2, "warmup_step": 0, "train_batch_size": 2,
    "lora_targets": ["q", "v"], "device": "cpu", "report_to": "none",
}  # fmt: skip
NOTEBOOK = """
import asyncio, sys, types
kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: kernel)
async def cell(code):
    assert asyncio.get_running_loop().is_running() and not sys.stderr.isatty() and not sys.stdin.isatty()
    exec(compile(code, "cell", "exec"), cells)
async def cells_run():
    for code in sys.argv[1:]:
        await cell(code)
cells = {"__name__": "__main__"}
asyncio.run(cells_run())
print(cells["texts"], len(cells["losses"]), cells["run"])
"""
"""What a kernel is to the code in it: no terminal, an event loop that is running, IPython's word for it."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_records(SAMPLE / "train.jsonl")[:6]


@pytest.fixture(scope="module")
def run(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> lora_nlg.TrainedRun:
    folder = tmp_path_factory.mktemp("entry") / "run"
    return lora_nlg.train(
        train_data=records, valid_data=SAMPLE / "valid.jsonl", valid_examples=2, work_dir=folder, **FIELDS
    )


def test_the_page_runs_as_a_notebook_would_run_it(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, *blocks], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "learning_rate is `lr` here" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("5 TrainedRun('runs/notebook', finished at step 5)")
    assert "train: 100%" in done.stderr and "validation loss" in done.stderr and "generate: 100%" in done.stderr


def test_importing_it_brings_no_torch() -> None:
    code = "import sys, lora_nlg; assert 'torch' not in sys.modules; assert 'train' in dir(lora_nlg)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = lora_nlg.trian


def test_it_leaves_what_the_command_leaves(run: lora_nlg.TrainedRun, records: list[Record], tmp_path: Path) -> None:
    config = (run.folder / "config.yaml").read_text()
    data = re.search("^train_data: (.*)$", config, re.MULTILINE)
    assert data and read_records(data[1]) == records and Path(data[1]).parent == run.folder / "records"
    assert main(["train", "--config", str(run.folder / "config.yaml"), "--work_dir", str(tmp_path / "again")]) == 0
    for name in ("adapter.safetensors", "best/adapter.safetensors", "metrics.jsonl"):
        ours, theirs = ((folder / name).read_bytes() for folder in (run.folder, tmp_path / "again"))
        if name == "metrics.jsonl":
            ours, theirs = (re.sub(rb'.*"speed".*\n', b"", lines) for lines in (ours, theirs))
        assert ours == theirs
    replayed = (tmp_path / "again/config.yaml").read_text()
    assert replayed == config.replace(f"work_dir: {run.folder}", f"work_dir: {tmp_path / 'again'}")


def test_texts_are_those_of_the_command(
    run: lora_nlg.TrainedRun, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    contexts = [records[1].context, records[0].context, records[1].context]
    texts = run.generate(contexts, num_beams=2, max_new_tokens=12)
    assert len(texts) == 3 and texts[0] == texts[2] != texts[1]
    (ranked,) = lora_nlg.load(run.folder, device="cpu").hypotheses(contexts[0], beam=2, n_best=2, eval_len=12)
    flags = ["--checkpoint", str(run.folder), "--beam", "2", "--n_best", "2", "--eval_len", "12", "--device", "cpu"]
    capsys.readouterr()
    assert main(["generate", contexts[0], *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{h.score:8.4f}  {h.text}" for h in ranked]
    assert ranked[0].text == texts[0] and run.generate(contexts[0], beam=2, eval_len=12) == texts[:1]


def test_the_run_tells_how_it_went(run: lora_nlg.TrainedRun) -> None:
    assert run.outcome is not None and (run.outcome.step, run.outcome.reason) == (2, "finished")
    assert [line["step"] for line in run.metrics if line["kind"] == "train"] == [1, 2]
    assert run.outcome.best.value in [line["loss"] for line in run.metrics if line["kind"] == "valid"]


def test_the_same_call_goes_on(run: lora_nlg.TrainedRun, records: list[Record]) -> None:
    before = (run.folder / "adapter.safetensors").read_bytes()
    again = lora_nlg.train(
        train_data=[{"id": r.id, "context": r.context, "references": r.references} for r in records],
        valid_data=SAMPLE / "valid.jsonl", valid_examples=2, work_dir=run.folder, **FIELDS,
    )  # fmt: skip
    assert again.outcome == run.outcome and (run.folder / "adapter.safetensors").read_bytes() == before


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lr": "fast"}, "--lr must be a number, got fast"),
    ({"lora_dim": 4.5}, "--lora_dim must be a whole number, got 4.5"),
    ({"shuffle": "maybe"}, "--shuffle must be true or false, got maybe"),
    ({"scheduler": "linaer"}, "linear, cosine, constant, inv_sqrt, cycle, got linaer; did you mean linear?"),
    ({"lr": float("nan")}, "--lr must be a number, got nan"),
    ({"lora_dim": 10**30}, "is out of range"),
    ({"cuda_graph": "true"}, "--cuda_graph true needs a CUDA device, this is cpu; set it to auto"),
    ({"max_step": 0}, "--max_step must be at least 1, got 0"),
    ({"seq_len": -1}, "--seq_len must be at least 0, got -1"),
    ({"seq_len": 1000}, "--seq_len 1000 is more than the model's 256 positions; use --seq_len 256 or less"),
    ({"early_stop": 2}, "--early_stop needs validation records: --valid_data"),
    ({"train_data": "nowhere.jsonl"}, "--train_data: no file nowhere.jsonl; make it with `lora-nlg prepare`"),
    ({"init_checkpoint": "nowhere"}, "no base weights at nowhere"),
    ({"init": "random"}, "give the base with --init_checkpoint, or start from nothing with --init random"),
    ({"report_to": "wandbee"}, "--report_to knows no tracker 'wandbee'"),
    ({"grad_acc": 10**6}, "--grad_acc 1000000 makes more micro-batches than there are examples"),
]


@pytest.mark.parametrize(
    ("wrong", "said"), WRONG, ids=[next(iter(wrong)) + str(i) for i, (wrong, _) in enumerate(WRONG)]
)
def test_mistakes_are_said_in_the_words_of_the_command(
    wrong: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"train_data": SAMPLE / "test.jsonl", **FIELDS, "work_dir": tmp_path / "run", **wrong}
    with pytest.raises(InputError) as caught:
        lora_nlg.train(**given)
    message = str(caught.value)
    assert said in with_flags(message) and "--" not in message
    flags = {**given, "lora_targets": "q,v"}
    assert main(["train", *(f"--{name}={value}" for name, value in flags.items())]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line and not (tmp_path / "run").exists()


def call_train(**more: Any) -> Callable[[], object]:
    return lambda: lora_nlg.train(**{"train_data": "x", "work_dir": "x", "init_checkpoint": "x", **more})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (call_train(learning_rate=1), "learning_rate is `lr` here"),
        (call_train(fp16=True), "fp16 is `dtype` fp16 here"),
        (call_train(tensorboard=False), "tensorboard is `report_to` tensorboard (or none) here"),
        (call_train(lora_din=4, foo=1), "no field lora_din; did you mean `lora_dim`?; no field foo"),
        (call_train(seq_len=None), "`seq_len` must have a value"),
        (lambda: lora_nlg.train(train_data="x", init_checkpoint="x"), "fields are required: `work_dir`"),
        (call_train(train_data=[]), "`train_data` holds no record"),
        (call_train(train_data=[{"id": 1, "context": "a"}]), "`train_data`, record 1: a record needs"),
        (call_train(train_data=[Record("1", "a"), Record("1", "b")]), "id '1' occurs twice"),
        (lambda: lora_nlg.load("nowhere"), "no run at nowhere"),
        (lambda: lora_nlg.load("x", beam=2), "no field beam"),
    ],
    ids=range(11),
)
def test_what_only_python_can_get_wrong(
    call: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(said)):
        call()


def test_what_generate_refuses(run: lora_nlg.TrainedRun) -> None:
    for fields, said in [
        ({"num_beam": 2}, "no field num_beam; did you mean `beam`?"), ({"beam": 0}, "`beam` must be at least 1"),
        ({"beam": 2, "num_beams": 3}, "given twice"), ({"n_best": 2}, "`hypotheses` gives `n_best`"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=re.escape(said)):
            run.generate("a : b", **fields)
    with pytest.raises(InputError, match="at least one context"):
        run.generate([])


def test_a_notebook_is_shown_every_field_with_its_default() -> None:
    signature = inspect.signature(lora_nlg.train)
    assert signature.parameters["lr"].default == 2e-4 and signature.parameters["valid_data"].default is None
    assert signature.parameters["work_dir"].default is inspect.Parameter.empty
    assert signature.return_annotation is lora_nlg.TrainedRun
    assert list(inspect.signature(lora_nlg.load).parameters)[:2] == ["checkpoint", "init_checkpoint"]
