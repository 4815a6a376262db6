"""The wheel alone scores: no repository, no torch, no training package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'lora_nlg'):
            raise ImportError(f'{name} is imported by a scorer')
sys.meta_path.insert(0, Blocker())
from nlg_metrics.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; libraries come from this one, by a path file after it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    (copy / "src").symlink_to(ROOT / "src")
    done = subprocess.run([*build, str(copy)], capture_output=True, text=True, timeout=250)
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr[-300:]}")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (wheel,) = folder.glob("*.whl")
    target = next(environment.glob("lib/python3*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--no-deps"]
    subprocess.run([*install, "-q", str(wheel)], check=True, timeout=250)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (target / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return environment


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, env=clean)


def test_the_wheel_scores_two_text_files_without_the_training_package(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "refs").write_text("the cat sat on the mat\na dog\n")
    (tmp_path / "hyps").write_text("the cat sat on the mat\na dog\n")
    texts = ["texts", "refs", "hyps", "--metrics", "bleu,rouge,chrf++,ter"]
    python = str(installed / "bin" / "python")
    done = run(installed, tmp_path, python, "-c", "import nlg_metrics; print(nlg_metrics.__file__)")
    assert done.stdout.startswith(str(installed)), done
    for command in ([str(installed / "bin" / "nlg-score")], [python, "-m", "nlg_metrics"], [python, "-c", BLOCKER]):
        done = run(installed, tmp_path, *command, *texts)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "references: one a line; 2 segments, 1 references each",
            "BLEU: 100.0000",
            "ROUGE_L: 1.0000",
            "chrF++: 1.0000",
            "TER: 0.0000",
        ]


@pytest.mark.parametrize("command", ["e2e", "webnlg", "compare", "report"])
def test_no_command_needs_torch(installed: Path, tmp_path: Path, command: str) -> None:
    done = run(installed, tmp_path, str(installed / "bin" / "python"), "-c", BLOCKER, command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"nlg-score {command}" in done.stdout
