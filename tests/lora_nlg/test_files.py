"""Files are replaced whole or not at all, and what can't be read is named in one line."""

import json
import os
import pty
import stat
import subprocess
import sys

import pytest

from lora_nlg.corpora.record import Record, read_records, write_records
from lora_nlg.errors import InputError
from lora_nlg.files import (
    atomic_write,
    parse_json,
    read_hashed,
    read_json,
    read_json_object,
    read_jsonl,
    read_text,
    read_yaml,
    sha256_file,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "scores.json"
    write_json(target, {"BLEU": 0.7})
    with pytest.raises(RuntimeError), atomic_write(target) as file:
        file.write("half a")
        raise RuntimeError("killed while writing")
    assert read_json(target) == {"BLEU": 0.7}
    assert os.listdir(tmp_path) == ["scores.json"]


def test_written_files_are_readable_by_others(tmp_path):
    previous = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", [])
    finally:
        os.umask(previous)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


def test_sha256_of_a_known_string(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1}\n{"b": \n', "line 2 is not JSON"), (b"\xff\xfe\x00", "is not UTF-8")],
)
def test_unreadable_lines_are_named(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_jsonl(tmp_path / "x.jsonl"))


HOSTILE = [
    ("[" * 100_000, "nested more than 64 deep"),
    ('{"a":' * 65 + "1" + "}" * 65, "nested more than 64 deep"),
    ("9" * 5000, "a whole number of 5000 digits"),
    ("[18446744073709551617]", "a whole number of 20 digits"),
    ('{"text": "Zi \\ud83c"}', "half a character .the lone surrogate .ud83c"),
    ('{"\\udf7b": 1}', "half a character .the lone surrogate .udf7b"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_hostile_json_is_one_line(tmp_path, text, message):
    for name, read in (("x.json", read_json), ("x.jsonl", lambda path: list(read_jsonl(path)))):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=rf"{name}.* {message}|{name}.*\({message}") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(tmp_path))
    with pytest.raises(InputError, match=message):
        parse_json(text.encode(), "the header")


def test_what_json_may_hold_comes_out():
    deepest, pair = (
        "[" * 64 + "]" * 64,
        '["\\ud83c\\udf7b", "\\\\ud83c", 18446744073709551615, -9223372036854775808, NaN]',
    )
    assert json.dumps(parse_json(deepest, "x")) == deepest
    assert str(parse_json(pair, "x")) == str(json.loads(pair))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ("- " * 50_000, "nested more than 64 deep"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "has the anchor or alias 'a'"),
        (f"lr: '{'[' * 100_000}'", "has a value of more than 8,192 characters"),
        ('lr: "\\ud83c"', "is not YAML"),
        ("lr: [", "is not YAML"),
        ("r: " + "9" * 5000, "is not YAML"),
        ("since: 2020-13-45", "is not YAML"),
        ("run: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("a: b\n" * 300_000, "1,500,000 characters long"),
    ],
)
def test_hostile_yaml_is_one_line(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"x.yaml .*{message}") as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_an_object_is_asked_for(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(InputError, match=r"x.json must hold a JSON object, .* not list"):
        read_json_object(tmp_path / "x.json")


def test_a_device_is_not_read():
    with pytest.raises(InputError, match="/dev/zero is a device"):
        read_text("/dev/zero")


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no file .*nothing\.json"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path)


def test_records_come_back_as_they_went(tmp_path):
    records = [
        Record("1", "name : A\u2028B | Type : café", ["One .", "Zwei 🚂"], "Food", True),
        Record("2", "", [], None, None),
    ]
    assert write_records(tmp_path / "test.jsonl", records) == 2
    assert read_records(tmp_path / "test.jsonl") == records


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no record"),
        (
            [{"context": "a", "references": []}],
            'needs "id", "context" and "references" .a list.; make it with `lora-nlg',
        ),
        ([{"context": "a", "completion": "b"}], 'write its completions as {"id": "1", "context": "…", "references": '),
        ([{"id": "1", "context": "a", "references": "text"}], "list of strings"),
        ([{"id": "1", "context": 3, "references": []}], '"context" must be a string'),
        ([{"id": "1", "context": "a", "references": []}] * 2, "'1' occurs twice"),
    ],
)
def test_what_is_not_a_record_is_refused(tmp_path, lines, message):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=message):
        read_records(path)


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link, dangling = tmp_path / "elsewhere" / "real.json", tmp_path / "link.json", tmp_path / "dangling.json"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "elsewhere" / "new.json")
    for path in (link, dangling):
        write_json(path, [1])
        assert path.is_symlink() and read_json(path) == [1]
    assert read_json(target) == [1] and sorted(os.listdir(tmp_path / "elsewhere")) == ["new.json", "real.json"]
    itself = tmp_path / "itself"
    itself.symlink_to(itself)
    with pytest.raises(OSError, match="a link to itself"):
        write_json(itself, [1])
    assert itself.is_symlink()
    with pytest.raises(OSError, match="is a folder"):
        write_json(tmp_path / "elsewhere", [1])


@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_is_written_into_and_stays(tmp_path, through_link):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if through_link:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that opening it for writing doesn't wait
    try:
        write_json(path, {"BLEU": 0.7})
        assert json.loads(os.read(reader, 1000)) == {"BLEU": 0.7}
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode) and len(os.listdir(tmp_path)) == 1 + through_link


def test_a_terminal_is_written_into(tmp_path):
    ours, theirs = pty.openpty()
    try:
        (tmp_path / "terminal").symlink_to(os.ttyname(theirs))
        write_json(tmp_path / "terminal", [1])
        shown = b""
        while not shown.rstrip().endswith(b"]"):  # a terminal gives what has come so far
            shown += os.read(ours, 1000)
        assert shown.split() == [b"[", b"1", b"]"]
    finally:
        os.close(ours)
        os.close(theirs)
    assert (tmp_path / "terminal").is_symlink()


def test_standard_output_into_a_file_keeps_what_was_printed(tmp_path):
    """`command --json /dev/stdout > FILE`: one file, in order, neither replaced nor written over."""
    code = "from lora_nlg.files import write_json; print('a'); write_json('/proc/self/fd/1', 1); print('b')"
    with open(tmp_path / "out", "w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "a\n1\nb\n"


def test_a_hash_is_of_what_was_read(tmp_path):
    path = tmp_path / "data"
    path.write_text("abc")
    assert read_hashed(path, path.read_text) == ("abc", sha256_file(path))
    with pytest.raises(InputError, match="changed while it was read"):
        read_hashed(path, lambda: path.write_text("abcd"))
