"""`lora-nlg decode` and `generate` on a small run: files, resuming, several runs, several ranks, texts."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_nlg import __version__
from lora_nlg.__main__ import main
from lora_nlg.api.decoding import CheckpointSettings
from lora_nlg.commands.decode import split_checkpoints
from lora_nlg.corpora.record import Record, write_records
from lora_nlg.decoding import BeamSettings, Decoder, Hypothesis, decode_contexts, decode_n_best, fold_for_decoding
from lora_nlg.decoding.decoder import MOST_LOST
from lora_nlg.decoding.journal import Journal
from lora_nlg.errors import InputError
from lora_nlg.files import sha256_file
from lora_nlg.gpt2 import GPT2, GPT2Config, empty_gpt2, lora_targets
from lora_nlg.locking import locked
from lora_nlg.lora import LoRASpec, inject, lora_layers
from lora_nlg.methods import LoRA
from lora_nlg.run_folder import journal_folder, predictions_lock
from lora_nlg.tokenizers import load_tokenizer
from lora_nlg.tokenizers.sentencepiece import train_sentencepiece
from lora_nlg.weights.adapter import AdapterInfo, describe_base, describe_tokenizer, save_adapter
from lora_nlg.weights.base import base_hash, load_base, save_base
from lora_nlg.weights.run import load_run

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = ROOT / "data" / "sample" / "base"
CONTEXTS = [f"name : Red Lantern | fare : {i} crowns" for i in range(6)] + ["name : Gull", "", "name : Red Lantern"]
FLAGS = ["--eval_len", "12", "--beam", "3", "--batch_size", "2", "--n_best", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, two adapters (`one`, `two`) and data whose contexts repeat."""
    folder = tmp_path_factory.mktemp("runs")
    tokenizer = load_tokenizer(VOCABULARY)
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=tokenizer.vocab_size, n_positions=128)
    model = empty_gpt2(config)
    model.reset_parameters()
    with torch.no_grad():
        model.transformer.wte.weight.normal_(0, 0.2)
    save_base(model, folder / "base")
    specs = {"q": LoRASpec(4, 32.0), "v": LoRASpec(4, 32.0)}
    for name in ("one", "two"):
        adapted = load_base(folder / "base")
        inject(adapted, lora_targets(config, specs))
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(0, 0.2)
        info = AdapterInfo(
            method=LoRA(specs),
            base=describe_base(model, folder / "base"),
            tokenizer=describe_tokenizer(tokenizer, VOCABULARY),
        )
        save_adapter(folder / name, adapted, info)
        tokenizer.save(folder / name / "tokenizer")
    contexts = CONTEXTS + CONTEXTS[:3]
    write_records(folder / "test.jsonl", [Record(f"r{i}", context) for i, context in enumerate(contexts)])
    return folder


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_entry_has_one_line_in_order_and_equal_contexts_equal_ones(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    data = str(runs / "test.jsonl")
    assert main(["decode", "--checkpoint", str(runs / "one"), "--data", data, "--out", str(out), *FLAGS]) == 0
    lines = read(out)
    assert [line["id"] for line in lines] == [f"r{i}" for i in range(12)]
    for first, again in zip(lines[:3], lines[9:], strict=True):
        assert {**first, "id": ""} == {**again, "id": ""}
    for line in lines:
        assert [line[key] for key in ("hypothesis", "score", "tokens")] == list(line["n_best"][0].values())
        scores = [entry["score"] for entry in line["n_best"]]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True)
        assert line["hypothesis"] == line["hypothesis"].strip() and len(line["tokens"]) <= 12
    assert not journal_folder(out).exists()


def test_several_runs_are_decoded_in_turn_as_each_alone(runs: Path, tmp_path: Path) -> None:
    data = ["--data", str(runs / "test.jsonl"), *FLAGS]
    both = f"{runs / 'one'},{runs / 'two'}"
    assert main(["decode", "--checkpoint", both, "--out", str(tmp_path / "both"), *data]) == 0
    together = sorted((tmp_path / "both").glob("*.jsonl"))
    assert len(together) == 2
    for name, path in zip(("one", "two"), together, strict=True):
        alone = tmp_path / f"{name}.jsonl"
        assert main(["decode", "--checkpoint", str(runs / name), "--out", str(alone), *data]) == 0
        assert path.read_bytes() == alone.read_bytes()
    assert together[0].read_bytes() != together[1].read_bytes()


