"""What reads files, area by area: a small good file, how it is spoiled, the code that reads it, and its reference."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml
from fuzzing import Target, exit_status
from mutation import JSON, JSON_LINES, TEXT, XML, YAML, damaged, mixed, reworded

from lora_nlg import fetching
from lora_nlg.__main__ import main
from lora_nlg.commands.doctor import path_checks
from lora_nlg.corpora.prepare import prepare_corpus
from lora_nlg.corpora.record import read_records, write_records
from lora_nlg.corpora.release import Reading
from lora_nlg.decoding.journal import Journal
from lora_nlg.decoding.settings import Hypothesis
from lora_nlg.fetching import Checksum, connect, fetch
from lora_nlg.files import parse_json, read_json, read_jsonl, read_yaml
from lora_nlg.recipes import as_flags, load_recipe
from lora_nlg.sweep.results import read_results, write_results, write_row, write_table
from lora_nlg.training.tracking import JsonlTracker
from nlg_metrics.__main__ import main as score
from nlg_metrics.suites.suite import run as run_suite
from nlg_metrics.suites.text_files import read_any
from nlg_metrics.suites.texts import make_suite

ROOT = Path(__file__).resolve().parents[2]
CONTEXTS = [
    "name : Blue Spice | Type : pub | area : riverside",
    "name : Zizzi | food : Thai",
    "name : Gull | near : Café Adriatic",
]
TEXTS = [
    "Blue Spice is a pub in the riverside area .",
    "Zizzi serves Thai food, it's $3.50 !",
    "The Gull is near Café Adriatic .",
]
RECORDS = [
    {"id": str(i), "context": context, "references": [text, text.lower()], "category": "Food", "seen": i > 0}
    for i, (context, text) in enumerate(zip(CONTEXTS, TEXTS, strict=True))
]


def lines(*values: object) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def differ(one: object, other: object, what: str) -> str:
    """Why a result isn't the reference; NaN equals NaN."""
    return "" if repr(one) == repr(other) else f"{what}: {one!r:.200} instead of {other!r:.200}"


