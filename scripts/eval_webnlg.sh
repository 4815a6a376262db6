#!/usr/bin/env bash
# Score the decoded WebNLG 2017 test set.
set -euo pipefail
. "$(dirname "$0")/env.sh"
RUN=${RUN:-runs/webnlg}

python eval/webnlg_dart.py \
  --data "${DATA:-data/webnlg}/test.jsonl" \
  --predictions "${PREDICTIONS:-$RUN/predictions.jsonl}" \
  --scores "${SCORES:-$RUN/scores.json}" "$@"
