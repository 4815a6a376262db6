"""Run a script or, after `-m`, a module on the pretend device, as `python` would."""

from __future__ import annotations

import runpy
import sys

from pretend_cuda import install

if len(sys.argv) < 2:
    sys.exit("usage: python -m pretend_cuda (-m MODULE | SCRIPT) [ARGUMENT …]")
install()
if sys.argv[1] == "-m":
    name = sys.argv[2]
    sys.argv = sys.argv[2:]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
else:
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(__import__("pathlib").Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