@contextlib.contextmanager
def json_and_yaml(folder: Path) -> Iterator[list[Target]]:
    """The readers themselves, and what reads descriptions by them."""
    value = {"a": [1, 2.5, {"b": None}], "é": "x", "deep": [[[["y"]]]], "n": 3, "flag": True}
    config = {
        "data": "nowhere.jsonl", "checkpoint": "nowhere", "beam": 5, "length_penalty": 0.8, "sample": False,
        "out": None, "eos_token_id": "628",
    }  # fmt: skip
    training = {
        "train_data": "nowhere.jsonl", "work_dir": "run", "init_checkpoint": "nowhere", "lr": 0.001, "lora_dim": 4,
        "lora_targets": "q,v", "seq_len": 64,
    }  # fmt: skip
    rows = [
        {"name": f"r{r}", "targets": "q+v", "r": r, "alpha": 16.0, "rule": "alpha/r", "dropout": 0.0, "lr": 1e-3,
         "seed": 1, "scaling": 16 / r, "diverged": False, "bleu": 0.5, "valid_loss": 2.5, "train_loss": 2.4,
         "best_loss": 2.4, "best_step": 3, "relative_update": 0.1, "update_norm": 1.0, "steps": 5}
        for r in (2, 4)
    ]  # fmt: skip
    write_row(folder, rows[0])
    (folder / "members/r4").mkdir(parents=True)
    (folder / "scripts/recipes").mkdir(parents=True)
    recipe = folder / "scripts/recipes/e2e.yaml"

    def read_one(content: bytes) -> str:
        return differ(read_json(folder / "x.json"), json.loads(content.decode("utf-8-sig")), "JSON")

    def read_lines(content: bytes) -> str:
        found = [value for _, value in read_jsonl(folder / "x.jsonl")]
        text = re.sub("\r\n?", "\n", content.decode("utf-8-sig"))
        return differ(found, [json.loads(line) for line in text.split("\n") if line.strip()], "JSON lines")

    def read_data(_: bytes) -> str:
        records = read_records(folder / "train.jsonl")
        write_records(folder / "again.jsonl", records)
        return differ(read_records(folder / "again.jsonl"), records, "records")

    def read_settings(content: bytes) -> str:
        return differ(read_yaml(folder / "x.yaml"), yaml.safe_load(content.decode("utf-8-sig")), "YAML")

    def replay(command: str, name: str):
        return lambda _: exit_status(main, [command, "--config", name])

    def sweep(_: bytes) -> str:
        results = read_results(folder)
        write_results(folder, results)
        write_table(folder, results)
        return ""

    def doctor(_: bytes) -> str:
        checks = [str(check) for check in path_checks(folder / "data", None)]
        return "" if checks else "nothing was said"

    (folder / "data").mkdir()
    yield [
        Target("JSON", folder / "x.json", json.dumps(value).encode(), JSON, read_one),
        Target("JSON lines", folder / "x.jsonl", lines(value, [1], "x"), JSON_LINES, read_lines),
        Target("JSON text", folder / "y.json", json.dumps(value).encode(), JSON,
        lambda content: differ(parse_json(content, "x"), json.loads(content.decode("utf-8-sig")), "JSON")),
        Target("records", folder / "train.jsonl", lines(*RECORDS), JSON_LINES, read_data),
        Target("YAML", folder / "x.yaml", yaml.safe_dump(value).encode(), YAML, read_settings),
        Target("decode's config", folder / "d.yaml", yaml.safe_dump(config).encode(), YAML, replay("decode", "d.yaml")),
        Target("train's config", folder / "t.yaml", yaml.safe_dump(training).encode(), YAML, replay("train", "t.yaml")),
        Target("recipe", recipe, (ROOT / "scripts/recipes/e2e.yaml").read_bytes(), YAML,
               lambda _: "" if as_flags(load_recipe("e2e", "paper", "gpt2.md")["train"]) else "no flags"),
        Target("sweep results", folder / "members/r4/member.json", json.dumps(rows[1]).encode(), JSON, sweep),
        Target("doctor's data", folder / "data/train.jsonl", lines(*RECORDS), JSON_LINES, doctor),
    ]  # fmt: skip


@contextlib.contextmanager
def flags(folder: Path) -> Iterator[list[Target]]:
    """Command lines: what stands in the file is split at blanks."""
    data, checkpoint = "--data nowhere.jsonl", "--checkpoint nowhere"
    given = {
        "train": "--train_data x.jsonl --work_dir run --init_checkpoint x --lr 0.001 --lora_dim 4 --seq_len 64 "
        "--random_seed 1 --shuffle false",
        "decode": f"{data} {checkpoint} --beam 5 --length_penalty 0.8 --threads 1 --min_length 2 --out x.jsonl",
        "generate": f"name[Gull] {checkpoint} --beam 5 --eval_len 8 --temperature 0.5 --sample true --eos_token_id 628",
        "sweep": "--train_data x --valid_data x --work_dir run --init_checkpoint x --r 2,4 --alpha 16,2r --lr 0.001 "
        "--random_seed 1,2",
        "convert": "nowhere --to merged --out merged --lora_alpha 32",
        "prepare": "e2e --raw nowhere --out out",
        "recipe": "e2e --variant paper",
        "inspect": "nowhere.safetensors",
    }

    def command(name: str):
        def read(content: bytes) -> str:
            words = content.decode("utf-8", "surrogateescape").replace("\0", "0").split()
            return "" if {"-h", "--help"} & set(words) else exit_status(main, [name, *words])

        return read

    yield [
        Target(name, folder / f"{name}.txt", text.encode(), mixed(renumbered, reworded), command(name))
        for name, text in given.items()
    ]


def renumbered(content: bytes, rng: random.Random) -> bytes:
    """A word replaced by a number or another value that flags may not expect."""
    odd = ("-1", "0", "9" * 30, "9" * 5000, "1e999", "nan", "inf", "-inf", "[" * 9000, "[" * 4000, "null", "''", "1.5",
    "é", "2147483648",
           "9007199254740993", "-9223372036854775809", "0x10", "1_000", "true", "&a", "{a: 1}", "[1,2]", "--", "-", "=",
           "a,b", ",", "q:r=1e9",
           "q:r=0", "2r", "1000000000000")  # fmt: skip
    words = content.split()
    words[rng.randrange(len(words))] = rng.choice(odd).encode()
    return b" ".join(words)


