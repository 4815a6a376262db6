"""Damage and malice: from a good file, by a seeded generator, one that something or somebody has spoiled.

Each kind of file has its own ways to go wrong beside the bytes' (flipped, cut, repeated, another encoding): values of
other types in JSON, tags and encodings in XML, text that some algorithms take the square of its length for.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

Mutator = Callable[[bytes, random.Random], bytes]

MARK = "@@"
"""Stands in a JSON value for text that `json` wouldn't write."""
RAW_JSON = (
    "[" * 100_000, '{"a":' * 2000 + "1" + "}" * 2000, "[" * 500 + "]" * 500, "9" * 5000, "-" + "9" * 400, "1e999",
    "-1e999",
    "NaN", "Infinity", "-0", "0.1e-400", '"\\ud83c"', '"\\u0000"', '"\\ud83c\\udf7b"', "tru", "'x'", "01", '"\t"', "",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 257, 0.5, -0.0, 1e-300, 1e300, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, "",
    " ", "no", "yes",
    "1", "0", "-1", "NaN", "x" * 50_000, "\0", "\x1b[31m", "\n", "\u2028", "\ufeff", "é", "e\u0301" * 50, "👩\u200d🚀",
    "../x",
    "a/b", ".", "%s%n{0}", [], [[]], {}, {"": {}}, [None], [1, "2", 3.0], ["a", "b"], {"a": "b"}, {"r": 4}, [[[[[]]]]],
)  # fmt: skip
BAIT = (
    "a.1." * 5000, "a" + "!" * 20_000, " " * 20_000, "\t " * 10_000, "A B " * 2000, "a " * 5000, "a b c d " * 1500,
    "-" * 20_000,
    "U.S." * 3000, "'" * 10_000, "''`" * 5000, "(" * 5000, "<a>" * 3000, "&amp;" * 3000, "&" * 10_000, "1,000." * 3000,
    "é" * 10_000, "\u0301" * 5000, "ab" * 10_000, "x" * 50_000, "[a] " * 3000, "name[" * 3000, "a : b | " * 2000,
    "a || b" * 2000,
    '"' * 5001, '"",' * 4000, "a\r" * 3000, "... " * 3000, "$1.00 " * 2000, "can't " * 2000, "http://" * 2000,
    "a-b-" * 3000,
)  # fmt: skip
SCRAPS = (
    "\0", "\r", "\r\n", "\n\n", "\t", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\ufeff", "\u202e", "\u200b", "�",
    "\x7f", "<|endoftext|>",
    "||", " | ", " : ", "[", "]", ",", '"', "'", "\\", "{", "}", "&", "<", ">", "-->", "]]>", "DOTMULTI", "%", "$(x)",
    "#", "😀", "ﬁ", "İ", "ß",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-32", "latin-1", "utf-16-be", "utf-8-sig", "cp037", "gb18030", "utf-7", "shift_jis")
XML_HEADS = (
    *(f'<?xml version="1.0" encoding="{name}"?>' for name in ("gb2312", "shift_jis", "utf-7", "utf-16", "latin-1",
    "no-such", "")),
    '<!DOCTYPE benchmark [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>', '<!DOCTYPE benchmark SYSTEM "x.dtd">', "<?x y?>",
    "<!-- -- -->",
)  # fmt: skip
XML_PARTS = (
    "<lex comment='good'>", "</lex>", "<entry>", "</entry>", "<x>", "</x>", "<x/>", "<![CDATA[<lex>]]>",
    "<mtriple>a | b</mtriple>", "&lt;",
    "&b;", "&#0;", "&#55356;", "&#x110000;", "<otriple>a | b | c</otriple>", "<text>x</text>",
    '<lex lang="de">ja</lex>', "<lex a='1' a='2'>",
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, lost, doubled or swapped, as disks, transfers and editors do it."""
    way, n = rng.randrange(9), max(1, len(content))
    a, b = sorted((rng.randrange(n), rng.randrange(n)))
    if way <= 1:
        spoiled = bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 2, 8, 64)) if spoiled else 0):
            spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
        return bytes(spoiled)
    if way == 2:
        return content[:a]
    if way == 3:
        return content[:a] + content[b:]
    if way == 4:
        return content[:b] + content[a:]
    if way == 5:
        return content[:a] + rng.randbytes(rng.choice((1, 4, 100))) + content[a:]
    if way == 6:
        return content[:a] + b"\0" * (b - a) + content[b:]
    if way == 7:
        return content[b:] + content[a:b] + content[:a]
    return rng.choice((b"", b"\n", b"\0" * 100, b"\xff\xfe", b"\xef\xbb\xbf" + content, b"{}", b"[]", content * 3))


def reworded(content: bytes, rng: random.Random) -> bytes:
    """Text with scraps and baits in it, lines lost or doubled, or in another encoding."""
    text = content.decode("utf-8", "replace")
    way, at = rng.randrange(8), rng.randrange(len(text) + 1)
    lines = text.split("\n")
    line = rng.randrange(len(lines))
    if way <= 1:
        for _ in range(rng.choice((1, 1, 3, 20))):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(SCRAPS) + text[at:]
    elif way <= 3:
        text = text[:at] + rng.choice(BAIT) + text[at:]
    elif way == 4:
        lines.insert(rng.randrange(len(lines) + 1), lines[line])
        text = "\n".join(lines)
    elif way == 5:
        del lines[line]
        text = "\n".join(lines)
    elif way == 6:
        text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\u2028", " ")))
    else:
        return text.encode(rng.choice(ENCODINGS), "replace")
    return text.encode("utf-8", "replace")


def retyped(content: bytes, rng: random.Random) -> bytes:
    """JSON with a value of another type, size or depth, a key lost, added or spelled otherwise."""
    value = json.loads(content)
    raw = ""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value, raw = _retype(value, rng, raw)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return text.replace(f'"{MARK}"', raw).encode("utf-8", "replace")


def _retype(value: Any, rng: random.Random, raw: str) -> tuple[Any, str]:
    nodes: list[tuple[Any, Any]] = []
    stack = [value]
    while stack and len(nodes) < 20_000:
        outer = stack.pop()
        inner = (
            list(outer.items())
            if isinstance(outer, dict)
            else list(enumerate(outer))
            if isinstance(outer, list)
            else []
        )
        nodes += [(outer, key) for key, _ in inner]
        stack += [child for _, child in inner]
    if not nodes or rng.random() < 0.03:
        return (MARK, rng.choice(RAW_JSON)) if rng.random() < 0.5 else (rng.choice(VALUES), raw)
    # Half of the time near the top, where a format's own fields are.
    outer, key = rng.choice(nodes[: max(1, len(nodes) // 8)] if rng.random() < 0.5 else nodes)
    way = rng.randrange(10)
    if way <= 4:
        outer[key] = rng.choice(VALUES)
    elif way == 5:
        outer[key], raw = MARK, raw or rng.choice(RAW_JSON)
    elif way == 6:
        del outer[key]
    elif way == 7:
        outer[key] = _recast(outer[key], rng)
    elif isinstance(outer, dict):
        outer[rng.choice((str(key) + "x", str(key).upper(), "", " ", "\0", "new", "__proto__"))] = outer[key]
    else:
        outer.insert(rng.randrange(len(outer) + 1), rng.choice([*VALUES, outer[key]]))
    return value, raw


def _recast(value: Any, rng: random.Random) -> Any:
    """The same in another form: what a careless writer makes of it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return rng.choice((str(value), value + 1, -value, value * 2, float(value), [value]))
    if isinstance(value, str):
        return rng.choice(([value], value + " ", value.upper(), value[::-1], value[:-1], rng.choice(SCRAPS) + value))
    if isinstance(value, list):
        return rng.choice((value[::-1], value[:-1], {str(i): v for i, v in enumerate(value)}, [value], value * 2))
    return list(value.items()) if isinstance(value, dict) else str(value)


def relined(content: bytes, rng: random.Random) -> bytes:
    """JSON lines with one of them retyped."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = retyped(lines[at] or b"{}", rng)
    return b"\n".join(lines)


def retagged(content: bytes, rng: random.Random) -> bytes:
    """XML with another head, tags out of place, or deep."""
    text = content.decode("utf-8", "replace")
    way, at = rng.randrange(6), rng.randrange(len(text) + 1)
    if way == 0:
        text = rng.choice(XML_HEADS) + text[text.find("<benchmark") :]
    elif way == 1:
        depth = rng.choice((50, 5000, 50_000))
        text = text[:at] + "<x>" * depth + "y" + "</x>" * depth + text[at:]
    elif way <= 3:
        text = text[:at] + rng.choice(XML_PARTS) * rng.choice((1, 2, 50)) + text[at:]
    elif way == 4:
        ends = [i + 1 for i, character in enumerate(text) if character == ">"]
        at = rng.choice(ends)
        text = text[:at] + rng.choice((*XML_PARTS, *BAIT, *SCRAPS)) + text[at:]
    else:
        old, new = (
            rng.choice(("lex", "entry", "mtriple", "entries", "category", "eid", "comment", "good")),
            rng.choice(("x", "", "lex", "entry")),
        )
        text = text.replace(old, new)
    return text.encode("utf-8", "replace")


def reheaded(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file with its header retyped, or of a wrong length."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end]
    if rng.random() < 0.2:
        length = rng.choice((0, 1, end - 9, end, 2**31, 2**63 - 1, 2**64 - 1))
        return length.to_bytes(8, "little") + content[8:]
    header = retyped(header, rng)
    return len(header).to_bytes(8, "little") + header + content[end:]


def rezipped(content: bytes, rng: random.Random) -> bytes:
    """A zip archive, as `torch.save` writes it, with one member spoiled and its checksum right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        spoiled = rng.choice(names)
        for name in names:
            member = old.read(name)
            if name == spoiled:
                if rng.random() < 0.1:
                    continue
                member = damaged(member, rng)
            new.writestr(name, member)
    return out.getvalue()


def reyamled(content: bytes, rng: random.Random) -> bytes:
    """YAML with a value of another kind, anchors, tags, depth, or keys it shouldn't have."""
    values = (
        "[" * 100_000, "{a: " * 500, "- " * 3000, "&a [*a, *a]", "*nowhere", "!!python/object/apply:os.getcwd []",
        "!!binary '@'", "2020-13-45",
        "1" * 5000, "'" + "[" * 100_000 + "'", '"\\ud83c"', "null", "~", "yes", ".nan", ".inf", "-.inf",
        "0x7fffffffffffffffff", "1e400",
        "12:30:45", "|\n  x\n  y", "'it''s'", "[1, 2", "? x", "[]", "{}", "-1", "1000000000000", "''", "x: y", "0o8",
        "\t",
    )  # fmt: skip
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    name = lines[at].partition(":")[0]
    lines[at] = f"{name}{rng.choice(('', 'x'))}: {rng.choice(values)}"
    if rng.random() < 0.2:
        lines.insert(
            rng.randrange(len(lines) + 1), rng.choice(("---", "...", "<<: *a", "%YAML 9.9", lines[at], "  - x"))
        )
    return "\n".join(lines).encode("utf-8", "replace")


def mixed(*own: Mutator) -> Mutator:
    """Mostly a format's own ways to go wrong, sometimes the bytes', sometimes two things at once."""

    def mutate(content: bytes, rng: random.Random) -> bytes:
        for _ in range(rng.choice((1, 1, 1, 2))):
            way = damaged if rng.random() < 0.3 else rng.choice(own)
            try:
                content = way(content, rng)
            except (ValueError, LookupError, ArithmeticError, RecursionError, zipfile.BadZipFile):
                content = damaged(content, rng)  # spoiled already, and no longer of its format
        return content

    return mutate


JSON, JSON_LINES, YAML = mixed(retyped), mixed(relined, relined, reworded), mixed(reyamled, reyamled, reworded)
TEXT, XML = mixed(reworded), mixed(retagged, retagged, reworded)
SAFETENSORS, PICKLE = mixed(reheaded), mixed(rezipped)