def test_an_interrupted_decode_searches_only_what_is_missing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), *FLAGS]
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert main(["decode", *flags, "--out", str(whole)]) == 0
    searched: list[int] = []
    original = Decoder.decode_penalties

    def counted(self, contexts, penalties, stop_after=99):
        for index, rankings in original(self, contexts, penalties):
            if len(searched) == stop_after:
                raise KeyboardInterrupt
            searched.append(index)
            yield index, rankings

    monkeypatch.setattr(Decoder, "decode_penalties", lambda *given: counted(*given, stop_after=4))
    assert main(["decode", *flags, "--out", str(out)]) == 130
    assert not out.exists()
    with (journal_folder(out) / "rank-0.jsonl").open("a") as file:
        file.write('["name : half a li')  # as a killed process leaves it
    searched.clear()
    monkeypatch.setattr(Decoder, "decode_penalties", counted)
    assert main(["decode", *flags, "--out", str(out)]) == 0
    assert len(searched) == len(CONTEXTS) - 4
    assert out.read_bytes() == whole.read_bytes()


def test_a_journal_of_other_settings_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with Journal(path, "first") as journal:
        journal.append("context", [Hypothesis((1,), -1.0, -1.0, True, "text")])
    assert Journal(path, "first").found == {"context": [Hypothesis((1,), -1.0, -1.0, True, "text")]}
    assert Journal(path, "second").found == {}


def test_a_decode_killed_while_it_opens_its_journal_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    with Journal(path, "print") as journal:
        journal.append("first", [Hypothesis((1,), -1.0, -1.0, True, "text")])
        journal.append("second", [Hypothesis((2,), -2.0, -2.0, True, "other")])
    found = Journal(path, "print").found
    true_dumps, calls = json.dumps, iter(range(100))

    def killed(*arguments: Any, **options: Any) -> str:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return true_dumps(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("json.dumps", killed)
        with Journal(path, "print"):
            raise KeyboardInterrupt
    assert len(found) == 2 and Journal(path, "print").found == found
    with Journal(path, "print") as journal:
        journal.append("third", [Hypothesis((3,), -3.0, -3.0, True, "third")])
    assert list(Journal(path, "print").found) == ["first", "second", "third"]


def test_further_length_penalties_get_files_as_if_decoded_alone(runs: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), *FLAGS]
    assert main(["decode", *flags, "--out", str(tmp_path / "p.jsonl"), "--more_length_penalties=-1,2"]) == 0
    for penalty, name in (("0.8", "p.jsonl"), ("-1", "p.lp-1.jsonl"), ("2", "p.lp2.jsonl")):
        alone = tmp_path / f"alone{penalty}.jsonl"
        assert main(["decode", *flags, "--length_penalty", penalty, "--out", str(alone)]) == 0
        assert (tmp_path / name).read_bytes() == alone.read_bytes()
    assert (tmp_path / "p.lp-1.jsonl").read_bytes() != (tmp_path / "p.lp2.jsonl").read_bytes()
    names = ["p", "p.lp-1", "p.lp2"]
    assert sorted(path.name for path in tmp_path.glob("p*")) == [
        f"{n}{e}" for n in names for e in (".config.json", ".jsonl")
    ]
    notes = [json.loads((tmp_path / f"{name}.config.json").read_text()) for name in names]
    assert [note["search"]["length_penalty"] for note in notes] == [0.8, -1, 2]
    assert [note["predictions"]["sha256"] for note in notes] == [sha256_file(tmp_path / f"{n}.jsonl") for n in names]