@contextlib.contextmanager
def corpora(folder: Path) -> Iterator[list[Target]]:
    """Released files; each entry of one must come out in a record or in the list of what was left out."""
    triples = [["Aarhus", "leader", "Jacob"], ["Aarhus", "country", "Denmark"]]
    table = "mr,ref\n" + "".join(
        f'"name[Gull {i}], eatType[pub], near[Café]","The Gull, {i}, is a ""pub"" ."\n' for i in range(4)
    )
    entry = "".join(
        f"<entry category='Food' eid='Id{i}' size='2'><originaltripleset><otriple>a | b | c</otriple>"
        "</originaltripleset><modifiedtripleset>"
        + "".join(f"<mtriple>{' | '.join(triple)}</mtriple>" for triple in triples)
        + f"</modifiedtripleset><lex comment='good' lid='Id1'>Aarhus, {i}, is in Denmark.</lex>"
        "<lex comment='bad'>x</lex></entry>"
        for i in range(3)
    )
    benchmark = f"<?xml version='1.0' encoding='UTF-8'?>\n<benchmark><entries>{entry}</entries></benchmark>"
    webnlg = {"entries": [{"1": {"category": "Food", "size": "2", "xml_id": "Id1",
    "lexicalisations": [{"comment": "good", "lex": "Aarhus is."}],
              "modifiedtripleset": [dict(zip(("subject", "property", "object"), triple,
              strict=True)) for triple in triples]}}] * 2}  # fmt: skip
    dart = [
        {"tripleset": triples, "subtree_was_extended": False, "annotations": [{"source": "x", "text": "Aarhus is."}]}
    ] * 3
    sources = [
        (
            "e2e",
            "text",
            "train.txt",
            "".join(f"{c}||{t}\n" for c, t in zip(CONTEXTS, TEXTS, strict=True)).encode(),
            TEXT,
        ),
        ("e2e", "csv", "trainset.csv", table.encode(), TEXT),
        ("webnlg", "xml", "train.xml", benchmark.encode(), XML),
        ("webnlg", "json", "train.json", json.dumps(webnlg).encode(), JSON),
        ("dart", "json", "train.json", json.dumps(dart).encode(), JSON),
        ("dart", "xml", "train.xml", benchmark.encode(), XML),
        ("table", "csv", "train.csv", table.encode(), TEXT),
        ("table", "json", "train.jsonl", lines(*RECORDS), JSON_LINES),
    ]

    def prepare(corpus: str, form: str, raw: Path):
        def read(_: bytes) -> str:
            out = raw / "out"
            prepared = prepare_corpus(corpus, raw, out, Reading(form=form, tokenize=corpus == "e2e"))
            split = prepared.manifest["splits"]["train"]
            if corpus == "table":  # a cell may come to list several texts, or none
                return "" if len(read_records(out / "train.jsonl")) <= split["entries"] else "more records than rows"
            records = read_records(out / "train.jsonl")
            kept = sum(len(record.references) for record in records) if corpus == "e2e" else len(records)
            reasons = split["left_out"]["reasons"].items()
            left_out = sum(count for reason, count in reasons if reason.startswith(("row", "entry")))
            return differ(kept + left_out, split["entries"], "entries kept and left out")

        return read

    targets = []
    for corpus, form, name, content, mutate in sources:
        raw = folder / f"{corpus}-{form}"
        raw.mkdir()
        targets.append(Target(f"{corpus} {form}", raw / name, content, mutate, prepare(corpus, form, raw)))
    yield targets


