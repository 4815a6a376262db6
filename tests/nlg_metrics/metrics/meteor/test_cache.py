"""The index on disk: used when good; rebuilt when torn, damaged, stale or abandoned; shared by processes."""

from __future__ import annotations

import gzip
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from meteor_resources import PARAPHRASES, write_resources

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.meteor.cache import cache_folder, cached
from nlg_metrics.metrics.meteor.resources import Files

SRC = Path(__file__).resolve().parents[4] / "src"
ARRAYS = {"numbers": np.arange(1000, dtype=np.int64).reshape(10, 100), "bytes": np.frombuffer(b"abc", np.uint8)}


class Builder:
    """Counts how often it is asked to build."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return ARRAYS


def load(path: Path, source: dict[str, object] | None = None) -> int:
    """How often a load of `path` had to build; the arrays are checked."""
    builder = Builder()
    arrays = cached(path, {"from": [1, 2]} if source is None else source, builder)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    return builder.calls


def test_built_once_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.arrays"
    assert load(path) == 1
    assert load(path) == 0
    with pytest.raises(ValueError, match="read-only"):
        cached(path, {"from": [1, 2]}, Builder())["numbers"][0, 0] = 1


def test_stale_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "a.arrays"
    load(path)
    assert load(path, {"from": [1, 3]}) == 1
    assert load(path, {"from": [1, 3]}) == 0


@pytest.mark.parametrize("kept", [0, 1, 20, 30, 40, 200, 500, 4000, -1])
def test_torn_is_rebuilt(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.arrays"
    load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert load(path) == 1
    assert path.read_bytes() == whole


def test_any_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.arrays"
    load(path)
    whole = path.read_bytes()
    for position in [*range(0, 400, 7), *range(400, len(whole), 501), len(whole) - 1]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        assert load(path) == 1, position
    path.write_bytes(whole + b"\0")
    assert load(path) == 1


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> dict[str, np.ndarray]:
        raise InputError("no such words")

    with pytest.raises(InputError, match="no such words"):
        cached(tmp_path / "a.arrays", {}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrays.lock"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="NLG_METRICS_CACHE"):
        cached(tmp_path / "file" / "a.arrays", {}, Builder())


def test_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NLG_METRICS_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "nlg_metrics"
    monkeypatch.setenv("NLG_METRICS_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"


SLOW_BUILD = """
import sys, time, pathlib, numpy as np
from nlg_metrics.metrics.meteor.cache import cached
path, log, seconds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3])
def build():
    with log.open("a") as file: file.write("built\\n")
    time.sleep(seconds)
    return {"numbers": np.arange(10)}
print(cached(path, {}, build)["numbers"].sum())
"""


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_processes_at_once_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(tmp_path / "a.arrays", log, "0.5") for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["45\n"] * 3
    assert log.read_text() == "built\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrays", "a.arrays.lock", "log"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_builder_does_not_block_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(tmp_path / "a.arrays", log, "600") as process:
        deadline = time.monotonic() + 60
        while not log.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    with start(tmp_path / "a.arrays", log, "0") as process:
        assert process.communicate(timeout=60)[0] == "45\n"
    assert log.read_text() == "built\nbuilt\n"


def paraphrased(meteor: Meteor) -> bool:
    """Whether `boat` may be replaced by `ship`."""
    return bool(meteor.statistics(["boat"], [["ship"]])[0, 16])


def test_changed_resources_are_indexed_again(tmp_path: Path) -> None:
    folder = write_resources(tmp_path / "resources")
    before = Meteor(folder=folder, cache=tmp_path)
    assert not paraphrased(before)
    write_resources(folder, [*PARAPHRASES, ("boat", "ship")])
    after = Meteor(folder=folder, cache=tmp_path)
    assert paraphrased(after)
    assert before.signature() != after.signature()
    assert len(list(tmp_path.glob("*.arrays"))) == 1


def test_a_damaged_index_of_meteor_is_rebuilt(tmp_path: Path) -> None:
    folder = write_resources(tmp_path / "resources", [*PARAPHRASES, ("boat", "ship")])
    Meteor(folder=folder, cache=tmp_path)
    (index,) = tmp_path.glob("*.arrays")
    index.write_bytes(index.read_bytes()[:-100])
    assert paraphrased(Meteor(folder=folder, cache=tmp_path))


def test_absent_resources_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meteor-1\.5\.jar is not there; `pip install pycocoevalcap==1\.2`"):
        Meteor(folder=tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"METEOR needs its resources.*`pip install pycocoevalcap==1\.2`"):
        Meteor()


def test_table_beside_the_jar_is_found(tmp_path: Path) -> None:
    folder = write_resources(tmp_path)
    (folder / "data" / "paraphrase-en.gz").rename(folder / "paraphrase-en.gz")
    assert Files.find(folder).table == (folder / "paraphrase-en.gz").resolve()


def test_damaged_resources_are_refused(tmp_path: Path) -> None:
    folder = write_resources(tmp_path / "resources")
    table = folder / "data" / "paraphrase-en.gz"
    whole = table.read_bytes()
    for content, message in (
        (whole[:-10], "damaged"),
        (b"no gzip", "damaged"),
        (gzip.compress(b"0.5\nleft\n"), "records of three lines"),
        (gzip.compress(b""), "no paraphrase"),
        (gzip.compress(b"0.5\nl\xffeft\nright\n"), "damaged"),
    ):
        table.write_bytes(content)
        with pytest.raises(InputError, match=message):
            Meteor(folder=folder, cache=tmp_path)
    table.write_bytes(whole)
    (folder / "meteor-1.5.jar").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"not METEOR 1\.5's jar"):
        Meteor(folder=folder, cache=tmp_path)
    assert list(tmp_path.glob("*.arrays")) == []