def test_how_predictions_were_made_is_noted_beside_them(runs: Path, tmp_path: Path) -> None:
    data = ["--data", str(runs / "test.jsonl"), *FLAGS]
    assert main(["decode", "--checkpoint", str(runs / "one"), "--out", str(tmp_path / "p.jsonl"), *data]) == 0
    note = json.loads((tmp_path / "p.config.json").read_text())
    assert note["version"] == f"lora-nlg {__version__}" and note["sampling"] is None
    assert note["data"] == {"path": str(runs / "test.jsonl"), "sha256": sha256_file(runs / "test.jsonl")}
    model = note["model"]
    assert model["checkpoint"] == str(runs / "one") and model["dtype"] == "float32"
    assert model["adapter_sha256"] == sha256_file(runs / "one" / "adapter.safetensors")
    assert model["method"] == "lora"
    assert model["targets"]["q"] == {"r": 4, "alpha": 32.0, "dropout": 0.0, "rule": "alpha/r", "scaling": 8.0}
    assert (note["search"]["beam"], note["search"]["eval_len"]) == (3, 12)
    assert note["search"]["end_ids"] == list(load_tokenizer(VOCABULARY).end_ids)
    # A whole model has no adapter to name; its own values are hashed.
    load_tokenizer(VOCABULARY).save(shutil.copytree(runs / "base", tmp_path / "whole"))
    sampled = ["--sample", "--random_seed", "3", "--out", str(tmp_path / "s")]
    assert main(["decode", "--checkpoint", str(tmp_path / "whole"), *data, *sampled]) == 0
    note = json.loads((tmp_path / "s.config.json").read_text())
    assert note["model"]["model_sha256"] == base_hash(load_base(runs / "base")) and "targets" not in note["model"]
    assert note["sampling"] == {"temperature": 1.0, "top_p": 1.0, "random_seed": 3}


def test_samples_depend_on_the_seed_and_not_on_the_batch(runs: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), "--eval_len", "8"]
    flags += ["--sample", "true", "--top_p", "0.9", "--n_best", "3"]
    files = {}
    for name, more in (("a", []), ("b", ["--batch_size", "3"]), ("c", ["--random_seed", "1"])):
        assert main(["decode", *flags, *more, "--out", str(tmp_path / name)]) == 0
        files[name] = (tmp_path / name).read_bytes()
    assert files["a"] == files["b"] != files["c"]


@pytest.mark.faults
def test_a_killed_process_leaves_a_journal_to_go_on_from(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    records = [Record(f"r{i}", f"name : Gull | fare : {i} crowns") for i in range(600)]
    write_records(tmp_path / "many.jsonl", records)
    command = [sys.executable, "-m", "lora_nlg", "decode", "--checkpoint", str(runs / "one")]
    command += ["--data", str(tmp_path / "many.jsonl"), "--out", str(out), "--threads", "1", "--eval_len", "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    journal = journal_folder(out) / "rank-0.jsonl"
    deadline = time.time() + 120
    while not (journal.exists() and len(journal.read_text().splitlines()) > 20) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().count(b"\n")
    assert not out.exists() and kept >= 20
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "of 600 contexts were decoded before" in done.stderr
    assert [line["id"] for line in read(out)] == [record.id for record in records]


def test_two_ranks_write_what_one_does(runs: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), *FLAGS]
    assert main(["decode", *flags, "--out", str(tmp_path / "one.jsonl")]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "lora_nlg"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "decode", *flags, "--out", str(tmp_path / "two.jsonl")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_body_computes_in_the_type_asked_for(runs: Path, tmp_path: Path, dtype: str) -> None:
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), *FLAGS]
    scores = []
    for name in ("fp32", dtype):
        assert main(["decode", *flags, "--dtype", name, "--out", str(tmp_path / f"{name}.jsonl")]) == 0
        scores.append([line["score"] for line in read(tmp_path / f"{name}.jsonl")])
    note = json.loads((tmp_path / f"{dtype}.config.json").read_text())
    assert note["model"]["dtype"] == {"bf16": "bfloat16", "fp16": "float16"}[dtype]
    assert scores[0] != scores[1] and scores[0] == pytest.approx(scores[1], abs=0.3)


def test_generate_prints_scores_and_texts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", CONTEXTS[0], "--checkpoint", str(runs / "one"), "--n_best", "3", "--eval_len", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert len(lines) == 3 and scores == sorted(scores, reverse=True)