@contextlib.contextmanager
def scorers(folder: Path) -> Iterator[list[Target]]:
    """Every command of nlg-score; the numbers it writes are numbers."""
    plain, groups = "\n".join(TEXTS) + "\n", "\n\n".join(TEXTS) + "\n"
    predictions = lines(
        *({"id": record["id"], "hypothesis": text} for record, text in zip(RECORDS, TEXTS, strict=True))
    )
    files = {
        "refs.txt": groups.encode(),
        "hyps.txt": plain.encode(),
        "data.jsonl": lines(*RECORDS),
        "p.jsonl": predictions,
        "q.jsonl": predictions,
    }
    log = [{"kind": "train", "step": s, "loss": 3.0 - s / 9, "lr": 1e-3, "ppl": 9.0} for s in range(4)] + [
        {"kind": "valid", "step": 3, "loss": 2.0, "ppl": 7.4}
    ]
    files |= {"run/metrics.jsonl": lines(*log), "run/config.yaml": b"lr: 0.001\n", "run/p.jsonl": predictions}
    (folder / "run").mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    no_meteor = ["--meteor_data", "nowhere"]
    meteor_suite = make_suite(["meteor"])  # once: it reads 60 MB
    assert (
        score(["e2e", "--data", "data.jsonl", "--predictions", "p.jsonl", "--scores", "run/scores.json", *no_meteor])
        == 0
    )
    files["run/scores.json"] = (folder / "run/scores.json").read_bytes()
    (folder / "table.tsv").write_text(
        "MR\toutput\n" + "".join(f"{c}\t{t}\n" for c, t in zip(CONTEXTS, TEXTS, strict=True))
    )
    files["table.tsv"] = (folder / "table.tsv").read_bytes()

    def run(*arguments: str):
        def read(_: bytes) -> str:
            (folder / "out.json").unlink(missing_ok=True)
            why = exit_status(score, list(arguments))
            if why or not (folder / "out.json").exists():
                return why
            odd = [
                value for value in numbers(json.loads((folder / "out.json").read_text())) if not math.isfinite(value)
            ]
            return f"scores that are no numbers: {odd}" if odd else ""

        return read

    def meteor(_: bytes) -> str:
        segments = read_any(["refs.txt"], "hyps.txt").segments
        results = run_suite(meteor_suite, segments).results
        return "" if all(0 <= result.score.value <= 1 for result in results.values()) else f"METEOR: {results}"

    ours, written = ["--data", "data.jsonl", "--predictions", "p.jsonl", *no_meteor], ["--json", "out.json"]
    fine = ["--segment_scores", "segments.jsonl", "--scores", "scores.json", "--resamples", "5"]
    e2e, webnlg = (
        run("e2e", "refs.txt", "hyps.txt", *no_meteor, *written),
        run("webnlg", "-R", "hyps.txt", "-H", "p.txt", "-nr", "1", *no_meteor, *written),
    )
    (folder / "p.txt").write_text(plain)
    texts = run("texts", "refs.txt", "hyps.txt", "-m", "bleu,chrf++,ter,rouge_l,cider,nist", *written)
    report = run("report", "run", "--data", "data.jsonl", "--predictions", "run/p.jsonl")
    commands = [
        ("e2e references", "refs.txt", TEXT, e2e),
        ("e2e outputs", "hyps.txt", TEXT, e2e),
        ("e2e table", "table.tsv", TEXT, run("e2e", "refs.txt", "table.tsv", *no_meteor, *written)),
        ("e2e data", "data.jsonl", JSON_LINES, run("e2e", *ours, *written, *fine, "--ser", "ser.json")),
        ("e2e predictions", "p.jsonl", JSON_LINES, run("e2e", *ours, *written, "-l", "segments.tsv")),
        ("e2e perl", "hyps.txt", TEXT, run("e2e", "--perl", "refs.txt", "hyps.txt", *no_meteor)),
        ("webnlg references", "hyps.txt", TEXT, webnlg),
        ("webnlg data", "data.jsonl", JSON_LINES, run("webnlg", *ours, *written, *fine, "--sacrebleu")),
        ("webnlg predictions", "p.jsonl", JSON_LINES, run("webnlg", *ours, *written)),
        ("texts references", "refs.txt", TEXT, texts),
        ("texts outputs", "hyps.txt", TEXT, texts),
        ("METEOR", "hyps.txt", TEXT, meteor),
        ("compare", "q.jsonl", JSON_LINES, run("compare", "e2e", "p.jsonl", "q.jsonl", "--data", "data.jsonl",
        "--resamples", "5", "--trials", "5", *no_meteor, *written)),
        ("report's log", "run/metrics.jsonl", JSON_LINES, report),
        ("report's scores", "run/scores.json", JSON, report),
        ("report's outputs", "run/p.jsonl", JSON_LINES, report),
        ("published rows", "run/scores.json", JSON, run("paper_table", "e2e", "run/scores.json")),
    ]  # fmt: skip
    yield [Target(name, folder / file, files[file], mutate, read) for name, file, mutate, read in commands]


