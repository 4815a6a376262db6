#!/usr/bin/env bash
# Is lora-nlg right and fast on this machine's GPU? One table in at most 7 minutes; exit status 1 if something failed.
# Arguments: those of bench/check_gpu.py. Environment: PYTHON (default: python3, or the one of .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then PYTHON=python3; if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi; fi
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}
exec "$PYTHON" bench/check_gpu.py "$@"
