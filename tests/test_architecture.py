"""The house keeps to its plan: the rooms and their order are read from docs/architecture.md, the one place they stand.

Every import in the source is an arrow. It may only point to a room on a lower line of the plan, no modules may import
each other in a circle, and no file may grow beyond what one reads in ten minutes.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLAN = ROOT / "docs" / "architecture.md"
PACKAGES = ("lora_nlg", "nlg_metrics")
MOST_LINES = 400


@dataclass(frozen=True)
class Arrow:
    """One import: which module has it, what it imports, where, and whether it runs when the module is loaded."""

    module: str
    target: str
    line: int
    at_load: bool


def rooms(plan: Path, package: str) -> dict[str, int]:
    """Room → its line in the plan, counted from the top, under the heading line `src/PACKAGE/`.

    Rooms that share a line (`files.py, errors.py`) stand side by side: neither may import the other.
    """
    block = re.search(rf"^src/{package}/.*\n((?: .*\n)+)", plan.read_text(encoding="utf-8"), re.MULTILINE)
    assert block, f"{plan} has no plan of src/{package}/"
    lines = [line for line in block[1].splitlines() if re.match(r"  \S", line)]
    names = [re.split(r"\s{2,}", line.strip())[0].split(", ") for line in lines]
    return {
        name.removesuffix("/").removesuffix(".py").replace("/", "."): number
        for number, line in enumerate(names)
        for name in line
    }


def modules(source: Path, package: str) -> dict[str, Path]:
    """Dotted name → file; a package's name stands for its `__init__.py`."""
    found = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(source: Path, package: str) -> list[Arrow]:
    """All imports of a package's modules, those of its own modules by the module that is meant."""
    known = modules(source, package)
    found = []
    for module, path in known.items():
        for node, at_load in imports(ast.parse(path.read_text(encoding="utf-8")), True):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                assert node.level == 0 and node.module, f"{path}:{node.lineno}: import by full name"
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in known else node.module for name in inner]
            found += [Arrow(module, target, node.lineno, at_load) for target in dict.fromkeys(targets)]
    return found


def imports(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements below a node, and whether loading the module runs them; those for the type checker are none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_load
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield from imports(child, at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def room_of(module: str, package: str, plan: dict[str, int]) -> str:
    """The innermost room of the plan that a module is in; the package itself is above all of them."""
    name = module.removeprefix(package).lstrip(".")
    while name and name not in plan:
        name = name.rpartition(".")[0]
    return name


def arrows_against_the_plan(source: Path, package: str, plan: dict[str, int]) -> list[str]:
    """Imports that don't point to a lower line, and modules without a room."""
    wrong = [
        f"{module} is in no room of docs/architecture.md"
        for module in modules(source, package)
        if module not in (package, f"{package}.__main__") and not room_of(module, package, plan)
    ]
    for arrow in arrows(source, package):
        here, there = (room_of(name, package, plan) for name in (arrow.module, arrow.target))
        if not arrow.target.startswith(f"{package}.") or not here or not there or here == there:
            continue
        if plan[here] >= plan[there]:
            wrong.append(f"{arrow.module}, line {arrow.line}, imports {arrow.target}: {there} is not below {here}")
    return wrong


def circles(source: Path, package: str) -> list[str]:
    """Circles of modules that import each other while they are loaded, each once."""
    graph: dict[str, set[str]] = {module: set() for module in modules(source, package)}
    for arrow in arrows(source, package):
        if arrow.at_load and arrow.target in graph:
            graph[arrow.module].add(arrow.target)
    # What imports nothing that is left can be in no circle; what stays in the end is in one, or above one.
    while free := [module for module, targets in graph.items() if not targets]:
        graph = {module: targets - set(free) for module, targets in graph.items() if module not in free}
    return [f"{module} → {', '.join(sorted(targets))}" for module, targets in sorted(graph.items())]


def lines_of_code(text: str) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_points_up(package):
    assert arrows_against_the_plan(ROOT / "src", package, rooms(PLAN, package)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package):
    assert circles(ROOT / "src", package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_of_the_plan_is_there(package):
    folder = ROOT / "src" / package
    paths = [folder / room.replace(".", "/") for room in rooms(PLAN, package)]
    assert [path.name for path in paths if not path.is_dir() and not path.with_suffix(".py").is_file()] == []


def test_the_metrics_stand_alone():
    """Not even in a function: somebody who scores two files needs no torch."""
    foreign = [
        f"{arrow.module}, line {arrow.line}, imports {arrow.target}"
        for arrow in arrows(ROOT / "src", "nlg_metrics")
        if arrow.target.partition(".")[0] in ("torch", "lora_nlg")
    ]
    assert foreign == []


def test_no_file_is_too_long():
    counts = {path: lines_of_code(path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py")}
    assert {str(path): count for path, count in counts.items() if count > MOST_LINES} == {}


@pytest.fixture
def house(tmp_path):
    """A small house that keeps to its plan, and a function that adds a line to one of its files."""
    plan = [
        *("```", "src/h/  a house", "  roof/, loft/  two rooms", "  hall/      one", "             more of it"),
        *("  hall/cellar/  below", "  ground.py", "```"),
    ]
    (tmp_path / "plan.md").write_text("\n".join(plan) + "\n")
    for name in ("roof", "loft", "hall", "hall/cellar"):
        (tmp_path / "h" / name).mkdir(parents=True)
        (tmp_path / "h" / name / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "h" / "ground.py").write_text("import os\n")
    (tmp_path / "h" / "hall" / "door.py").write_text("from h.hall import cellar\nfrom h.ground import os\n")

    def add(file: str, line: str) -> tuple[list[str], list[str]]:
        with open(tmp_path / "h" / file, "a", encoding="utf-8") as text:
            text.write(f"{line}\n")
        return arrows_against_the_plan(tmp_path, "h", rooms(tmp_path / "plan.md", "h")), circles(tmp_path, "h")

    return add


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("roof/__init__.py", "from h.hall.door import os", ""),
        ("hall/door.py", "from h import roof", "h.hall.door, line 3, imports h.roof: roof is not below hall"),
        ("hall/door.py", "def f():\n    import h.loft", "imports h.loft: loft is not below hall"),
        ("roof/__init__.py", "import h.loft", "loft is not below roof"),
        ("hall/cellar/__init__.py", "import h.hall.door", "imports h.hall.door: hall is not below hall.cellar"),
        ("attic.py", "import os", "h.attic is in no room"),
    ],
)
def test_an_arrow_up_is_seen(house, file, line, wrong):
    found, _ = house(file, line)
    assert (found == []) if not wrong else (len(found) == 1 and wrong in found[0])


def test_a_circle_is_seen(house):
    assert house("hall/stairs.py", "from h.hall.door import os")[1] == []
    assert house("hall/door.py", "def later():\n    import h.hall.stairs")[1] == []
    assert house("hall/door.py", "import h.hall.stairs")[1] == [
        "h.hall.door → h.hall.stairs",
        "h.hall.stairs → h.hall.door",
    ]


def test_lines_of_code():
    assert (
        lines_of_code(
            '"""Two\nlines."""\n\n# a comment\nx = (\n    1,\n)\n\n\ndef f():\n    """One."""\n    return x  # x\n'
        )
        == 5
    )
