#!/usr/bin/env bash
# Score the decoded DART test set.
set -euo pipefail
. "$(dirname "$0")/env.sh"
RUN=${RUN:-runs/dart}

python eval/webnlg_dart.py \
  --data "${DATA:-data/dart}/test.jsonl" \
  --predictions "${PREDICTIONS:-$RUN/predictions.jsonl}" \
  --scores "${SCORES:-$RUN/scores.json}" "$@"