def numbers(value: object) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, float | int):
        yield float(value)


@contextlib.contextmanager
def journals(folder: Path) -> Iterator[list[Target]]:
    """What interrupted runs go on from: what is spoiled may be lost, and nothing else be found there."""
    from weights_area import snapshot_targets

    hypotheses = {
        context: [Hypothesis((5, 6, 7), -1.5, -0.5, True, text)] for context, text in zip(CONTEXTS, TEXTS, strict=True)
    }
    with Journal(folder / "p.jsonl", "fingerprint") as journal:
        for context, found in hypotheses.items():
            journal.append(context, found)
    part = folder / "p.jsonl.partial/rank-0.jsonl"
    log = [json.dumps({"kind": "train", "step": step, "loss": 3.0}) for step in range(1, 6)]

    def resume(_: bytes) -> str:
        found = Journal(folder / "p.jsonl", "fingerprint").found
        return next(
            (differ(found[c], hypotheses.get(c), f"journal's {c!r}") for c in found if found[c] != hypotheses.get(c)),
            "",
        )

    def track(content: bytes) -> str:
        tracker = JsonlTracker(folder / "metrics.jsonl", after=5)
        tracker.close()
        whole = {line for line in content.decode("utf-8", "replace").split("\n") if line in log}
        return differ(
            sorted(whole - set((folder / "metrics.jsonl").read_text().split("\n"))), [], "sound lines that were dropped"
        )

    yield [
        Target("journal", part, part.read_bytes(), mixed(damaged, reworded), resume),
        Target("metrics", folder / "metrics.jsonl", ("\n".join(log) + "\n").encode(), JSON_LINES, track),
        *snapshot_targets(folder),
    ]


@contextlib.contextmanager
def downloads(folder: Path) -> Iterator[list[Target]]:
    """A server whose answers are spoiled: what arrives under the file's name is the file."""
    content = random.Random(0).randbytes(3000)
    checksum = Checksum(hashlib.sha256(content).hexdigest())
    answers: list[bytes] = [b""]
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/file"
    silence, fetching._SILENCE = fetching._SILENCE, 0.3

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(1)
                    connection.recv(4096)
                    connection.sendall(answers[0])

    def receive(answer: bytes) -> str:
        for left in folder.glob("got*"):
            left.unlink()
        answers[0] = answer
        with connect() as client:
            fetch(client, [address], folder / "got", checksum, pause=0, largest=10_000)
        return "" if (folder / "got").read_bytes() == content else "the file isn't the one asked for"

    def ask(url: bytes) -> str:
        with connect() as client:
            fetch(client, ["http://127.0.0.1:9/" + url.decode("utf-8", "replace")], folder / "got", checksum, pause=0)
        return "a file from nowhere"

    threading.Thread(target=serve, daemon=True).start()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nContent-Type: text/plain\r\n\r\n".encode()
    more = f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" + content + b"\r\n0\r\n\r\n"

    def headed(answer: bytes, rng: random.Random) -> bytes:
        first, _, rest = answer.partition(b"\r\n\r\n")
        return mixed(damaged, reworded)(first, rng) + b"\r\n\r\n" + rest

    yield [
        Target("answer", folder / "a", head + content, mixed(damaged, headed), receive, waits=True),
        Target("redirect", folder / "b", more, mixed(headed), receive, waits=True),
        Target("chunks", folder / "c", chunked, mixed(damaged, headed), receive, waits=True),
        Target("address", folder / "d", b"corpus/file.csv?x=1#y", mixed(reworded), ask, waits=True),
    ]
    fetching._SILENCE = silence
    listening.close()
