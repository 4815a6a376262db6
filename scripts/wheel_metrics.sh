#!/usr/bin/env bash
# The scorers alone as a wheel, nlg_metrics-VERSION-py3-none-any.whl: no torch, nothing of lora_nlg.
#   scripts/wheel_metrics.sh [FOLDER, default dist] [flags for `pip wheel`]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
cp "$root"/packaging/nlg-metrics/* "$root/LICENSE" "$staged"
mkdir "$staged/src"
cp -r "$root/src/nlg_metrics" "$staged/src"
find "$staged" -name __pycache__ -prune -exec rm -rf {} +
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir "$out" "${@:2}" "$staged"
echo "$out"/nlg_metrics-*.whl