def test_generate_reads_lines_and_the_bracket_form(runs, capsys, monkeypatch, caplog) -> None:
    """What comes through a pipe or in brackets gives what the same context gives as an argument in the trained form."""
    flags = ["--checkpoint", str(runs / "one"), "--eval_len", "8"]
    contexts = ["name : Blue Spice | Type : pub", "name : Gull"]
    alone = []
    for context in contexts:
        assert main(["generate", context, *flags]) == 0
        alone.append(capsys.readouterr().out)
    caplog.set_level("INFO")
    for given in (["-"], []):
        piped = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfname[Blue Spice], eatType[pub]\r\n\nname : Gull\n"))
        monkeypatch.setattr(sys, "stdin", piped)
        assert main(["generate", *given, *flags]) == 0
        assert capsys.readouterr().out == f"{contexts[0]}\n{alone[0]}{contexts[1]}\n{alone[1]}"
    assert "note: read as: name : Blue Spice | Type : pub" in caplog.text
    assert main(["generate", "Colour[Blue]", *flags]) == 0
    assert "taken as it stands, since it is not E2E's bracket form: unknown attribute 'Colour'" in caplog.text
    for content, message in ((b" \n", "the input is empty"), (b"\xff", "not UTF-8 text (byte 0)")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["generate", *flags]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--beam", "0"], "--beam must be at least 1"),
        (["--eval_len", "128"], "--eval_len 128 leaves no room"),
        (["--eos_token_id", "x"], "--eos_token_id"),
        (["--semantics", "t5"], "lora, hf"),
        (["--dtype", "int8"], "--dtype must be one of fp32, bf16, fp16, got int8"),
        (["--data", "nothing.jsonl"], "nothing.jsonl"),
        (["--unknown", "1"], "unknown"),
    ],
)
def test_wrong_flags_end_in_one_line(
    runs: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl")]
    assert main(["decode", *given, *flags]) != 0
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and "Traceback" not in "".join(error)


@pytest.mark.parametrize("what", ["base", "tokenizer"])
def test_the_flag_that_a_refusal_advises_works(
    what: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_base(runs / "base")
    with torch.no_grad():
        model.transformer.wte.weight[5] *= 1.01
    save_base(model, tmp_path / "base")
    train_sentencepiece([" quite another text", " and one more"] * 9, 290).save(tmp_path / "tokenizer")
    flags = {
        "base": ["--init_checkpoint", str(tmp_path / "base")],
        "tokenizer": ["--tokenizer", str(tmp_path / "tokenizer")],
    }
    # Two runs on one base: the second takes the way on which the model is used again.
    both = ["--checkpoint", f"{runs / 'one'},{runs / 'two'}", *flags[what], "--beam", "2", "--eval_len", "4"]
    decode = ["decode", *both, "--data", str(runs / "test.jsonl"), "--out", str(tmp_path / "out")]
    for command in (["generate", "name : Gull", *both], decode):
        assert main(command) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"nonetheless with --allow_other_{what}" in error
        assert main([*command, f"--allow_other_{what}"]) == 0
    convert = ["convert", str(runs / "one"), "--to", "merged", "--out", str(tmp_path / "merged"), *flags[what]]
    assert main(convert) == 1 and main([*convert, f"--allow_other_{what}"]) == 0


def adapted(runs: Path) -> GPT2:
    load_run = importlib.import_module("lora_nlg.weights.run").load_run
    model: GPT2 = load_run(runs / "one").model
    return model


def test_texts_are_cut_at_the_end_token_and_blank_lines(runs: Path) -> None:
    tokenizer = load_tokenizer(VOCABULARY)
    decoder = Decoder(fold_for_decoding(adapted(runs)), tokenizer, BeamSettings())
    assert decoder.settings.end_ids == tokenizer.end_ids
    words = tokenizer.encode(" The Gull sails.")
    assert decoder.text([*words, tokenizer.eos_id]) == "The Gull sails."
    assert decoder.text(words) == "The Gull sails."
    free = Decoder(fold_for_decoding(adapted(runs)), tokenizer, BeamSettings(end_ids=(tokenizer.eos_id,)))
    assert free.text([*words, *tokenizer.encode("\n\n more")]) == "The Gull sails."
    assert free.text([tokenizer.eos_id, *words]) == ""


def test_long_contexts_keep_their_last_tokens(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = load_tokenizer(VOCABULARY)
    decoder = Decoder(fold_for_decoding(adapted(runs)), tokenizer, BeamSettings(eval_len=8, beam=2), seq_len=20)
    long = "name : Red Lantern | fare : 3 crowns | sights : seals"
    ((_, found),) = decoder.decode([long])
    assert "1 contexts have more than 12 tokens" in caplog.text
    assert decoder.prompt(long) == [*tokenizer.encode(long), tokenizer.eos_id][-12:]
    assert found[0].tokens
    with pytest.raises(InputError, match="leaves no room"):
        Decoder(fold_for_decoding(adapted(runs)), tokenizer, BeamSettings(eval_len=8), seq_len=8)


def test_decoding_leaves_the_adapted_model_alone_and_differs_from_its_base(runs: Path) -> None:
    tokenizer = load_tokenizer(VOCABULARY)
    model = adapted(runs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = BeamSettings(eval_len=10, beam=3, n_best=2)
    best = decode_contexts(model, tokenizer, CONTEXTS, settings)
    n_best = decode_n_best(model, tokenizer, CONTEXTS, settings)
    assert [found[0] for found in n_best] == best and len(best) == len(CONTEXTS)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert decode_contexts(load_base(runs / "base"), tokenizer, CONTEXTS, settings) != best


def noted(path: Path, contexts: dict[str, str], fingerprint: str = "f") -> Path:
    """A journal of finished searches. Returns its file."""
    with Journal(path, fingerprint) as journal:
        for context, text in contexts.items():
            journal.append(context, [Hypothesis((1, 2), -1.5, -0.75, True, text)])
    return journal_folder(path) / "rank-0.jsonl"


def test_damaged_and_edited_lines_of_a_journal_are_searched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is done to a line, it costs that line alone."""
    path = tmp_path / "p.jsonl"
    whole = {"a": "first", "b": "second \u2028 \U0001f682", "c": "third"}
    file = noted(path, whole)
    sound = file.read_bytes()
    (checksum, entry), *_ = (line.split(b" ", 1) for line in sound.splitlines(keepends=True))
    for bad in (
        checksum + b" " + entry.replace(b"first", b"frist"), checksum[:-1] + b"x " + entry, entry, b"\xff\xfe\n",
        b"[" * 100_000 + b"\n", b"\n", b"{}\n", checksum + b"\n", b"",
    ):  # fmt: skip
        file.write_bytes(bad + sound.split(b"\n", 1)[1])
        caplog.clear()
        assert sorted(Journal(path, "f").found) == ["b", "c"], bad
        assert ("1 of 3 lines" in caplog.text) == bool(bad)
    file.write_bytes(sound[:-1])
    assert sorted(Journal(path, "f").found) == ["a", "b"], "torn, as a killed process leaves it"
    for i in range(0, 8 * len(sound), 41):
        flipped = bytearray(sound)
        flipped[i // 8] ^= 1 << i % 8
        file.write_bytes(flipped)
        texts = {context: found[0].text for context, found in Journal(path, "f").found.items()}
        assert len(texts) >= 1 and texts.items() <= whole.items()


def test_a_hash_is_of_what_was_decoded(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and adapter are replaced while the search runs: the record names what was read."""
    shutil.copytree(runs / "one", tmp_path / "run")
    shutil.copy(runs / "test.jsonl", tmp_path / "data.jsonl")
    adapter, data, out = tmp_path / "run/adapter.safetensors", tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    before = sha256_file(adapter), sha256_file(data)
    original = Decoder.decode_penalties

    def meddling(self, contexts, penalties):
        shutil.copy(runs / "two/adapter.safetensors", adapter)
        data.write_text('{"id": "x", "context": "y", "references": []}\n')
        yield from original(self, contexts, penalties)

    monkeypatch.setattr(Decoder, "decode_penalties", meddling)
    flags = ["--checkpoint", str(tmp_path / "run"), "--data", str(data), "--init_checkpoint", str(runs / "base")]
    assert main(["decode", *flags, "--out", str(out), *FLAGS]) == 0
    record = json.loads((tmp_path / "out.config.json").read_text())
    assert (record["model"]["adapter_sha256"], record["data"]["sha256"]) == before
    assert (sha256_file(adapter), sha256_file(data)) != before


def test_predictions_made_otherwise_are_kept(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out.jsonl"
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), "--out", str(out)]
    short = ["--eval_len", "3", "--beam"]
    assert main(["decode", *flags, *short, "2"]) == 0
    first = out.read_bytes()
    assert main(["decode", *flags, *short, "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.config.json", "out.jsonl"], "made alike"
    caplog.clear()
    assert main(["decode", *flags, *short, "3"]) == 0
    assert f"{out} was there, made otherwise (search.beam: 2 there, 3 now); it is kept as {out}.1" in caplog.text
    assert (tmp_path / "out.jsonl.1").read_bytes() == first
    assert json.loads((tmp_path / "out.config.json.1").read_text())["search"]["beam"] == 2
    (tmp_path / "out.config.json").unlink()
    out.write_text("somebody's notes")
    assert main(["decode", *flags, *short, "3"]) == 0
    assert (tmp_path / "out.jsonl.2").read_text() == "somebody's notes" and out.read_bytes() != b"somebody's notes"


def test_unfinished_outputs_are_counted(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out.jsonl"
    flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), "--out", str(out)]
    assert main(["decode", *flags, "--beam", "2", "--eval_len", "2"]) == 0
    last = {line["id"]: line["tokens"][-1] for line in read(out)}
    ends = set(load_tokenizer(VOCABULARY).end_ids)
    unfinished = sum(token not in ends for token in last.values())
    assert unfinished > 0
    assert f"12 predictions (9 distinct contexts): {out}; warning: {unfinished} of 12 outputs reached" in caplog.text


def test_what_cannot_be_written_is_refused_before_the_search(runs: Path, tmp_path: Path, capsys) -> None:
    flags = ["decode", "--data", str(runs / "test.jsonl"), "--checkpoint"]
    for more, message in (
        ([str(runs / "nowhere"), "--out", str(tmp_path)], f"--out {tmp_path} is a folder; name a file, such as"),
        ([str(runs / "nowhere"), "--sample", "--more_length_penalties", "1.0"], "--more_length_penalties can't rank"),
        ([str(runs / "one"), "--threads", "100000"], "--threads must lie in 1"),
        ([str(runs / "one"), "--min_length", "65"], "--min_length 65 leaves no end token room within --eval_len 64"),
        ([str(runs / "one"), "--min_length", str(10**20)], "--min_length 1000000000000000000"),
    ):
        assert main([*flags, *more]) == 1
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_two_decodes_into_one_file(runs: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.jsonl"
    with locked(predictions_lock(out), "it"):
        flags = ["--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), "--out", str(out), *FLAGS]
        assert main(["decode", *flags]) == 1
    assert f"--out {out} is being written by another process (process {os.getpid()} on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_predictions_go_through_a_pipe_and_a_link(runs: Path, tmp_path: Path) -> None:
    flags = ["decode", "--checkpoint", str(runs / "one"), "--data", str(runs / "test.jsonl"), *FLAGS]
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "target.jsonl")
    assert main([*flags, "--out", str(tmp_path / "link.jsonl")]) == 0
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main([*flags, "--out", str(tmp_path / "pipe")]) == 0
        assert os.read(reader, 1 << 16) == (tmp_path / "target.jsonl").read_bytes()
    finally:
        os.close(reader)
    assert (tmp_path / "link.jsonl").is_symlink() and (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "link.config.json",
        "link.jsonl",
        "pipe",
        "target.jsonl",
    ]


def test_a_runs_name_may_hold_commas(runs: Path, tmp_path: Path) -> None:
    for name in ("r=4,lr=2e-4", "a,b,c", "plain"):
        (tmp_path / name).mkdir()
    one, two, plain = (str(tmp_path / name) for name in ("r=4,lr=2e-4", "a,b,c", "plain"))
    for given in ([one], [one, two], [plain, one, plain], [plain, two], [plain, str(tmp_path / "absent"), one]):
        assert split_checkpoints(CheckpointSettings(",".join(given))) == given
    assert split_checkpoints(CheckpointSettings(f" {plain} , {one} ")) == [plain, one]
    many = [one, plain] * 100
    assert len(",".join(many)) > os.pathconf(tmp_path, "PC_PATH_MAX")
    assert split_checkpoints(CheckpointSettings(",".join(many))) == many


def test_bf16_keeps_the_adapter_apart(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is decoded depends on the adapter, though its update is too small for bf16, and the record says how."""
    caplog.set_level("INFO")
    small = tmp_path / "small"
    shutil.copytree(runs / "one", small)
    flags = ["decode", "--data", str(runs / "test.jsonl"), *FLAGS, "--dtype", "bf16"]
    assert main([*flags, "--checkpoint", str(small), "--out", str(tmp_path / "a.jsonl")]) == 0
    record = json.loads((tmp_path / "a.config.json").read_text())
    layers = lora_layers(load_run(small).model).values()
    apart = sum(layer.lost_in(torch.bfloat16) > MOST_LOST for layer in layers)
    assert record["model"].get("updates_kept_apart", 0) == apart
    assert ("LoRA kept apart in" in caplog.text) == (apart > 0)
